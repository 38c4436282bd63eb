"""The other functions and types: stores, masks, runs, results, probes."""

import inspect

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from support.runs import small_config
from support.scenes import box_scene, write_labelled

import samclr
from samclr.config import IMAGENET, EvaluationConfig, EvaluationData, ProbeConfig
from samclr.errors import ConfigError, EvaluationError, PartsError, RegionError, RunError, UsageError
from samclr.evaluation import extract_features, knn, linear_probe, segmentation_probe
from samclr.regions.segmenters.sam import SamSegmenter
from samclr.scenes.decode import Scene


def test_a_store_is_a_mapping(scenes, tmp_path, caplog):
    (scenes / "broken.png").write_bytes(b"no image")
    store = samclr.segment(scenes, out=tmp_path / "store", segmenter="felzenszwalb", workers=1, min_size=20)
    assert "1 of 13 images could not be segmented: broken.png" in caplog.text
    assert len(store) == len(list(store)) == 12
    assert list(store.errors) == ["broken.png"]
    found = store["a/000.png"]
    assert found == dict(store)["a/000.png"]
    assert found.boxes_xyxy.shape == (len(found.regions), 4)
    assert found.masks().shape == (len(found.regions), 48, 64)
    assert [mask.sum() for mask in found.masks()] == [region.area_px for region in found.regions]
    with pytest.raises(KeyError, match="cannot decode"):
        store["broken.png"]
    with pytest.raises(KeyError):
        store["nowhere.png"]
    assert samclr.open_regions(store.path).maker == store.maker
    assert repr(store) == f"RegionStore({str(store.path)!r}: 12 images, felzenszwalb)"


def test_segment_refuses_what_it_cannot_do(scenes, tmp_path):
    with pytest.raises(ConfigError, match=r"minsize is not an option of segmenters; did you mean min_size"):
        samclr.segment(scenes, out=tmp_path / "store", segmenter="felzenszwalb", minsize=20)
    for workers in (0, -1, 1.5, "2", True):
        with pytest.raises(ConfigError, match=r"workers is .*; expected a whole number from 1 to 1024"):
            samclr.segment(scenes, out=tmp_path / "store", segmenter="felzenszwalb", workers=workers)
    with pytest.raises(UsageError, match="no segmenter ''"):
        samclr.segment(scenes, out=tmp_path / "store", segmenter="")
    with pytest.raises(ConfigError, match="segmenter is None"):
        samclr.segment(scenes, out=tmp_path / "store", segmenter=None)
    with pytest.raises(UsageError, match=r"`out` .* is inside the scenes"):
        samclr.segment(scenes, out=scenes / "store", segmenter="felzenszwalb")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "one.png").write_bytes(b"no image")
    with pytest.raises(PartsError, match=r"1 of 1 images could not be segmented: one\.png"):
        samclr.segment(tmp_path / "bad", out=tmp_path / "bad-store", segmenter="felzenszwalb", workers=1)
    with pytest.raises(PartsError):
        samclr.open_regions(tmp_path / "nothing")


def test_masks_of_one_image_are_those_of_the_job():
    masks = samclr.MaskGenerator("sam-digits", points_per_side=4, device="cpu")
    pixels, _ = box_scene(3)
    found = masks(Image.fromarray(pixels))
    assert found.boxes_xyxy.tolist() == [list(region.box_xyxy) for region in masks(pixels, "same").regions]
    scene = Scene(image_id="image", pixels=pixels, content_hash=found.content_hash)
    assert SamSegmenter("sam-digits", masks.config.options).segment([scene]) == [found]
    assert len(masks(np.full((20, 30), 7, np.uint8)).boxes_xyxy) == len(masks(Image.new("L", (30, 20), 7)).boxes_xyxy)
    for wrong, text in ((pixels / 255, "float64"), (pixels[..., :2], r"\[48, 64, 2\]"), (pixels[:0], "no pixels")):
        with pytest.raises(RegionError, match=text):
            masks(wrong)
    with pytest.raises(RegionError, match="mode F"):
        masks(Image.new("F", (3, 3)))
    with pytest.raises(UsageError, match="labels is not a SAM"):
        samclr.MaskGenerator("labels")


def test_a_run_is_an_object(scenes, tmp_path):
    config = small_config(scenes, recipe="moco", steps=2)
    run = samclr.pretrain(config, tmp_path / "run")
    assert (run.step, run.config.recipe, len(run.metrics())) == (2, "moco", 2)
    assert run.summary["num_steps"] == 2
    assert samclr.open_run(run).path == run.path
    assert samclr.pretrain(config, run).step == 2
    student, teacher = run.backbone(), run.backbone("teacher")
    pixels = torch.rand(2, 3, 24, 24)
    assert torch.equal(student(pixels), samclr.load_backbone(run)(pixels))
    assert torch.equal(student(pixels), samclr.load_backbone(run, which="student")(pixels))
    assert not torch.equal(student(pixels), teacher(pixels))
    assert samclr.export(run, tmp_path / "weights.safetensors").exists()
    with pytest.raises(UsageError, match="'keras' is not a layout"):
        samclr.export(run, tmp_path / "weights", layout="keras")
    with pytest.raises(RunError):
        samclr.open_run(scenes)
    simclr = samclr.pretrain(small_config(scenes, recipe="simclr", steps=1), tmp_path / "simclr")
    with pytest.raises(RunError, match="was trained with simclr, which has no momentum encoder"):
        simclr.backbone("teacher")
    with pytest.raises(UsageError, match="`which` is 'momentum'; expected one of student, teacher"):
        inspect.unwrap(samclr.load_backbone)(simclr, which="momentum")


