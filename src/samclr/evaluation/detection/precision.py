"""COCO's average precision of boxes and masks, with intervals.

pycocotools finds which detection is right (COCOeval.evaluate); what it makes of that (COCOeval.accumulate and
summarize) is computed here, since a resample of the images does not move the matches: only how often each counts.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.detection.counting import IGNORED, RIGHT, WRONG, precisions_of_class
from samclr.evaluation.detection.instances import ImageInstances
from samclr.evaluation.intervals import resamples

MOST_DETECTIONS = 100  # of an image, as COCO counts
NO_AREA = -1.0  # of no range of areas, so that COCOeval takes an object as neither right nor wrong to find


Rule = Callable[[Sequence["ClassMatches"], Float[np.ndarray, "n"]], Float[np.ndarray, "t r k"]]


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What a detector found in an image, at its own size.

    Attributes:
        boxes_xyxy: px.
        labels: numbers of classes, from 0.
        scores: from 0 to 1.
        rles: a mask for each, in COCO's compressed run lengths; empty of a set of boxes.
    """

    boxes_xyxy: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, "k"]
    scores: Float[np.ndarray, "k"]
    rles: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """What became of the detections of one class, in the order of falling score, at each of T thresholds of IoU.

    Attributes:
        images: number of each detection's image.
        outcomes: RIGHT, WRONG, or IGNORED: on a crowd, or on a difficult object.
        objects: how many each image has that are to be found.
    """

    images: Int[np.ndarray, "d"]
    outcomes: UInt8[np.ndarray, "t d"]
    objects: Float[np.ndarray, "n"]


def match(
    images: Sequence[ImageInstances], found: Sequence[Detections], num_classes: int, of: Literal["bbox", "segm"]
) -> list[ClassMatches]:
    """COCO's matches of detections with objects, for each class."""
    with redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        judge = COCOeval(*as_coco(images, found, num_classes), of)
        judge.params.areaRng, judge.params.areaRngLbl = judge.params.areaRng[:1], judge.params.areaRngLbl[:1]
        judge.evaluate()
    thresholds = len(judge.params.iouThrs)
    matches = []
    for number in range(num_classes):
        each = judge.evalImgs[number * len(images) : (number + 1) * len(images)]
        there = [(place, one) for place, one in enumerate(each) if one is not None]
        scores = np.concatenate([[], *(one["dtScores"] for _, one in there)])
        order = np.argsort(-scores, kind="mergesort")
        own = np.concatenate([np.empty(0, np.int64), *(np.full(len(one["dtScores"]), p) for p, one in there)])
        empty = np.empty((thresholds, 0), bool)
        is_matched = np.concatenate([empty, *(one["dtMatches"] != 0 for _, one in there)], 1)
        is_ignored = np.concatenate([empty, *(one["dtIgnore"].astype(bool) for _, one in there)], 1)
        objects = np.zeros(len(images))
        for place, one in there:
            objects[place] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        outcomes = np.where(is_ignored, IGNORED, np.where(is_matched, RIGHT, WRONG)).astype(np.uint8)
        matches.append(
            ClassMatches(
                images=own[order].astype(np.int64),
                outcomes=np.ascontiguousarray(outcomes[:, order]),
                objects=objects,
            )
        )
    return matches


def as_coco(images: Sequence[ImageInstances], found: Sequence[Detections], num_classes: int) -> tuple[COCO, COCO]:
    """Objects and detections as pycocotools has them; images and classes are numbered from 1.

    A difficult object is matched as others are, by its whole box and once, and then left out of the count, like those
    beyond a range of areas; a crowd (iscrowd) would take any number of detections that lie in it.
    """
    objects: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for number, (one, detected) in enumerate(zip(images, found, strict=True), 1):
        for which, box in enumerate(one.boxes_xyxy):
            more = {"iscrowd": int(one.is_crowd[which]), **_mask(one.rles, which, one.size)}
            objects.append(_annotation(len(objects) + 1, number, int(one.labels[which]) + 1, box, more))
            if one.is_difficult is not None and one.is_difficult[which]:
                objects[-1]["area"] = NO_AREA
        for which, box in enumerate(detected.boxes_xyxy):
            more = {"score": float(detected.scores[which]), **_mask(detected.rles, which, one.size)}
            detections.append(_annotation(len(detections) + 1, number, int(detected.labels[which]) + 1, box, more))
    sizes = [{"id": number, "height": one.size[0], "width": one.size[1]} for number, one in enumerate(images, 1)]
    classes = [{"id": number + 1, "name": str(number + 1)} for number in range(num_classes)]
    sides = []
    for annotations in (objects, detections):
        side = COCO()
        side.dataset = {"images": sizes, "annotations": annotations, "categories": classes}
        side.createIndex()
        sides.append(side)
    return sides[0], sides[1]


def _annotation(own: int, image: int, category: int, box: np.ndarray, more: dict[str, Any]) -> dict[str, Any]:
    x0, y0, x1, y1 = map(float, box)
    size = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
    if "segmentation" in more:
        size["area"] = float(coco_mask.area(more["segmentation"]))
    return {"id": own, "image_id": image, "category_id": category, **size, **more}


def _mask(rles: tuple[bytes, ...], which: int, size: tuple[int, int]) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": rles[which]}} if rles else {}


def precisions(
    matches: Sequence[ClassMatches], times: Float[np.ndarray, "n"], recalls: Float[np.ndarray, "r"] | None = None
) -> Float[np.ndarray, "t r k"]:
    """Precision at each threshold of IoU and each recall, of each class; -1 where it has no object.

    times: how often each image counts. recalls: by default COCO's 101.
    """
    recalls = Params("bbox").recThrs if recalls is None else recalls
    num_thresholds = len(matches[0].outcomes)
    found = np.full((num_thresholds, len(recalls), len(matches)), -1.0)
    for number, one in enumerate(matches):
        objects = float(one.objects @ times)
        if objects > 0:
            found[:, :, number] = precisions_of_class(one.images, one.outcomes, times, objects, recalls)
    return found


def average_precisions(found: Float[np.ndarray, "t r k"]) -> Float[np.ndarray, "3"]:
    """AP, the mean over IoU 0.5 to 0.95, AP50 and AP75, as COCOeval.summarize has them; NaN without any object."""
    return np.array([_mean(found), _mean(found[:1]), _mean(found[5:6])])


def class_precisions(found: Float[np.ndarray, "t r k"]) -> list[float | None]:
    """AP of each class; None of those without an object."""
    each = [_mean(found[:, :, number]) for number in range(found.shape[2])]
    return [None if np.isnan(one) else float(one) for one in each]


def resampled_precisions(
    matches: Sequence[ClassMatches], config: IntervalConfig, rule: Rule = precisions
) -> Float[np.ndarray, "b 3"]:
    """AP, AP50 and AP75 in each resample of the images; NaN in one without any object.

    A resample that draws an image twice counts its detections and objects twice.
    """
    num_images = len(matches[0].objects)
    return np.stack([average_precisions(rule(matches, times)) for times in resamples(num_images, config)])


def _mean(values: np.ndarray) -> float:
    there = values[values > -1]
    return float(np.mean(there)) if len(there) else float("nan")
