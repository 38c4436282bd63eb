"""What a report may compare: one score of several runs, by seed, and differences paired by test image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from jaxtyping import Float

from samclr.config.evaluation import IntervalConfig
from samclr.config.protocols import ProtocolSpec, Shown, protocols_of
from samclr.errors import FilesError
from samclr.evaluation.intervals import bootstrap_intervals
from samclr.runs.results import Result
from samclr.storage.files import confined, read_json

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A result, the run whose folder holds it, and the seed of its weights."""

    run: Path
    seed: int
    result: Result


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One score of runs that differ in the seed alone.

    Attributes:
        label: whose it is.
        values: by seed.
        right: by seed 1 for each test image that was answered rightly [n]; a seed whose answers are not at hand lacks.
    """

    label: str
    values: dict[int, float]
    right: dict[int, Float[np.ndarray, "n"]]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values.values())


def main_scores() -> list[tuple[ProtocolSpec, Shown]]:
    """The scores of the tables without variants, the most important first."""
    return [(spec, one) for spec in protocols_of() for one in spec.shown if one.variant == ""]


def newest(found: Sequence[Measured], on: str, spec: ProtocolSpec, shown: Shown) -> Result | None:
    """The result on a set that was measured last; a score without an interval does not count."""
    fit = [
        one.result
        for one in found
        if (one.result.on, one.result.protocol, one.result.variant) == (on, spec.name, "")
        and shown.measure in one.result.scores
        and one.result.scores[shown.measure].low is not None
    ]
    return fit[-1] if fit else None


def scored(label: str, found: Sequence[Measured], shown: Shown, like: Result) -> Scored:
    """The score of each seed, of what was measured as `like` was: protocol, settings, images and architecture."""
    fit = {one.seed: one for one in found if _is_like(one.result, like) and shown.measure in one.result.scores}
    values = {seed: one.result.scores[shown.measure].value for seed, one in fit.items()}
    right = {seed: _right(one, values[seed]) for seed, one in fit.items()}
    return Scored(label=label, values=values, right={seed: r for seed, r in right.items() if r is not None})


def _is_like(one: Result, like: Result) -> bool:
    def identity(result: Result) -> tuple[object, ...]:
        counts = tuple(result.counts.get(name) for name in ("num_train", "num_test"))
        settings = {**result.settings, "protocol": result.protocol, "variant": result.variant, "on": result.on}
        return settings, counts, result.train_fingerprint, result.test_fingerprint

    same_model = None in (one.model, like.model) or one.model == like.model
    return same_model and identity(one) == identity(like)


def _right(one: Measured, value: float) -> Float[np.ndarray, "n"] | None:
    """Which test images are right, from the predictions beside the results; None where they are not at hand."""
    if one.result.details is None:
        return None
    try:
        details = read_json(confined(one.run, one.result.details), {})
        labels, predicted = (
            np.asarray(values) for values in (details["labels"], details["protocols"][one.result.key]["predicted"])
        )
    except (FilesError, KeyError, TypeError):  # removed, damaged, or a protocol without predictions
        return None
    right = (labels == predicted).astype(np.float64) if labels.shape == predicted.shape else np.zeros(0)
    # Predictions say top-1; another measure of the same protocol cannot be paired by them.
    return right if len(right) and abs(right.mean() - value) < 1e-6 else None


def mean_interval(ours: Scored, like: Result, shown: Shown) -> Interval | None:
    """The 95 % interval of the mean over seeds, over test images: of one seed as its result has it."""
    if len(ours.values) == 1:
        score = like.scores[shown.measure]
        return None if score.low is None or score.high is None else (score.low, score.high)
    return _bootstrapped(np.mean([*ours.right.values()], 0), like) if ours.right.keys() == ours.values.keys() else None


def difference(ours: Scored, theirs: Scored, like: Result) -> tuple[float, Interval | None, list[int]]:
    """Ours less theirs: the mean, its interval if both can be paired by test image, and the seeds that both have.

    Without a seed in common all of either are taken, and the list is empty.
    """
    common = [seed for seed in ours.values if seed in theirs.values]
    seeds = (common, common) if common else ([*ours.values], [*theirs.values])
    sides = [
        ([one.values[seed] for seed in some], one.right, some) for one, some in zip((ours, theirs), seeds, strict=True)
    ]
    gap = fmean(sides[0][0]) - fmean(sides[1][0])
    if not all(seed in right for _, right, some in sides for seed in some):
        return gap, None, common
    first, second = (np.mean([right[seed] for seed in some], 0) for _, right, some in sides)
    return gap, _bootstrapped(first - second, like), common


def _bootstrapped(per_image: Float[np.ndarray, "n"], like: Result) -> Interval:
    known = IntervalConfig()
    config = IntervalConfig(
        bootstrap=like.settings.get("bootstrap", known.bootstrap),
        bootstrap_seed=like.settings.get("bootstrap_seed", known.bootstrap_seed),
    )
    ((low, high),) = bootstrap_intervals(per_image[:, None], config)
    return float(low), float(high)
