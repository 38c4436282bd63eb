"""Our detector is torchvision's, our AP is pycocotools', resamples are copies of images, and ranks are one machine."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval
from support.detectors import SMALL, OneStep, small_heads
from support.instance_sets import write_instances
from torchvision.models.detection import maskrcnn_resnet50_fpn

from samclr.config.evaluation import IntervalConfig
from samclr.config.pretrain import ModelConfig
from samclr.evaluation.detection.batches import TrainingBatches
from samclr.evaluation.detection.instances import ImageInstances, open_instances
from samclr.evaluation.detection.model import begin_training, build_detector
from samclr.evaluation.detection.precision import (
    Detections,
    as_coco,
    average_precisions,
    class_precisions,
    match,
    precisions,
    resampled_precisions,
)
from samclr.evaluation.detection.ranks import run_on
from samclr.evaluation.detection.training import find
from samclr.evaluation.intervals import interval_ends, resamples
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.models.backbone import create_backbone
from samclr.models.freeze import freeze_norm
from samclr.scenes.refs import SceneRef


def test_losses_and_detections_are_torchvisions(tmp_path):
    """Around one state of maskrcnn_resnet50_fpn, on one batch, with one seed."""
    instances = open_instances(write_instances(tmp_path / "shapes", train=3, val=1, px=64))
    config = DetectionConfig(detect_px=64, detect_norm="frozen")
    torch.manual_seed(0)
    theirs = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3,
        min_size=config.sides_px, max_size=config.longest_px,
    )  # fmt: skip
    for name, buffer in theirs.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    ours = build_detector(create_backbone(ModelConfig(backbone="resnet50"), 64), 2, True, config)
    missing, unknown = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert unknown == []
    assert all(name.endswith("num_batches_tracked") for name in missing)
    begin_training(ours, config)
    examples = next(TrainingBatches(instances.train, 2, 0).from_step(0, 1))
    images, targets = [image for image, _ in examples], [target for _, target in examples]
    losses = []
    freeze_norm(theirs.train(), "all")
    with torch.no_grad():
        for one in (ours, theirs):
            torch.manual_seed(5)
            losses.append(one(images, targets))
        assert losses[0].keys() == losses[1].keys()
        assert len(losses[0]) == 5
        for name, value in losses[0].items():
            torch.testing.assert_close(value, losses[1][name], msg=lambda text, name=name: f"{name}: {text}")
        (found,), (expected,) = ours.eval()(images[:1]), theirs.eval()(images[:1])
    assert len(found["boxes"]) > 0
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)


def judged(
    num_images: int, num_classes: int, seed: int = 0, few_scores: bool = True
) -> tuple[list[ImageInstances], list[Detections]]:
    """Random objects, some crowds, and detections that are near them; with few scores many are equal."""
    random = np.random.default_rng(seed)
    images, found = [], []
    for number in range(num_images):
        count = int(random.integers(0, 6))
        corners = random.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corners, corners + random.uniform(8, 40, (count, 2))], 1).round(1)
        labels = random.integers(0, num_classes - 1, count)  # the last class has no object
        near = np.repeat(boxes, 2, 0) + random.normal(0, 2.5, (2 * count, 4))
        labels_found = np.where(random.random(2 * count) < 0.8, np.repeat(labels, 2), random.integers(0, num_classes))
        scores = random.integers(1, 8, 2 * count) / 8 if few_scores else random.random(2 * count)
        crowds = random.random(count) < 0.15
        images.append(
            ImageInstances(
                ref=SceneRef(image_id=str(number), path=""), size=(100, 100), boxes_xyxy=boxes, labels=labels,
                is_crowd=crowds, rles=_rles(boxes),
            )
        )  # fmt: skip
        found.append(Detections(boxes_xyxy=near, labels=labels_found, scores=scores, rles=_rles(near)))
    return images, found


def _rles(boxes: np.ndarray) -> tuple[bytes, ...]:
    masks = np.zeros((100, 100, len(boxes)), np.uint8, order="F")
    for number, (x0, y0, x1, y1) in enumerate(np.clip(boxes, 0, 100).round().astype(int)):
        masks[y0:y1, x0:x1, number] = 1
    return tuple(one["counts"] for one in coco_mask.encode(masks)) if len(boxes) else ()


def summarized(images: list[ImageInstances], found: list[Detections], num_classes: int, of: str) -> COCOeval:
    with redirect_stdout(io.StringIO()):
        judge = COCOeval(*as_coco(images, found, num_classes), of)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@pytest.mark.parametrize("of", ["bbox", "segm"])
def test_ap_is_that_of_cocoeval(of):
    """To the last bit, for all classes and each."""
    for seed in range(3):
        images, found = judged(30, 4, seed)
        judge = summarized(images, found, 4, of)
        counted = precisions(match(images, found, 4, of), np.ones(30))
        assert np.array_equal(counted, judge.eval["precision"][:, :, :, 0, 2])
        assert average_precisions(counted).tolist() == judge.stats[:3].tolist()
        each = [judge.eval["precision"][:, :, number, 0, 2].mean() for number in range(3)]
        assert class_precisions(counted) == pytest.approx([*each, None])


def test_an_image_drawn_twice_is_two_images():
    """Each resample's AP is what COCOeval gives for a set with so many copies; the interval is their percentiles."""
    images, found = judged(12, 3, few_scores=False)
    matches = match(images, found, 3, "bbox")
    config = IntervalConfig(bootstrap=100)
    values = []
    for times in resamples(12, config):
        drawn = np.repeat(np.arange(12), times.astype(int))
        copies = [images[number] for number in drawn], [found[number] for number in drawn]
        values.append(average_precisions(precisions(matches, times)))
        if len(values) <= 8:
            assert values[-1] == pytest.approx(summarized(*copies, 3, "bbox").stats[:3], abs=1e-12)
    expected = np.percentile(values, (2.5, 97.5), axis=0).T
    np.testing.assert_allclose(interval_ends(resampled_precisions(matches, config)), expected)


