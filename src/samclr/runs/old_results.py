"""Rows of results.json before format 3: one a set, with a flat key for each number of each protocol.

This is the one place that takes such keys apart. Numbers, settings and details stay what they were.
"""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from samclr.config.evaluation import IntervalConfig
from samclr.config.protocols import EvaluationData
from samclr.config.registry import PROTOCOLS
from samclr.runs.directory import RESULTS_FILE
from samclr.runs.results import UNTRAINED, Result, Score

# The names of measures then, the longer first, and the protocols that wrote rows.
_MEASURES = ("top1_last", "top5_last", "top1_best", "top5_best", "pixel_accuracy", "top1", "top5", "miou")
_PROTOCOLS = ("few_shot", "crop_probe", "fine_tune", "linear", "dense", "knn")


def results_of_row(row: dict[str, Any], place: Path) -> list[Result]:
    """The results that a row of `place` held. A row of format 1 has neither seed, step nor model."""
    source, untrained = _whose(row, place)
    scores: dict[tuple[str, str], dict[str, Score]] = {}
    for key, value in row.items():
        measure = next((name for name in _MEASURES if key.endswith(f"_{name}")), None)
        if measure is not None:
            name = key.removesuffix(f"_{measure}")
            protocol = next(one for one in _PROTOCOLS if name == one or name.startswith(f"{one}_"))
            low, high = row.get(f"{key}_interval", (None, None))
            score = Score(value=value, low=low, high=high, n=row["num_test"])
            scores.setdefault((protocol, name.removeprefix(protocol).lstrip("_")), {})[measure] = score
    common = {name: row.get(name) for name in ("seed", "step", "model", "backbone_fingerprint", "samclr", "details")}
    common |= {name: row.get(name) for name in ("train_fingerprint", "test_fingerprint")}
    kind: Any = "dense" if row.get("task") == "dense" else "labelled"
    return [
        Result(
            protocol=protocol,
            variant=variant,
            kind=kind,
            on=row["on"],
            target=row["target"],
            source=source,
            untrained=untrained,
            scores=found,
            settings=_settings(row.get("settings", {}), protocol, variant),
            counts=_counts(row, protocol, variant),
            chosen={"lr": row[f"{protocol}_lr"]} if f"{protocol}_lr" in row else {},
            superseded=row.get("superseded", False),
            **common,
        )
        for (protocol, variant), found in scores.items()
    ]


def _whose(row: dict[str, Any], place: Path) -> tuple[str, bool]:
    """A row of samclr 0.1 has its source and whether it is untrained in its target's name alone.

    In a run's own results.json it is that run's, however its name was spelt.
    """
    if "source" in row:
        return row["source"], row["untrained"]
    own = place.name == RESULTS_FILE and (place.parent / "config.json").exists()
    name = row["target"].removesuffix(UNTRAINED)
    return "." if own else os.path.normpath(name), row["target"].endswith(UNTRAINED)


def _settings(settings: dict[str, Any], protocol: str, variant: str) -> dict[str, Any]:
    """Those that decided this protocol's numbers: what measuring it today would write."""
    owners: list[Any] = [PROTOCOLS[protocol].config, IntervalConfig]
    owners += [EvaluationData] if protocol != "dense" else []
    owners += [PROTOCOLS["linear"].config] if protocol == "few_shot" else []
    names = {one.name for owner in owners for one in fields(owner)}
    own = {name: value for name, value in settings.items() if name in names}
    if protocol == "knn" and variant:
        k, temperature = variant.removeprefix("k").split("_t")
        own |= {"knn_k": int(k), "knn_temperature": float(temperature)}
    if protocol == "few_shot":
        own.pop("skip_linear", None)
        own["few_shot"] = [share for share in own.get("few_shot", []) if f"{100 * share:g}pct" == variant]
    return own


def _counts(row: dict[str, Any], protocol: str, variant: str) -> dict[str, int]:
    counts = {name: row[name] for name in ("num_train", "num_test", "num_classes", "num_patches") if name in row}
    named = {
        ("knn", ""): {"voters": "knn_voters"},
        ("dense", "knn"): {"voters": "dense_knn_voters"},
        ("few_shot", variant): {"num_labels": f"few_shot_{variant}_num_train"},
    }.get((protocol, variant), {})
    return counts | {name: row[key] for name, key in named.items() if key in row}
