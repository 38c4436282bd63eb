"""Detection: it learns bright shapes, resumes with the same numbers, and stops at what is not finite."""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.detectors import SMALL, OneStep, small_backbone, small_heads
from support.instance_sets import change_json, write_instances
from support.intervals import check_resampled
from support.voc import write_voc
from torchvision.models.detection.transform import resize_boxes

import samclr
from samclr.config.evaluation import EvaluationConfig, IntervalConfig
from samclr.errors import EvaluationError, PartsError
from samclr.evaluation.detection import training
from samclr.evaluation.detection.batches import TrainingBatches, load_example
from samclr.evaluation.detection.instances import LEAST_SIDE_PX, has_area, open_instances
from samclr.evaluation.detection.model import add_pyramid, build_detector, compute_in_bfloat16
from samclr.evaluation.detection.ranks import check_devices, run_on
from samclr.evaluation.detection.task import DetectionTask
from samclr.evaluation.detection.training import detect
from samclr.evaluation.protocols.detection import Detection
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.processes.stopping import Stopped

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small():
    with small_heads():
        yield


def test_bright_shapes_are_found(tmp_path):
    """Held-out ones: AP over 0.5 for boxes and masks after seconds of training from random weights."""
    root = write_instances(tmp_path / "shapes", train=12, val=4)
    config = EvaluationConfig(
        interval=IntervalConfig(bootstrap=100), protocols=(DetectionConfig(**SMALL, detect_steps=90),)
    )
    results = samclr.evaluate("small-cnn", untrained=True, detect_on=root, config=config, device="cpu")
    (result,) = results
    assert (result.protocol, result.kind, result.on, result.variant) == ("detection", "detection", "shapes", "")
    assert list(result.scores) == ["box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"]
    assert result.scores["box_ap"].value > 0.5
    assert result.scores["mask_ap"].value > 0.5
    for score in result.scores.values():
        assert score.low <= score.value <= score.high or score.high - score.low < 0.05
    assert result.counts == {"num_train": 11, "num_test": 4, "num_classes": 2, "num_objects": 8, "num_steps": 90}
    assert samclr.evaluate("small-cnn", untrained=True, detect_on=root, config=config, device="cpu")[0] == result


def test_the_command(tmp_path, here):
    root = write_instances(tmp_path / "shapes", train=3, val=2)
    options = ("--detect-steps", 2, "--detect-px", 64, "--detect-batch-size", 2, "--detect-boxes", 16)
    more = ("--bootstrap", 100, "--device", "cpu", "--out", tmp_path / "out.json")
    done = here("evaluate", "small-cnn", "--untrained", "--detect-on", root, *options, *more)
    assert done.returncode == 0, done.stderr
    assert "detector " in done.stdout
    assert "2 training and 2 test images" in done.stdout
    assert "1 training images without an object are left out" in done.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())["results"]
    details = json.loads((tmp_path / row["details"]).read_text())
    assert details["classes"] == ["square", "disc"]
    assert set(details["protocols"]["detection"]) == {"per_class_ap", "per_class_mask_ap", "resampled"}
    check_resampled(details["protocols"]["detection"], row["scores"])


def test_a_set_of_boxes_alone(tmp_path):
    root = write_instances(tmp_path / "shapes", train=3, val=1)
    for split in ("train", "val"):
        change_json(root, split, lambda content: [one.pop("segmentation") for one in content["annotations"]])
    config = EvaluationConfig(
        interval=IntervalConfig(bootstrap=100), protocols=(DetectionConfig(**SMALL, detect_steps=1),)
    )
    (result,) = samclr.evaluate("small-cnn", untrained=True, detect_on=root, config=config, device="cpu")
    assert list(result.scores) == ["box_ap", "box_ap50", "box_ap75"]
    assert result.chosen == {"precision": "float32"}


