"""AP of detections by VOC's rules, against a loop after the development kit, and COCO's with difficult objects."""

import io
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.detection.instances import ImageInstances
from samclr.evaluation.detection.precision import (
    Detections,
    as_coco,
    average_precisions,
    class_precisions,
    match,
    precisions,
    resampled_precisions,
)
from samclr.evaluation.detection.voc_precision import VOC_RULES, areas, eleven_points, match_by_voc
from samclr.evaluation.intervals import resamples
from samclr.scenes.refs import SceneRef

THRESHOLDS = np.linspace(0.5, 0.95, 10)


def judged(num_images: int, num_classes: int, seed: int) -> tuple[list[ImageInstances], list[Detections]]:
    """Objects in whole pixels that stand close, a quarter of them difficult, and detections near them, all scores
    different; the last class has difficult objects alone, the one before none."""
    random = np.random.default_rng(seed)
    images, found = [], []
    for number in range(num_images):
        count = int(random.integers(0, 7))
        corners = random.integers(0, 30, (count, 2)).astype(float)
        boxes = np.concatenate([corners, corners + random.integers(8, 30, (count, 2))], 1)
        labels = random.choice([*range(num_classes - 2), *([num_classes - 1] if number % 5 else [])], count)
        difficult = (random.random(count) < 0.25) | (labels == num_classes - 1)
        near = np.repeat(boxes, 3, 0) + random.normal(0, 2, (3 * count, 4)).round()
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        near_labels = np.where(random.random(3 * count) < 0.8, np.repeat(labels, 3), random.integers(0, num_classes))
        images.append(
            ImageInstances(
                ref=SceneRef(image_id=str(number), path=""), size=(100, 100), boxes_xyxy=boxes, labels=labels,
                is_crowd=np.zeros(count, bool), rles=(), is_difficult=difficult if number % 5 else None,
            )
        )  # fmt: skip
        found.append(
            Detections(
                boxes_xyxy=near, labels=near_labels, scores=random.permutation(3 * count) + number / 100, rles=()
            )
        )
    return images, found


