"""Pascal VOC's average precision of boxes, by its two rules, at COCO's thresholds of IoU.

A detection goes to the object of its class that it overlaps most, and is right where that is by the threshold or more
and no better scored one was there before; on a difficult object it does not count. COCO's rule, by contrast, gives it
the next best object where the best is taken. VOC's overlap counts pixels, whose boxes hold their last one; of half-open
boxes it is plain IoU.

Source: VOCdevkit, VOCevaldet.m of 2007 (11 points) and of 2012 (area, VOCap.m).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pycocotools.cocoeval import Params

from samclr.evaluation.average_precision import RECALLS
from samclr.evaluation.detection.counting import IGNORED, RIGHT, WRONG, areas_of_class
from samclr.evaluation.detection.instances import ImageInstances
from samclr.evaluation.detection.precision import ClassMatches, Detections, precisions

SLACK = 1e-12  # of the eleven recalls, which floats hold no better


def match_by_voc(images: Sequence[ImageInstances], found: Sequence[Detections], num_classes: int) -> list[ClassMatches]:
    """What becomes of the detections of each class; of equal scores the first image's comes first."""
    thresholds = Params("bbox").iouThrs
    where = np.repeat(np.arange(len(images)), [len(one.scores) for one in found])
    labels, scores = (np.concatenate([getattr(one, name) for one in found]) for name in ("labels", "scores"))
    overlaps, objects = np.full(len(where), -np.inf), np.full(len(where), -1)
    is_counted = np.concatenate([one.counts for one in images])
    to_find = np.zeros((num_classes, len(images)))
    first, begun = 0, 0
    for number, (one, detected) in enumerate(zip(images, found, strict=True)):
        np.add.at(to_find[:, number], one.labels[one.counts], 1)
        own = slice(first, first + len(detected.scores))
        if len(one.labels) and len(detected.scores):
            shared = overlaps_of(detected.boxes_xyxy, one.boxes_xyxy)
            shared[detected.labels[:, None] != one.labels] = -np.inf
            objects[own], overlaps[own] = begun + shared.argmax(1), shared.max(1)
        first, begun = own.stop, begun + len(one.labels)
    matches = []
    for label in range(num_classes):
        chosen = np.flatnonzero(labels == label)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        outcomes = np.full((len(thresholds), len(chosen)), WRONG, np.uint8)
        for row, least in zip(outcomes, thresholds, strict=True):
            hits = np.flatnonzero(overlaps[chosen] >= least)
            counted = is_counted[objects[chosen[hits]]]
            row[hits[~counted]] = IGNORED
            hits = hits[counted]
            row[hits[np.unique(objects[chosen[hits]], return_index=True)[1]]] = RIGHT
        matches.append(ClassMatches(images=where[chosen], outcomes=outcomes, objects=to_find[label]))
    return matches


def overlaps_of(
    boxes_xyxy: Float[np.ndarray, "k 4"], others_xyxy: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "k n"]:
    """IoU of each pair."""
    low = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[:, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[:, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (boxes_xyxy, others_xyxy)]
    either = areas[0][:, None] + areas[1] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def eleven_points(matches: Sequence[ClassMatches], times: Float[np.ndarray, "n"]) -> Float[np.ndarray, "t 11 k"]:
    """The best precision at recall 0, 0.1, ... 1 or a higher one, of which VOC until 2009 takes the mean."""
    return precisions(matches, times, RECALLS - SLACK)


def areas(matches: Sequence[ClassMatches], times: Float[np.ndarray, "n"]) -> Float[np.ndarray, "t 1 k"]:
    """The area under precision made monotone, as VOC from 2010 on; -1 where a class has no object."""
    found = np.full((len(matches[0].outcomes), 1, len(matches)), -1.0)
    for number, one in enumerate(matches):
        num_objects = float(one.objects @ times)
        if num_objects > 0:
            found[:, 0, number] = areas_of_class(one.images, one.outcomes, times, num_objects)
    return found


VOC_RULES = {"voc_11_points": eleven_points, "voc_area": areas}