def test_a_training_resumes_in_its_own_precision_alone(tmp_path, monkeypatch):
    """On a shared cache one GPU's `auto` is bfloat16, another's float32; on a CPU names stay as they were."""
    instances = open_instances(write_instances(tmp_path / "shapes", train=2, val=1))

    def name(asked, device, has_bfloat16=False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
        task = DetectionTask(
            backbone=small_backbone(), config=EvaluationConfig(), device=torch.device(device), cache=tmp_path,
            instances=instances,
        )  # fmt: skip
        return Detection(DetectionConfig(**SMALL, detect_precision=asked))._state_file(task, instances).name

    old, new = name("auto", "cuda"), name("auto", "cuda", has_bfloat16=True)
    assert old == name("float32", "cuda") == name("float32", "cuda", has_bfloat16=True)
    assert new == name("bfloat16", "cuda") != old
    assert len({old, new, name("auto", "cpu"), name("float32", "cpu"), name("bfloat16", "cpu")}) == 5


def test_pascal_voc(tmp_path, here):
    """Boxes alone, by COCO's rule and both of VOC's: no figure of masks at all."""
    write_voc(tmp_path, count=4)
    options = ("--detect-schedule", "24k", "--detect-steps", 2, "--detect-px", 64, "--detect-batch-size", 2)
    more = ("--detect-boxes", 16, "--bootstrap", 100, "--device", "cpu", "--out", tmp_path / "out.json")
    done = here("evaluate", "small-cnn", "--untrained", "--detect-on", f"voc2007@{tmp_path}", *options, *more)
    assert done.returncode == 0, done.stderr
    assert "small-cnn (untrained) on voc2007: 7 training and 4 test images" in done.stdout
    assert "detector voc 11 points" in done.stdout
    assert "mask" not in done.stdout
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [row["variant"] for row in rows] == ["", "voc_11_points", "voc_area"]
    for row in rows:
        assert list(row["scores"]) == ["box_ap", "box_ap50", "box_ap75"]
        assert row["counts"]["num_objects"] == 4  # the fifth is difficult
        details = json.loads((tmp_path / row["details"]).read_text())
    assert set(details["protocols"]) == {"detection", "detection_voc_11_points", "detection_voc_area"}


def test_killed_and_resumed_it_finds_the_same(tmp_path, monkeypatch):
    """Stopped by a signal after a step, and killed while the state is written: the old state counts."""
    instances = open_instances(write_instances(tmp_path / "shapes", train=5, val=1))
    config = DetectionConfig(**SMALL, detect_steps=6)
    expected = detect(small_backbone(), instances, config, CPU, tmp_path / "whole.pt")
    asked: list[int] = []

    def after_three() -> bool:
        asked.append(1)
        return len(asked) == 3

    state = tmp_path / "killed.pt"
    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_requested", after_three)
        with pytest.raises(Stopped, match="stopped; rerun the same command to resume"):
            detect(small_backbone(), instances, config, CPU, state)
    assert torch.load(state, weights_only=True)["steps"] == 3

    def killed(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "SAVE_EVERY_S", 0.0)
        patch.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            detect(small_backbone(), instances, config, CPU, state)
    assert torch.load(state, weights_only=True)["steps"] == 3
    found = detect(small_backbone(), instances, config, CPU, state)
    for one, other in zip(found, expected, strict=True):
        assert one.rles == other.rles
        assert (one.boxes_xyxy == other.boxes_xyxy).all()
        assert (one.scores == other.scores).all()


def test_a_broken_image_is_found_before_training_and_other_validation_images_keep_it(tmp_path, monkeypatch):
    """By its header an image is whole; so do other validation images not train anew."""
    root = write_instances(tmp_path / "shapes", train=4, val=3)
    for path in root.glob("*/*.png"):
        Image.open(path).save(path, "bmp")  # of a PNG the header alone is not read
    monkeypatch.setenv("SAMCLR_CACHE", str(tmp_path / "cache"))
    steps = []
    monkeypatch.setattr(training, "train_step", lambda *given, own=training.train_step: steps.append(1) or own(*given))

    def measured(**more):
        interval = IntervalConfig(bootstrap=100)
        config = EvaluationConfig(interval=interval, protocols=(DetectionConfig(**SMALL, detect_steps=2, **more),))
        return samclr.evaluate("small-cnn", untrained=True, detect_on=root, config=config, device="cpu")[0]

    for split in ("train", "val"):
        path = root / split / f"{split}_001.png"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(EvaluationError, match=rf"1 of \d images cannot be used: {split}_001.png cannot be read"):
            measured()
        path.write_bytes(whole)
    assert steps == []
    whole = measured()
    assert (len(steps), whole.counts["num_test"]) == (2, 3)
    fewer = measured(detect_num_val=2)
    assert (len(steps), fewer.counts["num_test"]) == (2, 2)
    Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path, "bmp")
    assert measured().test_fingerprint != whole.test_fingerprint
    assert len(steps) == 2
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(EvaluationError, match="cannot be used"):
        measured()


