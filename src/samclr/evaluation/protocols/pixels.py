"""What counts of pixels become in results: scores with intervals, and details."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from samclr.config.evaluation import IntervalConfig
from samclr.errors import EvaluationError
from samclr.evaluation.intervals import (
    bootstrap_intervals,
    bootstrap_values,
    interval_ends,
    resampled_details,
    score_of,
)
from samclr.evaluation.matching import ImageCounts, matched_counts, pair_table
from samclr.evaluation.segmentation import class_ious, miou_and_accuracy, sparse_counts
from samclr.runs.results import Score


def pixel_scores(counts: Float[np.ndarray, "n m"], interval: IntervalConfig) -> dict[str, Score]:
    """miou and pixel_accuracy of what `iou_counts` gives for each image.

    An image is resampled as a whole: its pixels are not independent.
    """
    values = miou_and_accuracy(counts.sum(0))
    ends = bootstrap_intervals(counts, interval, miou_and_accuracy)
    return {
        measure: score_of(value, own, len(counts))
        for measure, value, own in zip(("miou", "pixel_accuracy"), values, ends, strict=True)
    }


def pixel_details(counts: Float[np.ndarray, "n m"]) -> dict[str, Any]:
    """The IoU of each class, None for one that is neither in labels nor in predictions, and the counts."""
    return {
        "per_class_iou": [None if np.isnan(iou) else float(iou) for iou in class_ious(counts.sum(0))],
        "pixels_by_image": [sparse_counts(image) for image in counts],
    }


def sized_scores(
    images: dict[str, list[ImageCounts]], num_classes: int, interval: IntervalConfig
) -> tuple[dict[str, Score], dict[str, Any]]:
    """Scores and details of predictions counted at several sizes; the first is the main one.

    images: by what is put behind `miou` in the score's name; "" of the main one, which has all details.
    """
    counts = {name: matched_counts(one, np.arange(num_classes), num_classes) for name, one in images.items()}
    first = next(iter(counts))
    scores = pixel_scores(counts[first], interval)
    others, drawn = [*counts][1:], []
    for name in others:
        values = bootstrap_values(counts[name], interval, lambda sums: miou_and_accuracy(sums)[:1])
        (ends,), value = interval_ends(values), miou_and_accuracy(counts[name].sum(0))[0]
        scores[f"miou{name}"] = score_of(value, ends, len(counts[name]))
        drawn.append(values)
    table = pair_table(images[first], num_classes, num_classes)
    details = {"confusion": table.T.tolist()} | pixel_details(counts[first])
    more = resampled_details([f"miou{name}" for name in others], np.concatenate(drawn, 1)) if drawn else {}
    return scores, details | more


def require_labels(images: Sequence[ImageCounts]) -> None:
    """Raise EvaluationError where no test image has a pixel that counts."""
    if not any(len(image.pixels) for image in images):
        raise EvaluationError(f"none of the {len(images)} test label maps has a pixel that counts")
