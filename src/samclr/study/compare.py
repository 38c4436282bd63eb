"""Paired differences between arms: the same seed has the same weights, images and colours in both.

The interval is Student's t over the seeds' differences, 95 %.
"""

import itertools
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from scipy import stats

from samclr.study.plan import UNTRAINED, Arm, Plan

CONFIDENCE = 0.95
VIEWS_AND_TEMPERATURE = ("views", "temperature")
Verdict = Literal["better", "worse", "open", "one seed"]
Shares = Mapping[str, Mapping[tuple[str, str], Mapping[int, float]]]  # arm -> (measurement, metric) -> seed -> share


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms to be compared, and the factors in which they differ."""

    arm: Arm
    baseline: Arm
    differing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PairedMean(ABC):
    """Shares of one side less those of the other, seed by seed, on one set by one metric. There is at least one seed.

    `scenes` names what the arms trained on, where the study has several.
    """

    scenes: str
    set: str
    metric: str
    by_seed: dict[int, float]

    @property
    @abstractmethod
    def sides(self) -> tuple[str, str]:
        """What is compared with what, in words."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, str]:
        """The two sides as in files."""

    @property
    @abstractmethod
    def differing(self) -> tuple[str, ...]:
        """The factors in which the two sides differ."""

    @property
    @abstractmethod
    def drawn(self) -> tuple[str, str]:
        """The title of the drawing that it stands in, and its own label there."""

    @property
    @abstractmethod
    def remark(self) -> str:
        """What to know of the two sides besides, in a sentence; empty where there is nothing."""

    @property
    def trained_on(self) -> str:
        return f", trained on {self.scenes}" if self.scenes else ""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.by_seed.values())

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """As `t_interval` has it."""
        return t_interval(list(self.by_seed.values()))

    @property
    def verdict(self) -> Verdict:
        if self.interval is None:
            return "one seed"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "open"


@dataclass(frozen=True, kw_only=True)
class Difference(PairedMean):
    """Of two arms, over the seeds that both have."""

    pair: Pair

    @property
    def sides(self) -> tuple[str, str]:
        return self.pair.arm.title, self.pair.baseline.title

    @property
    def names(self) -> tuple[str, str]:
        return self.pair.arm.name, self.pair.baseline.name

    @property
    def differing(self) -> tuple[str, ...]:
        return self.pair.differing

    @property
    def drawn(self) -> tuple[str, str]:
        return f"{self.set}, {self.metric}{self.trained_on}", " − ".join(self.sides)

    @property
    def remark(self) -> str:
        return f"They differ in {' and '.join(self.differing)} at once." if len(self.differing) > 1 else ""


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return mean - half, mean + half


def pairs_of(plan: Plan) -> list[Pair]:
    """The headline arm against each other of its scenes, pairs that differ in one factor alone, and training or none.

    Temperatures, paddings and methods are compared with their first; kinds of views each with each, even where each has
    another temperature alone, as by the recipes. Variants are compared with the headline arm alone.
    """
    found: dict[tuple[str, str], Pair] = {}
    arms = [arm for arm in plan.arms if arm.name != UNTRAINED]
    floors = [
        Pair(arm=arm, baseline=floor, differing=("training",))
        for floor in plan.arms
        if floor.name == UNTRAINED
        for arm in arms
        if arm.start == floor.start
    ]
    for pair in itertools.chain(_headline_pairs(plan, arms), _pairs_of_grids(arms), floors):
        key = pair.arm.name, pair.baseline.name
        if key not in found and key[::-1] not in found:
            found[key] = pair
    return list(found.values())


def _headline_pairs(plan: Plan, arms: Sequence[Arm]) -> Iterator[Pair]:
    for arm in arms:
        if plan.headline and fnmatchcase(arm.name, plan.headline):
            for other in arms:
                if other is not arm and other.scenes == arm.scenes:
                    yield Pair(arm=arm, baseline=other, differing=_differing(arm, other))


def _pairs_of_grids(arms: Sequence[Arm]) -> Iterator[Pair]:
    firsts: set[tuple[str, str]] = set()
    of_grids = [arm for arm in arms if not arm.variant]
    for baseline, arm in itertools.combinations(of_grids, 2):
        differing = _differing(arm, baseline)
        if arm.scenes != baseline.scenes:
            continue
        if differing == ("views",) or (differing == VIEWS_AND_TEMPERATURE and _has_no_nearer(arm, baseline, of_grids)):
            yield Pair(arm=arm, baseline=baseline, differing=differing)
        elif len(differing) == 1 and (arm.name, differing[0]) not in firsts:
            firsts.add((arm.name, differing[0]))
            yield Pair(arm=arm, baseline=baseline, differing=differing)


def _has_no_nearer(arm: Arm, baseline: Arm, arms: Sequence[Arm]) -> bool:
    """Whether no arm has the views of one of the two at the temperature of the other."""
    factors = {(a.scenes, a.method, a.views, a.temperature) for a in arms}
    shared = arm.scenes, arm.method
    crossed = {(*shared, arm.views, baseline.temperature), (*shared, baseline.views, arm.temperature)}
    return not factors & crossed


def _differing(arm: Arm, baseline: Arm) -> tuple[str, ...]:
    if arm.variant or baseline.variant:
        return ("settings",)
    names = ["method", "views", "temperature"]
    if arm.padding is not None and baseline.padding is not None:  # whole images have no padding
        names.append("padding")
    return tuple(name for name in names if getattr(arm, name) != getattr(baseline, name))


def compare(plan: Plan, shares: Shares) -> list[Difference]:
    """The differences of all pairs on every set and metric that both arms have, seed by seed."""
    found = []
    for pair in pairs_of(plan):
        for m, metric in plan.columns():
            ours, theirs = (shares.get(arm.name, {}).get((m.key, metric.key), {}) for arm in (pair.arm, pair.baseline))
            by_seed = {seed: ours[seed] - theirs[seed] for seed in plan.seeds if seed in ours and seed in theirs}
            if by_seed:
                found.append(
                    Difference(
                        pair=pair,
                        scenes=pair.arm.scenes if plan.has_several_scenes else "",
                        set=m.set,
                        metric=metric.title,
                        by_seed=by_seed,
                    )
                )
    return found


def phrase(difference: PairedMean) -> str:
    """The difference in a sentence, which no other difference of the study shares."""
    points = f"{100 * difference.mean:+.1f} points"
    where = f"on {difference.set} by {difference.metric}{difference.trained_on}"
    names = f"{' against '.join(difference.sides)} {where}"
    remark = f" {difference.remark}" if difference.remark else ""
    if difference.interval is None:
        return f"{names}: {points} (n = 1, no interval: a direction, not a proof).{remark}"
    low, high = difference.interval
    interval = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}, n = {len(difference.by_seed)}"
    words = {"better": "better", "worse": "worse", "open": "not told apart"}[difference.verdict]
    return f"{names}: {words}, {points} ({interval}).{remark}"