def test_a_loss_that_is_not_finite(tmp_path):
    instances = open_instances(write_instances(tmp_path / "shapes", train=4, val=1))
    config = DetectionConfig(**SMALL | {"detect_lr": 1e6}, detect_steps=300)
    with pytest.raises(EvaluationError, match=r"detection: the loss \(.*\) is not finite in step \d+; lower"):
        detect(small_backbone(), instances, config, CPU, tmp_path / "state.pt")
    assert not (tmp_path / "state.pt").exists()


def test_micro_batches_and_frozen_norms(tmp_path):
    """One image, in parts of one; frozen statistics stay."""
    instances = open_instances(write_instances(tmp_path / "shapes", train=1, val=1, empty=False))
    for more in ({"detect_micro_batch": 1, "detect_norm": "frozen"}, {"detect_optimizer": "adamw"}):
        config = DetectionConfig(**SMALL | {"detect_lr": 1e-3}, detect_steps=1, **more)
        backbone, draws = small_backbone(), torch.get_rng_state()
        found = detect(backbone, instances, config, CPU, tmp_path / f"{len(more)}.pt")
        assert len(found) == 1
        assert torch.equal(torch.get_rng_state(), draws)  # the caller's own go on as if nothing had been trained


def test_every_image_once_in_an_epoch(tmp_path):
    split = open_instances(write_instances(tmp_path / "shapes", train=7, val=1)).train
    whole = TrainingBatches(split, 4, seed=3)
    parts = [TrainingBatches(split, 4, 3, rank, 2) for rank in range(2)]
    drawn = [whole.numbers(step) for step in range(6)]
    assert [parts[0].numbers(step) + parts[1].numbers(step) for step in range(6)] == drawn
    numbers = [number for step in drawn for number, _ in step]
    assert sorted(numbers[:6]) == sorted(numbers[6:12]) == list(range(6))


def test_a_flip_mirrors_boxes_and_masks(tmp_path):
    one = open_instances(write_instances(tmp_path / "shapes", train=2, val=1)).val.images[0]
    (image, plain), (mirrored, flipped) = load_example(one, False), load_example(one, True)
    assert torch.equal(image.flip(2), mirrored)
    assert torch.equal(plain["masks"].flip(2), flipped["masks"])
    assert len(plain["boxes"]) == 2  # without the crowd
    assert plain["labels"].min() >= 1
    for box, mask in zip(flipped["boxes"], flipped["masks"], strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("side_px", [31, 128, 1000, 8191, 30_000])
@pytest.mark.parametrize("longest_px", [5, 106, 1333])
def test_the_thinnest_box_that_is_kept_survives_float32_flip_and_resize(side_px, longest_px):
    """torchvision ends the training at a box without area."""
    size = (side_px, side_px)
    corners = np.concatenate([np.linspace(0, side_px - 0.011, 500), side_px - np.geomspace(0.011, side_px, 500)])
    boxes = np.stack([corners, corners, corners + 1.01 * LEAST_SIDE_PX, corners + 1.01 * LEAST_SIDE_PX], 1)
    assert all(has_area(box, size) for box in boxes.tolist())
    flipped = np.stack([side_px - boxes[:, 2], boxes[:, 1], side_px - boxes[:, 0], boxes[:, 3]], 1)
    for some in (boxes, flipped):
        resized = resize_boxes(torch.from_numpy(some.astype(np.float32)), [*size], [longest_px, longest_px])
        assert (resized[:, 2:] > resized[:, :2]).all()


def test_a_box_as_thin_as_a_box_may_be_trains(tmp_path):
    root = write_instances(tmp_path / "shapes", train=1, val=1, empty=False)
    thin = [128 - 1.01 * LEAST_SIDE_PX, 5, 20, 9]
    change_json(root, "train", lambda content: content["annotations"][0].update(bbox=thin))
    instances = open_instances(root)
    assert len(instances.train.images[0].labels) == 2
    config = DetectionConfig(**SMALL | {"detect_batch_size": 2, "detect_lr": 1e-3}, detect_steps=2)
    assert len(detect(small_backbone(), instances, config, CPU, tmp_path / "state.pt")) == 1


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("resnet10t", (4, 8, 16, 32)),
        ("convnext_atto", (4, 8, 16, 32)),
        ("efficientnet_b0", (4, 8, 16, 32)),
        ("vit_tiny_patch16_224", (4, 8, 16, 32)),
        ("small-cnn", (4, 8, 16, 32)),
    ],
)
def test_any_backbone_with_maps_gets_a_pyramid(name, strides):
    backbone = small_backbone(name=name)
    pyramid = add_pyramid(backbone, DetectionConfig())
    assert pyramid.strides == strides
    with torch.no_grad():
        maps = pyramid.eval()(torch.zeros(1, 3, 64, 96))
    assert list(maps) == ["0", "1", "2", "3", "pool"]
    assert [tuple(one.shape[1:]) for one in maps.values()] == [
        (32, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)
    ] + [(32, 1, 2)]


