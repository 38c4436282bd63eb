"""What a report may compare: one score of several runs, by seed, and differences paired by test image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from jaxtyping import Float

from samclr.config.evaluation import IntervalConfig
from samclr.config.pretrain import PretrainConfig
from samclr.config.protocols import ProtocolSpec, Shown, protocols_of
from samclr.errors import FilesError
from samclr.evaluation.intervals import RESAMPLED, bootstrap_intervals, interval_ends
from samclr.evaluation.segmentation import dense_counts, miou_and_accuracy
from samclr.runs.results import Result
from samclr.storage.files import confined, read_json

Interval = tuple[float, float]
Measure = Callable[[Float[np.ndarray, "m"]], float]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A result, the run whose folder holds it, and the seed of its weights. See `measured_by`."""

    run: Path
    seed: int
    result: Result


def measured_by(run: Path, config: PretrainConfig, result: Result) -> Measured:
    """A result of this run's weights or floor. A row of samclr 0.1 has no model: that is the run's."""
    if result.model is None:
        result = replace(result, model={"backbone": config.model.backbone, "stem": config.model.stem})
    return Measured(run=run, seed=config.seed if result.seed is None else result.seed, result=result)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One score of runs that differ in the seed alone.

    Attributes:
        label: whose it is.
        values: by seed.
        per_image: by seed what each test image adds to the sums that the score is made of: 1 where it was answered
            rightly [n 1], or its counts of pixels [n m]; a seed whose answers are not at hand lacks.
        measure: from the m sums to the score; None where that is the mean over test images.
        resampled: by seed the score in each resample of the test images, of scores that are no such sums.
    """

    label: str
    values: dict[int, float]
    per_image: dict[int, Float[np.ndarray, "n m"]]
    measure: Measure | None = None
    resampled: dict[int, Float[np.ndarray, "b"]] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values.values())


def main_scores() -> list[tuple[ProtocolSpec, Shown]]:
    """The scores of the tables but those of every variant there is, the most important first."""
    return [(spec, one) for spec in protocols_of() for one in spec.shown if one.variant is not None]


def newest(found: Sequence[Measured], on: str, spec: ProtocolSpec, shown: Shown) -> Result | None:
    """The result on a set that was measured last; a score without an interval, as a best epoch's, does not count."""
    fit = [
        one.result
        for one in found
        if (one.result.on, one.result.protocol, one.result.variant) == (on, spec.name, shown.variant)
        and shown.measure in one.result.scores
        and (one.result.scores[shown.measure].low is not None or one.result.scores[shown.measure].n == 1)
    ]
    return fit[-1] if fit else None


def scored(label: str, found: Sequence[Measured], shown: Shown, like: Result) -> Scored:
    """The score of each seed, of what was measured as `like` was: protocol, settings, images and architecture."""
    fit = {one.seed: one for one in found if _is_like(one.result, like) and shown.measure in one.result.scores}
    values = {seed: one.result.scores[shown.measure].value for seed, one in fit.items()}
    measure = _measure_of(shown) if like.kind == "dense" else None
    found_of = _right if measure is None else partial(_pixels, measure=measure)
    per_image = {seed: counts for seed, one in fit.items() if (counts := found_of(one, values[seed])) is not None}
    resampled = {seed: drawn for seed, one in fit.items() if (drawn := _resampled(one, shown.measure)) is not None}
    return Scored(label=label, values=values, per_image=per_image, measure=measure, resampled=resampled)


def _measure_of(shown: Shown) -> Measure | None:
    place = {"miou": 0, "pixel_accuracy": 1}.get(shown.measure)
    return None if place is None else lambda sums: float(miou_and_accuracy(sums)[place])


def _is_like(one: Result, like: Result) -> bool:
    """Of the same set: by its images, and by its name, which changes with the folder, where they are not known."""

    def identity(result: Result) -> tuple[object, ...]:
        counts = tuple(result.counts.get(name) for name in ("num_train", "num_test"))
        settings = {**result.settings, "protocol": result.protocol, "variant": result.variant}
        settings |= {} if result.test_fingerprint else {"on": result.on}
        return settings, counts, result.train_fingerprint, result.test_fingerprint

    first, second = one.model or {}, like.model or {}  # of rows of samclr 0.1 the names alone are known
    same_model = all(first[name] == second[name] for name in first.keys() & second.keys())
    return same_model and identity(one) == identity(like)