def test_no_detections_and_no_objects():
    images, found = judged(6, 3)
    nothing = [Detections(boxes_xyxy=np.zeros((0, 4)), labels=np.zeros(0, int), scores=np.zeros(0), rles=())] * 6
    assert average_precisions(precisions(match(images, nothing, 3, "segm"), np.ones(6))).tolist() == [0, 0, 0]
    matches = match(images, found, 3, "bbox")
    assert np.isnan(average_precisions(precisions(matches, np.zeros(6)))).all()


@pytest.mark.slow
def test_ranks_equal_one(tmp_path):
    """The gradient is the mean of the ranks' own; together they find what one finds."""
    instances = open_instances(write_instances(tmp_path / "shapes", train=5, val=3))
    config = DetectionConfig(**SMALL, detect_devices=2)
    work = OneStep(instances, config, tmp_path / "found.pt")
    run_on(work, torch.device("cpu"), 2)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    with small_heads():
        alone = [work.after_one_step(fabric, rank, 2) for rank in range(2)]
        both = {name: (one + alone[1]["gradients"][name]) / 2 for name, one in alone[0]["gradients"].items()}
        assert found["gradients"].keys() == both.keys()
        assert len(both) > 40
        for name, gradient in both.items():
            rounding = 1e-4 * float(gradient.abs().max())  # sums over a tensor's scale, in another order
            torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-4, atol=max(rounding, 1e-6))
        detector = work._detector(fabric)
        detector.load_state_dict(found["detector"])
        expected = find(fabric, detector, instances.val)
    assert len(expected) == 3
    for one, other in zip(found["found"], expected, strict=True):
        assert len(one["scores"]) > 0
        for name in ("boxes", "labels", "scores"):
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-4)
        assert len(one["rles"]) == len(other["rles"])
