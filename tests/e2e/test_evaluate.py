"""samclr evaluate: rows, the files beside them, the dense tasks, and what it says to wrong input."""

import json
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import small_config
from support.scenes import write_labelled, write_labelled_scenes

from samclr import log
from samclr._version import __version__
from samclr.config import DenseConfig
from samclr.config.normalisation import IMAGENET
from samclr.config.pretrain import ModelConfig, ViewsConfig
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.evaluation import dense_features
from samclr.evaluation.dense_features import chosen_scenes, stream_patches, training_patches
from samclr.models.backbone import create_backbone
from samclr.pages.report import write_report
from samclr.runs.export import export_run
from samclr.runs.results import Result, read_results
from samclr.scenes.decode import load_scene
from samclr.training.pretrain import pretrain

CPU = torch.device("cpu")
SMALL_DENSE = ("--dense-px", 48, "--dense-steps", 300, "--dense-batch-size", 32, "--bootstrap", 100)
EVERYTHING = (
    *(
        "--few-shot",
        0.2,
        0.5,
        "--probe-sweep",
        0.01,
        0.1,
        "--probe-epochs",
        10,
        "--crop-probe",
        "--crop-epochs",
        2,
        "--crop-px",
        24,
    ),
    *("--fine-tune", "--tune-epochs", 2, "--tune-px", 24, "--bootstrap", 200),
)


def test_every_protocol_has_typed_results_with_intervals_and_details(tmp_path, call):
    labelled, out = write_labelled(tmp_path / "shades", 10), tmp_path / "results.json"
    command = ("evaluate", "small-cnn", "--on", labelled, "--image-px", 24, "--out", out, *EVERYTHING)
    status, shown, said = call(*command, "--json")
    assert status == 0, said
    rows = json.loads(out.read_text())["results"]
    assert json.loads(shown)["results"] == rows
    results = {result.key: result for result in map(Result.from_dict, rows)}
    ranking = ("knn", "knn_k20_t0.07", "knn_k200_t0.1")
    trained = ("linear", "few_shot_20pct", "few_shot_50pct", "crop_probe", "fine_tune")
    assert tuple(results) == (*ranking, *trained)
    for key, result in results.items():
        assert set(result.scores) == ({"top1"} if key in ranking else {"top1_last", "top1_best"})  # of two classes
        main = result.scores["top1" if key in ranking else "top1_last"]
        assert 0 <= main.low <= main.value <= main.high <= 1
        assert (main.n, result.counts["num_train"], result.counts["num_classes"]) == (20, 20, 2)
        assert result.settings["bootstrap"] == 200
    for key in trained:
        best = results[key].scores["top1_best"]
        assert best.value >= results[key].scores["top1_last"].value
        assert best.low is None
    assert results["linear"].chosen["lr"] in (0.01, 0.1)
    assert [results[key].counts["num_labels"] for key in trained[1:3]] == [4, 10]
    assert results["knn_k200_t0.1"].settings["knn_k"] == 200
    assert results["knn_k200_t0.1"].counts["voters"] == 20
    assert "probe_lr" in results["few_shot_20pct"].settings
    assert not {"probe_lr", "crop_px"} & results["fine_tune"].settings.keys()
    details = json.loads((tmp_path / results["knn"].details).read_text())
    assert details["classes"] == ["dark", "light"]
    assert set(details["protocols"]) == set(results)
    for found in details["protocols"].values():
        assert np.array(found["confusion"]).sum() == 20
        right = np.mean(np.array(found["predicted"]) == np.array(details["labels"]))
        assert right == pytest.approx(np.trace(found["confusion"]) / 20)
        assert np.mean(found["per_class_accuracy"]) == pytest.approx(right)
    # Again: replaced, not added; as a table.
    status, shown, _ = call(*command)
    assert status == 0
    assert json.loads(out.read_text())["results"] == rows
    assert len(list((tmp_path / "evaluation").glob("*.json"))) == 1
    for text in ("fine-tuning", "linear, few labels 50pct", "top-1, best epoch", results["knn"].scores["top1"].text):
        assert text in shown


def test_a_sweep_without_labels_to_hold_out_costs_no_work(tmp_path, call):
    labelled = write_labelled(tmp_path / "shades", 10)
    sweep = ("--probe-sweep", 0.01, 0.1, "--few-shot", 0.1, "--image-px", 24)
    status, _, said = call("evaluate", "small-cnn", "--on", labelled, *sweep)
    assert status == 1
    assert "no learning rate can be chosen from 2 labels, one per class" in said
    assert not (tmp_path / "cache/features").exists()