def _right(one: Measured, value: float) -> Float[np.ndarray, "n 1"] | None:
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
    return right[:, None] if len(right) and abs(right.mean() - value) < 1e-6 else None


def _pixels(one: Measured, value: float, measure: Measure) -> Float[np.ndarray, "n m"] | None:
    """Counts of pixels of each test image, from the details; None where they are not at hand (before samclr 0.2)."""
    if one.result.details is None:
        return None
    try:
        details = read_json(confined(one.run, one.result.details), {})["protocols"][one.result.key]
        rows, num_classes = details["pixels_by_image"], len(details["per_class_iou"])
        counts = np.stack([dense_counts(image, num_classes) for image in rows])
    except (FilesError, KeyError, TypeError, ValueError, IndexError):  # removed, damaged, or of an older version
        return None
    return counts if abs(measure(counts.sum(0)) - value) < 1e-6 else None


def _resampled(one: Measured, measure: str) -> Float[np.ndarray, "b"] | None:
    """The score in each resample of the test images, from the details; None where they do not have it."""
    if one.result.details is None:
        return None
    try:
        details = read_json(confined(one.run, one.result.details), {})["protocols"][one.result.key]
        drawn = np.asarray(details[RESAMPLED][measure], np.float64)  # NaN for None
    except (FilesError, KeyError, TypeError, ValueError):  # removed, damaged, or of another protocol
        return None
    return drawn if drawn.shape == (one.result.settings.get("bootstrap"),) else None


def mean_interval(ours: Scored, like: Result, shown: Shown) -> Interval | None:
    """The 95 % interval of the mean over seeds, over test images: of one seed as its result has it."""
    score = like.scores[shown.measure]
    if len(ours.values) == 1 or score.n == 1:
        return None if score.low is None or score.high is None else (score.low, score.high)
    if ours.per_image.keys() == ours.values.keys():
        return _bootstrapped([*ours.per_image.values()], [], ours.measure, like)
    if ours.resampled.keys() == ours.values.keys():
        return _ends(np.mean([*ours.resampled.values()], 0))
    return None


def difference(ours: Scored, theirs: Scored, like: Result) -> tuple[float, Interval | None, list[int]]:
    """Ours less theirs: the mean, its interval if both can be paired by test image, and the seeds that both have.

    Without a seed in common all of either are taken, and the list is empty.
    """
    common = [seed for seed in ours.values if seed in theirs.values]
    seeds = (common, common) if common else ([*ours.values], [*theirs.values])
    pairs = tuple(zip((ours, theirs), seeds, strict=True))
    first, second = (fmean(one.values[seed] for seed in some) for one, some in pairs)
    if all(seed in one.per_image for one, some in pairs for seed in some):
        mine, other = ([one.per_image[seed] for seed in some] for one, some in pairs)
        return first - second, _bootstrapped(mine, other, ours.measure, like), common
    if all(seed in one.resampled for one, some in pairs for seed in some):
        drawn, others = (np.mean([one.resampled[seed] for seed in some], 0) for one, some in pairs)
        return first - second, _ends(drawn - others), common
    return first - second, None, common


def _ends(drawn: Float[np.ndarray, "b"]) -> Interval:
    """All sides' resamples are of the same images, as they depend on their number and the seed alone."""
    ((low, high),) = interval_ends(drawn[:, None])
    return float(low), float(high)


def _bootstrapped(
    ours: Sequence[Float[np.ndarray, "n m"]],
    theirs: Sequence[Float[np.ndarray, "n m"]],
    measure: Measure | None,
    like: Result,
) -> Interval:
    """Of the mean over ours less that over theirs, all of one resample of the test images at a time."""
    known = IntervalConfig()
    config = IntervalConfig(
        bootstrap=like.settings.get("bootstrap", known.bootstrap),
        bootstrap_seed=like.settings.get("bootstrap_seed", known.bootstrap_seed),
    )
    if measure is None:
        per_image = np.mean([*ours], 0) - (np.mean([*theirs], 0) if theirs else 0)
        ((low, high),) = bootstrap_intervals(per_image, config)
        return float(low), float(high)

    def gap(sums: Float[np.ndarray, "m"]) -> Float[np.ndarray, "1"]:
        values = [measure(part) for part in np.split(sums, len(ours) + len(theirs))]
        return np.array([fmean(values[: len(ours)]) - (fmean(values[len(ours) :]) if theirs else 0)])

    ((low, high),) = bootstrap_intervals(np.concatenate([*ours, *theirs], 1), config, gap)
    return float(low), float(high)