def test_evaluate_gives_the_commands_results(scenes, tmp_path, call):
    labelled = write_labelled(tmp_path / "shades")
    run = samclr.pretrain(small_config(scenes, recipe="simclr", steps=1), tmp_path / "run")
    config = EvaluationConfig(data=EvaluationData(image_px=24), protocols=(ProbeConfig(probe_epochs=2),))
    found = samclr.evaluate(run, on=labelled, config=config, device="cpu")
    assert [one.result for one in run.results()] == found
    assert all(one.is_own and one.is_current for one in run.results())
    status, *_ = call("evaluate", run.path, "--on", labelled, "--image-px", 24, "--probe-epochs", 2)
    assert status == 0
    assert [one.result for one in run.results()] == found
    with pytest.raises(UsageError, match="nothing to measure on: name labelled sets with `on`"):
        samclr.evaluate(run)
    with pytest.raises(ConfigError, match="device is 'abacus'; expected auto, cpu, cuda"):
        samclr.evaluate(run, on=labelled, device="abacus")


def test_probes_over_arrays():
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 8))
    labels, test_labels = random.integers(0, 3, 120), random.integers(0, 3, 60)
    train, test = (centres[y] + random.normal(scale=0.8, size=(len(y), 8)) for y in (labels, test_labels))
    found = knn(train, labels, test, test_labels, k=1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test)]
    assert found == KNeighborsClassifier(1).fit(unit[0], labels).score(unit[1], test_labels)
    tensors = (torch.from_numpy(x) for x in (train, labels, test, test_labels))
    assert knn(*tensors, k=1) == found
    assert linear_probe(train, labels, test, test_labels, config=ProbeConfig(probe_epochs=20)) > 0.7
    for wrong, text in (
        ((train, labels[:-1], test, test_labels), r"train has features \[120, 8\] and labels \[119\]"),
        ((train, labels, test[:, :4], test_labels), "d must agree"),
        ((train, labels - 1, test, test_labels), "the label -1; expected classes from 0"),
        (
            (train, labels + 10**9, test, test_labels),
            "the label 100000000.; expected classes from 0, under 100,000",
        ),
        ((train, labels + 0.5, test, test_labels), r"the labels are torch\.float64; expected whole numbers"),
        ((train * np.nan, labels, test, test_labels), "train has features that are not finite"),
        ((train, labels, test + np.inf, test_labels), "test has features that are not finite"),
    ):
        for measure in (knn, linear_probe):
            with pytest.raises(EvaluationError, match=text):
                measure(*wrong)
    with pytest.raises(EvaluationError, match="expected both above 0"):
        knn(train, labels, test, test_labels, k=0)


def test_segmentation_probe_learns_what_features_say():
    random = np.random.default_rng(0)
    maps = random.integers(0, 2, (6, 4, 4)).astype(np.uint8)
    features = np.stack([maps, 1 - maps], 1) + random.normal(scale=0.05, size=(6, 2, 4, 4))
    labels = maps.repeat(8, 1).repeat(8, 2)
    right = segmentation_probe(features[:4], labels[:4], features[4:], labels[4:], device="cpu")
    assert 0.75 < right < 1  # bilinear edges between patches are never sharp
    blind = segmentation_probe(features[:4] * 0, labels[:4], features[4:] * 0, labels[4:], device="cpu")
    assert blind < 0.4
    with pytest.raises(EvaluationError, match="no pixel of the training label maps has a class"):
        segmentation_probe(features[:4], np.full_like(labels[:4], 255), features[4:], labels[4:])
    with pytest.raises(EvaluationError, match="test has features that are not finite"):
        segmentation_probe(features[:4], labels[:4], features[4:] * np.nan, labels[4:])


def test_segmentation_probe_refuses_what_does_not_fit():
    features, labels = np.zeros((3, 8, 2, 2), np.float32), np.zeros((3, 6, 6), np.uint8)
    for wrong, text in (
        (
            (features, labels, features[:2].repeat(2, 1), labels[:2]),
            r"\[3, 8, 2, 2\], test \[2, 16, 2, 2\]; d must agree",
        ),
        (
            (features, [*labels[..., None]], features, labels),
            r"train has a label map of uint8 \[6, 6, 1\]; expected uint8",
        ),
        (
            (features, labels, features, [*labels[:2], labels[2, :0]]),
            r"test has a label map of uint8 \[0, 6\]; .* not empty",
        ),
        (
            (features, labels.astype(int), features, labels),
            r"train has a label map of int64 \[6, 6\]; expected uint8 \[h w\]",
        ),
        ((features, labels[:2], features, labels), "train has features .* and 2 label maps; expected .* n over 0"),
        (
            (features[..., :0], labels, features, labels),
            r"train has features \[3, 8, 2, 0\] and 3 label maps; expected",
        ),
    ):
        with pytest.raises(EvaluationError, match=text):
            segmentation_probe(*wrong)


def test_features_of_any_backbone():
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16, 5))
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 4)).astype(np.uint8)
    with pytest.raises(ConfigError, match="does not say how its input is normalised"):
        extract_features(backbone, images)
    options = {"normalisation": IMAGENET, "device": "cpu"}
    found = extract_features(backbone, images, **options)
    assert torch.equal(found, extract_features(backbone, torch.from_numpy(images), **options))
    assert torch.allclose(found, backbone(IMAGENET(torch.from_numpy(images) / 255)))
    assert found.shape == (7, 5)
    for wrong, text in ((images / 255, "float64"), (images[:, 0], r"\[7, 4, 4\]")):
        with pytest.raises(EvaluationError, match=text):
            extract_features(backbone, wrong, **options)
