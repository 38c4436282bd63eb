"""From what a protocol answered for every test image to scores with intervals, and details."""

from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.stats import binomtest
from torch import Tensor

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.intervals import bootstrap_intervals
from samclr.evaluation.neighbours import hits
from samclr.evaluation.protocols.base import LabelledTask, Outcome
from samclr.evaluation.training import ProbeResult
from samclr.runs.results import Score

CONFIDENCE = 0.95
DENSE_CLASSES = 200  # whose confusion is a matrix; 10,000 classes would be 100 million numbers


def answered(task: LabelledTask, ranked: Int[Tensor, "n r"], suffix: str = "", **more: Any) -> Outcome:
    """The outcome of a protocol that ranks classes, best first, for every test image.

    Scores are top1 and, with more than five classes, top5, their names followed by `suffix`. more: see `Outcome`.
    """
    classes, (_, labels) = task.labelled.classes, task.labels
    scores = {}
    for num in (1, 5) if len(classes) > 5 else (1,):
        right = hits(ranked, labels, num).numpy()
        scores[f"top{num}{suffix}"] = share_score(right, task.config.interval)
    details = class_details(labels.numpy(), ranked[:, 0].numpy(), len(classes))
    return Outcome(scores=scores, details=details, **more)


def trained(task: LabelledTask, result: ProbeResult, **more: Any) -> Outcome:
    """The outcome of a protocol with epochs: the last with intervals, the best, which is optimistic, without."""
    outcome = answered(task, result.ranked, "_last", **more)
    num = len(result.ranked)
    outcome.scores["top1_best"] = Score(value=max(result.top1), n=num)
    if len(task.labelled.classes) > 5:
        outcome.scores["top5_best"] = Score(value=max(result.top5), n=num)
    return outcome


def share_score(right: np.ndarray, interval: IntervalConfig) -> Score:
    """The share of test images that are right [n], with its interval over them.

    Where the bootstrap's has no width, as where all are right, it is the exact one (Clopper and Pearson, 1934).
    """
    ((low, high),) = bootstrap_intervals(right[:, None], interval)
    if low == high:
        low, high = binomtest(int(right.sum()), len(right)).proportion_ci(CONFIDENCE, "exact")
    return Score(value=float(right.mean()), low=float(low), high=float(high), n=len(right))


def class_details(labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int) -> dict[str, Any]:
    """Share of right answers of each class (None without test images), predictions, and counts [true][predicted].

    With more than DENSE_CLASSES classes the counts are `confusion_counts`, [true, predicted, count] of those that are
    not 0: never more than there are test images.
    """
    totals = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[labels == predicted], minlength=num_classes)
    per_class = [float(r / total) if total else None for r, total in zip(right, totals, strict=True)]
    pairs, counts = np.unique(labels.astype(np.int64) * num_classes + predicted, return_counts=True)
    true, answered = pairs // num_classes, pairs % num_classes
    details: dict[str, Any] = {"per_class_accuracy": per_class, "predicted": predicted.tolist()}
    if num_classes > DENSE_CLASSES:
        return details | {"confusion_counts": np.stack([true, answered, counts], 1).tolist()}
    confusion = np.zeros((num_classes, num_classes), np.int64)
    confusion[true, answered] = counts
    return details | {"confusion": confusion.tolist()}