def test_the_shape_of_json_is_a_promise(tmp_path, call):
    """docs/evaluation.md, "What a result is", explains every name."""
    shades = write_labelled(tmp_path / "shades")
    options = ("--image-px", 24, "--knn-k", 3, "--skip-linear", "--bootstrap", 100, "--num-test", 10)
    status, shown, said = call("evaluate", "small-cnn", "--seed", 1, "--on", shades, *options, "--json")
    assert status == 0, said
    found = json.loads(shown)
    assert list(found) == ["results"]
    first = found["results"][0]
    for name in ("backbone_fingerprint", "train_fingerprint", "test_fingerprint"):
        assert len(first[name]) == 16
        first[name] = "..."
    score = first["scores"].pop("top1")
    assert {name: type(value) for name, value in score.items()} == {
        "value": float,
        "low": float,
        "high": float,
        "n": int,
    }
    assert first == {
        "protocol": "knn",
        "variant": "",
        "kind": "labelled",
        "on": "shades",
        "target": "small-cnn (untrained)",
        "source": "small-cnn",
        "untrained": True,
        "seed": 1,
        "step": None,
        "backbone_fingerprint": "...",
        "model": {"backbone": "small-cnn", "stem": "standard", "mean": [*IMAGENET.mean], "std": [*IMAGENET.std]},
        "scores": {},
        "settings": {
            "image_px": 24,
            "num_train": None,
            "num_test": 10,
            "bootstrap": 100,
            "bootstrap_seed": 0,
            "knn_k": 3,
            "knn_temperature": 0.07,
        },
        "counts": {"num_train": 12, "num_test": 10, "num_classes": 2, "voters": 3},
        "chosen": {},
        "train_fingerprint": "...",
        "test_fingerprint": "...",
        "samclr": __version__,
        "details": None,
        "superseded": False,
    }


def test_dense_tasks_stand_beside_other_rows_in_report_and_card(scenes, tmp_path, call):
    run, fields, labelled = tmp_path / "run", write_labelled_scenes(tmp_path / "fields"), tmp_path / "shades"
    pretrain(replace(small_config(scenes, recipe="simclr", steps=2), views=ViewsConfig(strategy="image")), run)
    write_labelled(labelled)
    status, _, said = call(
        "evaluate", run, "--on", labelled, "--image-px", 24, "--dense-on", fields, *SMALL_DENSE, "--json"
    )
    assert status == 0, said
    results = {result.key: result for result in read_results(run / "results.json")}
    assert {result.kind for result in results.values()} == {"labelled", "dense"}
    for name in ("dense_linear", "dense_knn"):
        dense = results[name]
        assert (dense.on, dense.counts["num_train"], dense.counts["num_test"]) == ("fields", 6, 6)
        assert dense.counts["num_patches"] == 6 * 6 * 8  # 8 px each; of the top row two pixels of eight still count
        assert dense.scores["pixel_accuracy"].value > 0.75
        miou = dense.scores["miou"]
        assert miou.value > 0.6
        assert miou.low <= miou.value <= miou.high
    details = json.loads((run / dense.details).read_text())
    confusion = np.array(details["protocols"]["dense_linear"]["confusion"])
    assert confusion.shape == (11, 11)
    assert confusion.sum() == 6 * 42 * 64  # all pixels but void
    assert details["protocols"]["dense_knn"]["per_class_iou"][5] is None
    assert call("evaluate", run, "--dense-on", fields, *SMALL_DENSE)[0] == 0
    assert len(read_results(run / "results.json")) == len(results)

    linear, near = (results[name].scores["miou"] for name in ("dense_linear", "dense_knn"))
    page = write_report([run]).read_text()
    assert f"{100 * linear.value:.1f}%" in page
    assert f"{100 * results['knn'].scores['top1'].value:.1f}%" in page
    export_run(run, tmp_path / "out.safetensors", "timm")
    card = (tmp_path / "out.safetensors.md").read_text()
    assert "| measured on | backbone | kNN | linear | linear, best epoch | image size | " in card
    assert "| shades | " in card
    assert f"| fields | trained, step 2 | {linear.text} | {near.text} | " in card
    assert "| 48 px | 6 / 6 | k 30, temperature 0.02 |" in card


def test_a_vit_on_scenes_that_are_no_squares(tmp_path, call):
    fields = write_labelled_scenes(tmp_path / "fields", 3)
    status, shown, said = call(
        "evaluate", "vit_tiny_patch16_224", "--untrained", "--dense-on", fields, *SMALL_DENSE, "--json"
    )
    assert status == 0, said
    linear, _ = json.loads(shown)["results"]
    assert linear["counts"]["num_patches"] == 3 * 3 * 4
    assert 0 < linear["scores"]["miou"]["value"] <= 1


def test_void_never_counts(tmp_path):
    fields = write_labelled_scenes(tmp_path / "fields", 2)
    for split in ("train", "test"):
        for path in (fields / "labels" / split).iterdir():
            labels = np.array(Image.open(path))
            labels[:, :32] = 11
            Image.fromarray(labels).save(path)
    train, _ = open_labelled_scenes(fields)
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="small-cnn"))
    config = DenseConfig(dense_px=48)
    features, shares = training_patches(backbone, train, [0, 1], config, CPU, tmp_path / "cache")
    assert (features.shape, shares.shape) == ((2 * 6 * 4, 128), (2 * 6 * 4, 11))
    assert sorted(shares.sum(1).unique().tolist()) == [0.25, 1.0]
    again, _ = training_patches(backbone, train, [0, 1], config, CPU, tmp_path / "cache")
    assert torch.equal(features, again)


