"""What result rows hold: named accuracies with their intervals, and the details that are too long for a row."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.intervals import bootstrap_intervals
from samclr.evaluation.linear import ProbeResult
from samclr.evaluation.neighbours import hits

DENSE_CLASSES = 200  # whose confusion is a matrix; 10,000 classes would be 100 million numbers


@dataclass(kw_only=True)
class Accuracies:
    """Collects the results of one labelled set: top-1, top-5, intervals, and each class's share and confusions.

    `row` holds NAME_top1, NAME_top5 (with more than five classes) and their NAME_..._interval (95 %).
    """

    labels: Int[Tensor, "n"]
    classes: tuple[str, ...]
    interval: IntervalConfig
    row: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    _hits: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, ranked: Int[Tensor, "n r"], suffix: str = "") -> None:
        """Add what a protocol answered for every test image, best first."""
        for num in (1, 5) if len(self.classes) > 5 else (1,):
            right = hits(ranked, self.labels, num).numpy()
            key = f"{name}_top{num}{suffix}"
            self.row[key] = float(right.mean())
            self._hits[key] = right
        predicted = ranked[:, 0].numpy()
        self.details[name] = class_details(self.labels.numpy(), predicted, len(self.classes))

    def add_trained(self, name: str, result: ProbeResult) -> None:
        """Add a protocol with epochs: the last first, the best beside it."""
        self.add(name, result.ranked, "_last")
        self.row[f"{name}_top1_best"] = max(result.top1)
        if len(self.classes) > 5:
            self.row[f"{name}_top5_best"] = max(result.top5)

    def finish(self) -> dict[str, Any]:
        """The row with its intervals."""
        ends = bootstrap_intervals(np.stack(list(self._hits.values()), 1), self.interval)
        intervals = {f"{key}_interval": end.tolist() for key, end in zip(self._hits, ends, strict=True)}
        row: dict[str, Any] = {}
        for key, value in self.row.items():  # each beside its interval
            row[key] = value
            if f"{key}_interval" in intervals:
                row[f"{key}_interval"] = intervals[f"{key}_interval"]
        return row


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