def test_backbones_without_a_pyramid_are_refused():
    with pytest.raises(EvaluationError, match="maps of stride 14 alone; detection makes a pyramid of a single"):
        add_pyramid(small_backbone(name="vit_small_patch14_dinov2"), DetectionConfig())


def test_bfloat16_trains_and_leaves_anchors_and_boxes_in_float32(tmp_path):
    """From 256 px on bfloat16 has every second pixel alone; torchvision would take its type for both."""
    instances = open_instances(write_instances(tmp_path / "shapes", train=2, val=1))
    config = DetectionConfig(**SMALL | {"detect_batch_size": 2}, detect_steps=2, detect_precision="bfloat16")
    assert len(detect(small_backbone(), instances, config, CPU, tmp_path / "state.pt")) == 1
    found, anchors, types = [], [], []
    for bfloat16 in (False, True):
        torch.manual_seed(0)
        detector = build_detector(small_backbone(), 2, True, DetectionConfig(detect_px=320)).eval()
        detector.roi_heads.score_thresh = 0.0
        detector.rpn.anchor_generator.register_forward_hook(lambda _, given, answer: anchors.append(answer[0]))
        detector.backbone.fpn.register_forward_hook(lambda _, given, answer: types.append(answer["0"].dtype))
        if bfloat16:
            compute_in_bfloat16(detector, CPU)
        with torch.inference_mode():
            found += detector([torch.rand(3, 320, 500, generator=torch.Generator().manual_seed(0))])
    assert types == [torch.float32, torch.bfloat16]
    assert torch.equal(*anchors)
    for name in ("boxes", "scores", "masks"):
        values = found[1][name]
        assert values.dtype == torch.float32
        assert (values != values.bfloat16().float()).any()
    assert found[0]["boxes"].dtype == torch.float32


def test_schedules():
    usual = DetectionConfig()
    assert usual.num_steps == 90_000
    assert [usual.rate(step) for step in (0, 500, 1000, 59_999, 60_000, 80_000)] == pytest.approx(
        [2e-5, 0.01001, 0.02, 0.02, 0.002, 0.0002]
    )
    assert usual.sides_px == (640, 672, 704, 736, 768, 800)
    assert usual.longest_px == 1333
    assert DetectionConfig(detect_schedule="short", detect_batch_size=8).num_steps == 18_000
    assert DetectionConfig(detect_batch_size=8).rate(5000) == pytest.approx(0.01)


def test_schedule_of_pascal_voc():
    """MoCo's pascal_voc_R_50_C4_24k.yaml: STEPS (18000, 22000), MAX_ITER 24000, WARMUP_ITERS 100."""
    voc = DetectionConfig(detect_schedule="24k", detect_min_scale=0.6)
    assert voc.num_steps == 24_000
    steps = (0, 50, 100, 17_999, 18_000, 21_999, 22_000)
    assert [voc.rate(step) for step in steps] == pytest.approx([2e-5, 0.01001, 0.02, 0.02, 0.002, 0.002, 0.0002])
    assert (voc.sides_px[0], voc.sides_px[-1]) == (480, 800)
    assert DetectionConfig(detect_schedule="24k", detect_batch_size=8).num_steps == 48_000
    others = [DetectionConfig(detect_schedule=name).schedule.other_rates for name in ("1x", "short", "24k")]
    assert others == [{}, {}, {"decays": (0.75, 22 / 24), "warm_up": 100}]


