"""From what each object found to scores with intervals over the images whose objects ask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from samclr.config.evaluation import IntervalConfig
from samclr.embedding.objects.find import Found, same_segments
from samclr.embedding.objects.retrieval import Retrieved, retrieve
from samclr.evaluation.intervals import bootstrap_values, interval_ends, resampled_details, score_of
from samclr.runs.results import Score


def scored(
    found: Sequence[Found], vectors: Float[np.ndarray, "n d"], num_classes: int, interval: IntervalConfig
) -> tuple[dict[str, Score], dict[str, int], dict[str, Any]]:
    """Scores with intervals over the images whose objects ask, counts, and details. num_classes 0: segments of people.

    Raises:
        EvaluationError: a vector is zero, or no object has a like.
    """
    image = np.repeat(np.arange(len(found)), [len(one.classes) for one in found])
    if num_classes:
        classes = np.concatenate([one.classes for one in found])
        got = retrieve(vectors, image, lambda rows: classes[rows][:, None] == classes)
        measures = {"map": got.average_precision, "precision_at_10": got.precision_at_10}
        asking = classes[got.queries]
    else:
        person = np.concatenate([one.people for one in found])
        got = retrieve(vectors, image * (1 + int(person.max())) + person, same_segments(found))
        measures = {"map": got.average_precision, "same_segment": got.r_precision}
        asking = np.zeros(len(got.queries), np.int64)
    scores, drawn = _scores(measures, image[got.queries], asking, len(found), max(num_classes, 1), interval)
    if num_classes == 0:
        scores = {name: score for name, score in scores.items() if not name.endswith("_class")}
    more = resampled_details([*scores], drawn[:, : len(scores)])
    return scores, {"num_queries": len(got.queries)}, _details(got, asking, num_classes) | more


def _scores(
    measures: dict[str, Float[np.ndarray, "q"]],
    image: Int[np.ndarray, "q"],
    classes: Int[np.ndarray, "q"],
    num_images: int,
    num_classes: int,
    interval: IntervalConfig,
) -> tuple[dict[str, Score], Float[np.ndarray, "b q"]]:
    """Of each measure the mean over the objects that ask, and over their classes; images are resampled whole.

    And what they are in each resample.
    """
    names, cells = list(measures), image * num_classes + classes
    sums = [
        np.bincount(cells, values, num_images * num_classes) for values in (*measures.values(), np.ones(len(cells)))
    ]
    per_image = np.concatenate([one.reshape(num_images, num_classes) for one in sums], 1)

    def means(totals: Float[np.ndarray, "m"]) -> Float[np.ndarray, "q"]:
        *by_measure, asked = np.split(totals, len(names) + 1)
        there = asked > 0
        if not there.any():  # a resample of images without objects
            return np.zeros(2 * len(names))
        overall = [one.sum() / asked.sum() for one in by_measure]
        return np.array([*overall, *((one[there] / asked[there]).mean() for one in by_measure)])

    values, drawn = means(per_image.sum(0)), bootstrap_values(per_image, interval, means)
    all_names, ends = [*names, *(f"{name}_class" for name in names)], interval_ends(drawn)
    found = {name: score_of(value, own, num_images) for name, value, own in zip(all_names, values, ends, strict=True)}
    return found, drawn


def _details(got: Retrieved, classes: Int[np.ndarray, "q"], num_classes: int) -> dict[str, Any]:
    """Of each class the means over its objects; None of a class without a query."""
    asked = [classes == number for number in range(num_classes)]
    return {
        f"per_class_{name}": [float(values[one].mean()) if one.any() else None for one in asked]
        for name, values in (("ap", got.average_precision), ("precision", got.precision_at_10))
    } | {"num_queries_by_class": [int(one.sum()) for one in asked]}
