"""The study's drawings as geometry for inline SVG: differences with intervals, and seeds as dots."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from samclr.pages.charts import nice_step
from samclr.study.compare import PairedMean, Verdict

LEFT, RIGHT = 4.0, 96.0  # per cent of the strip's width, so that marks and ticks at the ends are whole


@dataclass(frozen=True, kw_only=True)
class IntervalRow:
    """One difference: label, whisker from `low` to `high`, the mean, and a dot for each seed, in per cent."""

    label: str
    value: str
    low: float
    high: float
    mean: float
    dots: tuple[float, ...]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class IntervalChart:
    """Differences below each other, each on a strip with the same line at zero; places are per cent of its width."""

    title: str
    rows: tuple[IntervalRow, ...]
    zero: float
    ticks: tuple[tuple[float, str], ...]


def interval_chart(title: str, differences: Sequence[PairedMean]) -> IntervalChart:
    """Lay out differences in points of per cent. There is at least one."""
    ends = [0.0]
    for d in differences:
        ends += [100 * v for v in (*d.by_seed.values(), d.mean, *(d.interval or ()))]
    # A wide interval of few seeds must not flatten the rest: the axis ends where twice the means and seeds end.
    seen = max(abs(100 * v) for d in differences for v in (*d.by_seed.values(), d.mean)) or 1.0
    low, high = max(min(ends), -2.5 * seen), min(max(ends), 2.5 * seen)
    if high <= low:  # every difference is zero
        low, high = -1.0, 1.0
    step = nice_step((high - low) / 6)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def place(points: float) -> float:
        return LEFT + (min(max(points, low), high) - low) / (high - low) * (RIGHT - LEFT)

    ticks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return IntervalChart(
        title=title,
        rows=tuple(_row(d, place) for d in differences),
        zero=place(0.0),
        ticks=tuple((place(t), f"{t:+g}" if t else "0") for t in ticks),
    )


def _row(difference: PairedMean, place: Callable[[float], float]) -> IntervalRow:
    low, high = difference.interval or (difference.mean, difference.mean)
    interval = "" if difference.interval is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return IntervalRow(
        label=difference.drawn[1],
        value=f"{100 * difference.mean:+.1f}{interval}",
        low=place(100 * low),
        high=place(100 * high),
        mean=place(100 * difference.mean),
        dots=tuple(place(100 * v) for v in difference.by_seed.values()),
        verdict=difference.verdict,
    )
