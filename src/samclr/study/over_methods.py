"""What kinds of views do on the mean of a study's methods: paired differences of arms, averaged seed by seed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from samclr.config.registry import METHODS
from samclr.study.compare import Difference, PairedMean
from samclr.study.planning import views_title

OVER_METHODS = ("views over methods",)


@dataclass(frozen=True, kw_only=True)
class MeanOverMethods(PairedMean):
    """Views of one kind less views of another, on the mean of several methods; the seeds are the sample.

    Pairs that differ in the views alone. Of a method with several, as at several temperatures, their mean counts. Only
    seeds that every pair has.

    Attributes:
        methods: of which it is the mean.
        left_out: the others that have both kinds of views, each with what else differs in its pairs.
    """

    views: tuple[str, str]
    methods: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]

    @property
    def sides(self) -> tuple[str, str]:
        return f"Views of {self.views[0]}", f"views of {self.views[1]}, mean of {len(self.methods)} methods,"

    @property
    def names(self) -> tuple[str, str]:
        return f"mean of {len(self.methods)} methods ({' '.join(self.methods)}): {self.views[0]}", self.views[1]

    @property
    def differing(self) -> tuple[str, ...]:
        return OVER_METHODS

    @property
    def drawn(self) -> tuple[str, str]:
        title = f"{' against '.join(self.views)}, mean of {len(self.methods)} methods{self.trained_on}"
        return title, f"{self.set}, {self.metric}"

    @property
    def remark(self) -> str:
        methods = ", ".join(METHODS[name].title for name in self.methods)
        others = ", ".join(f"{METHODS[m].title} ({', '.join(also)})" for m, also in self.left_out.items())
        return f"Methods: {methods}." + (f" Left out, as more than the views differs: {others}." if others else "")


def means_over_methods(differences: Sequence[Difference]) -> list[MeanOverMethods]:
    """The means of the differences of views, by kinds of views, scenes, set and metric, where two methods have them."""
    groups: dict[tuple[str, str], dict[tuple[str, str, str], list[Difference]]] = {}
    for d in differences:
        if d.differing == ("views",):
            d = _turned(d) if _views(d)[::-1] in groups else d
            alike = groups.setdefault(_views(d), {})
            alike.setdefault((d.scenes, d.set, d.metric), []).append(d)
    return [
        MeanOverMethods(
            views=views,
            methods=methods,
            left_out=_left_out(differences, some[0], methods),
            scenes=scenes,
            set=name,
            metric=metric,
            by_seed={seed: _mean(some, seed) for seed in seeds},
        )
        for views, group in groups.items()
        for (scenes, name, metric), some in group.items()
        if len(methods := _methods(some)) > 1
        and (seeds := [seed for seed in some[0].by_seed if all(seed in d.by_seed for d in some)])
    ]


def _left_out(
    differences: Sequence[Difference], like: Difference, methods: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Methods that are not in the mean, though they have both kinds of views, and the factors besides the views."""
    return {
        d.pair.arm.method: tuple(factor for factor in d.differing if factor != "views")
        for d in differences
        if "views" in d.differing
        and "method" not in d.differing
        and d.pair.arm.method not in methods
        and {*_views(d)} == {*_views(like)}
        and (d.scenes, d.set, d.metric) == (like.scenes, like.set, like.metric)
    }


def _views(difference: Difference) -> tuple[str, str]:
    return views_title(difference.pair.arm), views_title(difference.pair.baseline)


def _turned(difference: Difference) -> Difference:
    """The baseline less the arm: a headline arm is compared with others, whichever of the two is listed first."""
    pair = difference.pair
    return replace(
        difference,
        pair=replace(pair, arm=pair.baseline, baseline=pair.arm),
        by_seed={seed: -value for seed, value in difference.by_seed.items()},
    )


def _methods(differences: Sequence[Difference]) -> tuple[str, ...]:
    found = {d.pair.arm.method for d in differences}
    return tuple(name for name in METHODS if name in found)


def _mean(differences: Sequence[Difference], seed: int) -> float:
    return statistics.fmean(
        statistics.fmean(d.by_seed[seed] for d in differences if d.pair.arm.method == method)
        for method in _methods(differences)
    )