def by_the_kit(images, found, label: int, least: float) -> tuple[float, float]:
    """VOCevaldet.m, detection by detection: 11 points (2007) and area (2012); boxes are of whole pixels from 1 on, with
    their last ones inside."""
    first = np.array([1, 1, 0, 0])
    kit = [one.boxes_xyxy + first for one in images]
    is_found = [np.zeros(len(one), bool) for one in kit]
    difficult = [np.zeros(len(one.labels), bool) if one.is_difficult is None else one.is_difficult for one in images]
    positives = sum(int((one.labels == label)[~flags].sum()) for one, flags in zip(images, difficult, strict=True))
    listed = [
        (score, number, box + first)
        for number, one in enumerate(found)
        for box, of, score in zip(one.boxes_xyxy, one.labels, one.scores, strict=True)
        if of == label
    ]
    right, wrong, points = 0, 0, []
    for _, number, box in sorted(listed, key=lambda one: -one[0]):
        best, chosen = -np.inf, -1
        for j, other in enumerate(kit[number]):
            if images[number].labels[j] != label:
                continue
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if width > 0 and height > 0:
                whole = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
                overlap = width * height / (sum(whole) - width * height)
                if overlap > best:
                    best, chosen = overlap, j
        if best < least:
            wrong += 1
        elif not difficult[number][chosen]:
            right, wrong = (right, wrong + 1) if is_found[number][chosen] else (right + 1, wrong)
            is_found[number][chosen] = True
        if right + wrong:
            points.append((right / positives if positives else np.nan, right / (right + wrong)))
    if not positives:
        return np.nan, np.nan
    eleven = sum(max([p for r, p in points if r >= tenth / 10 - 1e-9], default=0.0) for tenth in range(11)) / 11
    recalls, precision = [0.0, *(r for r, _ in points), 1.0], [0.0, *(p for _, p in points), 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    area = sum((recalls[i] - recalls[i - 1]) * precision[i] for i in range(1, len(recalls)))
    return eleven, area


@pytest.mark.parametrize("seed", range(3))
def test_ap_is_that_of_the_development_kit(seed):
    images, found = judged(25, 5, seed)
    matches = match_by_voc(images, found, 5)
    for place, rule in enumerate((eleven_points, areas)):
        counted = rule(matches, np.ones(25))
        expected = np.array([[by_the_kit(images, found, k, least)[place] for k in range(5)] for least in THRESHOLDS])
        assert np.isnan(expected).all(0).tolist() == [False, False, False, True, True]
        np.testing.assert_allclose(counted.mean(1)[:, :3], expected[:, :3], atol=1e-12)
        assert 0.1 < expected[0, :3].mean() < 0.9
        means = [expected[:, :3].mean(), expected[0, :3].mean(), expected[5, :3].mean()]
        assert average_precisions(counted) == pytest.approx(means)
        assert class_precisions(counted) == pytest.approx([*expected[:, :3].mean(0), None, None])


def test_cocos_ap_leaves_difficult_objects_out():
    """As COCOeval does with what is marked `ignore` after it was prepared."""

    class Ignoring(COCOeval):
        def _prepare(self):
            super()._prepare()
            for own in self._gts.values():
                for one in own:
                    one["ignore"] = one["is_difficult"]

    for seed in range(3):
        images, found = judged(25, 5, seed)
        truth, detected = as_coco(images, found, 5)
        marks = [mark for one in images for mark in ~one.counts]
        for one, mark in zip(truth.dataset["annotations"], marks, strict=True):
            box = one["bbox"]
            one |= {"area": box[2] * box[3], "is_difficult": int(mark)}
        with redirect_stdout(io.StringIO()):
            judge = Ignoring(truth, detected, "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        counted = precisions(match(images, found, 5, "bbox"), np.ones(25))
        assert average_precisions(counted).tolist() == judge.stats[:3].tolist()
        all_found = [replace(one, is_difficult=None) for one in images]
        assert average_precisions(precisions(match(all_found, found, 5, "bbox"), np.ones(25)))[1] != judge.stats[1]


@pytest.mark.parametrize("rule", VOC_RULES.values(), ids=VOC_RULES)
def test_an_image_drawn_twice_is_two_images(rule):
    images, found = judged(12, 4, 0)
    matches, config, values = match_by_voc(images, found, 4), IntervalConfig(bootstrap=100), []
    for times in resamples(12, config):
        values.append(average_precisions(rule(matches, times)))
        if len(values) <= 8:
            drawn = np.repeat(np.arange(12), times.astype(int))
            copies = match_by_voc([images[i] for i in drawn], [found[i] for i in drawn], 4)
            assert values[-1] == pytest.approx(average_precisions(rule(copies, np.ones(12))), nan_ok=True)
    np.testing.assert_allclose(resampled_precisions(matches, config, rule), values)


def test_a_taken_object_gives_no_second_best():
    """VOC's rule, unlike COCO's: the second detection on an object is wrong, though another one is free."""
    boxes = np.array([[0.0, 0, 10, 10], [0, 2, 10, 12]])
    image = ImageInstances(
        ref=SceneRef(image_id="a", path=""), size=(20, 20), boxes_xyxy=boxes, labels=np.zeros(2, np.int64),
        is_crowd=np.zeros(2, bool), rles=(),
    )  # fmt: skip
    twice = Detections(boxes_xyxy=boxes[[0, 0]], labels=np.zeros(2, np.int64), scores=np.array([0.9, 0.8]), rles=())
    assert average_precisions(precisions(match([image], [twice], 1, "bbox"), np.ones(1)))[1] == 1
    assert average_precisions(areas(match_by_voc([image], [twice], 1), np.ones(1)))[1] == pytest.approx(0.5)


def test_nothing_found_is_nothing():
    images, _ = judged(6, 4, 0)
    nothing = [Detections(boxes_xyxy=np.zeros((0, 4)), labels=np.zeros(0, int), scores=np.zeros(0), rles=())] * 6
    for rule in VOC_RULES.values():
        assert average_precisions(rule(match_by_voc(images, nothing, 4), np.ones(6))).tolist() == [0, 0, 0]
        assert np.isnan(average_precisions(rule(match_by_voc(images, nothing, 4), np.zeros(6)))).all()