@pytest.mark.parametrize(("px", "size"), [(1, (96, 64)), (64, (2000, 3))])
def test_an_image_of_which_no_pixel_is_left_is_refused_before_training(tmp_path, here, px, size):
    root = write_instances(tmp_path / "shapes", train=3, val=2, px=64)
    if size[0] > 1000:
        Image.new("RGB", size).save(root / "val/val_001.png")
        change_json(root, "val", lambda file: file["images"][1].update(width=size[0], height=size[1]))
        kept = lambda one: one["image_id"] != 101  # noqa: E731
        change_json(root, "val", lambda file: file.update(annotations=list(filter(kept, file["annotations"]))))
    done = here("evaluate", "small-cnn", "--detect-on", root, "--detect-steps", 1, "--detect-px", px, "--device", "cpu")
    assert done.returncode == 1
    assert f"images have a side of less than a pixel at --detect-px {px}, where the longer" in done.stderr
    assert f"({size[0]}x{size[1]} px)" in done.stderr


def test_a_script_without_a_guard_is_told_before_it_would_be_imported(tmp_path, monkeypatch):
    script = types.ModuleType("__main__")
    script.__file__ = str(tmp_path / "detect.py")
    (tmp_path / "detect.py").write_text("import samclr\nsamclr.evaluate('small-cnn', detect_on='shapes')\n")
    monkeypatch.setitem(sys.modules, "__main__", script)
    with pytest.raises(PartsError, match=r'has no `if __name__ == "__main__":` .*; add it, or give `detect_devices` 1'):
        check_devices(DetectionConfig(detect_devices=2), CPU)


@pytest.mark.parametrize(
    ("device", "more", "expected"),
    [
        ("cpu", {"detect_batch_size": 2, "detect_devices": 3}, "2 does not divide among 3 devices; give a multiple"),
        ("cuda:0", {"detect_devices": 4}, "is 4; this machine has 2"),
        ("cuda:1", {"detect_devices": 2}, "is 2, but the device is cuda:1; give `device` cuda for the first 2, or"),
        ("mps", {"detect_precision": "bfloat16"}, "bfloat16 is not available on mps; give `detect_precision` float32"),
        ("mps", {"detect_devices": 2}, "is 2; there is one mps device"),
    ],
)
def test_devices_that_will_not_do(monkeypatch, device, more, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EvaluationError, match=expected):
        check_devices(DetectionConfig(**more), torch.device(device))


@pytest.mark.parametrize(
    ("backbone", "more", "expected"),
    [
        ("small-cnn", {"detect_batch_size": 2, "detect_devices": 3}, "does not divide among 3 devices"),
        ("small-cnn", {"detect_num_val": 1}, "the 1 validation images chosen of shapes have no object"),
        ("vit_small_patch14_dinov2", {}, "maps of stride 14 alone"),
    ],
)
def test_what_makes_detection_impossible_is_said_before_anything_is_measured(tmp_path, backbone, more, expected):
    root = write_instances(tmp_path / "shapes", train=2, val=2)
    config = DetectionConfig(**more)
    chosen = open_instances(root).val.subset(1, config.detect_seed).images[0].ref.image_id
    number = int(chosen[4:7]) + 100
    others = lambda one: one["image_id"] != number  # noqa: E731
    change_json(root, "val", lambda file: file.update(annotations=list(filter(others, file["annotations"]))))
    task = DetectionTask(
        backbone=small_backbone(name=backbone), config=EvaluationConfig(), device=CPU, cache=tmp_path,
        instances=open_instances(root),
    )  # fmt: skip
    draws = torch.get_rng_state()
    Detection(DetectionConfig()).check(replace(task, backbone=small_backbone()))
    torch.set_rng_state(draws)
    with pytest.raises(EvaluationError, match=expected):
        Detection(config).check(task)
    assert torch.equal(torch.get_rng_state(), draws)


@pytest.mark.slow
def test_several_processes_start_in_an_allocation_of_slurm(tmp_path, monkeypatch):
    """Its variables speak of the command, which alone SLURM started, and not of the processes that this one starts."""
    slurm = {"NTASKS": 1, "JOB_ID": 7, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NTASKS_PER_NODE": 1, "JOB_NAME": "job"}
    for name, value in (slurm | {"NODELIST": "localhost", "JOB_NODELIST": "localhost", "NNODES": 1}).items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    instances = open_instances(write_instances(tmp_path / "shapes", train=3, val=2))
    config = DetectionConfig(**SMALL, detect_devices=2)
    run_on(OneStep(instances, config, tmp_path / "found.pt"), CPU, 2)
    assert len(torch.load(tmp_path / "found.pt", weights_only=True)["found"]) == 2
