"""Result rows: named accuracies with their intervals, and what is too long for a row in a file beside results.json."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from samclr.evaluation.intervals import bootstrap_intervals
from samclr.evaluation.knn import hits
from samclr.evaluation.linear import ProbeResult
from samclr.evaluation_config import IntervalConfig
from samclr.run_directory import RESULTS_FILE, read_json, write_json
from samclr.settings import fingerprint

DETAILS_FOLDER = "evaluation"
IDENTITY = ("target", "on", "task", "settings", "num_train", "num_test")


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
    """Share of right answers of each class (None without test images), and counts [true][predicted]."""
    confusion = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes)
    per_class = [float(row[c] / row.sum()) if row.sum() else None for c, row in enumerate(confusion)]
    return {"per_class_accuracy": per_class, "confusion": confusion.tolist(), "predicted": predicted.tolist()}


def results_place(out: Path | None, run: Path | None) -> Path | None:
    """The file that results are added to: the one named, else the run's, else none."""
    return out or (run / RESULTS_FILE if run is not None else None)


def add_results(place: Path, row: dict[str, Any], details: dict[str, Any]) -> None:
    """Add a row to a results file, and its details to a file in evaluation/ beside it, which the row then names.

    A row of the same target, set, task, settings and counts is replaced.
    """
    key = fingerprint([row.get(name) for name in IDENTITY])
    path = place.parent / DETAILS_FOLDER / f"{place.stem}-{row['on']}-{row['task']}-{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(json.dumps(details))  # on one line: a confusion matrix has many numbers
    os.replace(beside, path)
    row["details"] = f"{DETAILS_FOLDER}/{path.name}"
    old = read_json(place, {"results": []})["results"]
    kept = [one for one in old if not all(one.get(key) == row[key] for key in IDENTITY)]
    write_json(place, {"results": [*kept, row]})