def test_scenes_pass_through_and_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(dense_features, "LOAD_AHEAD", 2)
    train, _ = open_labelled_scenes(write_labelled_scenes(tmp_path / "fields", 24))
    backbone, config = create_backbone(ModelConfig(backbone="small-cnn")), DenseConfig(dense_px=192)
    assert chosen_scenes(train, 5, 0) == chosen_scenes(train, 5, 0) != chosen_scenes(train, 5, 1)
    peaks = []
    for numbers in (range(4), range(24)):
        tracemalloc.start()
        seen = sum(1 for _ in stream_patches(backbone, train, list(numbers), config, CPU))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert seen == len(numbers)
    assert peaks[1] - peaks[0] < 4 * 3 * 192 * 256  # four of the twenty further images


def test_images_of_mixed_sizes_keep_their_order(tmp_path):
    fields = write_labelled_scenes(tmp_path / "fields", 5)
    for name in ("1", "4"):
        for kind in ("images", "labels"):
            path = fields / kind / "train" / f"{name}.png"
            Image.open(path).resize((48, 64), Image.Resampling.NEAREST).save(path)
    train, _ = open_labelled_scenes(fields)
    backbone = create_backbone(ModelConfig(backbone="small-cnn"))
    found = list(stream_patches(backbone, train, range(5), DenseConfig(dense_px=48), CPU))
    for number, (maps, labels) in enumerate(found):
        assert maps.shape == ((128, 8, 6) if number in (1, 4) else (128, 6, 8))
        assert (labels == train.label_map(number)).all()
        ((alone, _),) = stream_patches(backbone, train, [number], DenseConfig(dense_px=48), CPU)
        torch.testing.assert_close(maps, alone)


def test_dense_sets_say_what_was_passed_over_and_which_images_have_more_pages(tmp_path, call):
    log._SAID.clear()
    fields = write_labelled_scenes(tmp_path / "fields", 6)
    for name in ("photo.psd", "notes.txt"):
        (fields / "images/train" / name).write_bytes(b"")
    image = fields / "images/train/0.png"
    pages = [Image.open(image).convert("L")] * 2
    pages[0].save(image.with_suffix(".tif"), save_all=True, append_images=pages[1:])
    image.unlink()
    image = fields / "images/test/0.png"
    negative = 257 * (255 - np.asarray(Image.open(image).convert("L")).astype(np.uint16))
    Image.fromarray(negative).save(image.with_suffix(".tif"), tiffinfo={262: 0})  # white is zero
    positive = Image.open(image).convert("L").convert("RGB")
    image.unlink()
    status, _, said = call("evaluate", "small-cnn", "--untrained", "--dense-on", fields, *SMALL_DENSE, "--json")
    assert status == 0, said
    assert said.count("split train: 1 file was skipped: .psd (1)") == 1
    assert said.count("1 image has several pages or frames: the first is used") == 1
    _, test = open_labelled_scenes(fields)
    assert np.abs(load_scene(test.refs[0]).pixels.astype(int) - np.asarray(positive)).max() <= 1


def spoil_size(fields):
    path = fields / "labels/train/0.png"
    Image.open(path).resize((32, 24), Image.Resampling.NEAREST).save(path)


def all_void(fields):
    for path in (fields / "labels/train").iterdir():
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("harm", "more", "message"),
    [
        (spoil_size, (), "0.png is 32x24 px, its image 64x48 px"),
        (lambda f: (f / "images/test/1.png").write_bytes(b"x"), (), "1.png cannot be read ("),
        (all_void, (), "none of the 6 training label maps has a pixel that counts"),
        (lambda f: os.rename(f / "labels", f / "marks"), (), "has no known layout"),
        (lambda f: None, ("--dense-stage", 3), "--dense-stage 3: the backbone has stages 0 to 0"),
        (lambda f: None, ("--dense-k", 0), "dense-k is 0; expected a whole number from 1 to 65536"),
    ],
)
def test_wrong_scenes_are_one_sentence(harm, more, message, tmp_path, call):
    fields = write_labelled_scenes(tmp_path / "camvid")
    harm(fields)
    status, _, said = call("evaluate", "small-cnn", "--dense-on", fields, *SMALL_DENSE, *more)
    assert status in (1, 2)
    assert message in said
    assert len(said.splitlines()) == 1
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_full_disk_is_said_before_the_work(tmp_path, call, monkeypatch):
    fields = write_labelled_scenes(tmp_path / "fields")
    monkeypatch.setattr(dense_features.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    status, _, said = call("evaluate", "small-cnn", "--dense-on", fields, *SMALL_DENSE)
    assert status == 1
    assert "take fewer images (--dense-num-train), or name another disk with $SAMCLR_CACHE" in said


def test_nothing_to_measure_on_is_said(call):
    status, _, said = call("evaluate", "small-cnn")
    assert status == 2
    assert "nothing to measure on: name labelled sets with --on, sets with label maps with --dense-on, " in said
