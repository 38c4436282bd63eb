"""Line charts as geometry for an inline SVG: paths, ticks and labels, no script and no library on the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 10.0, 26.0
MAX_POINTS = 240


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line; `colour` is the number of a colour in the page's palette."""

    label: str
    colour: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart ready to be written: coordinates are those of a WIDTH x HEIGHT view box."""

    title: str
    note: str
    lines: list[tuple[str, int, str, float]]  # label, colour, path, last value
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    frame: tuple[float, float, float, float] = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    view_box: str = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"


def make_chart(title: str, note: str, series: Sequence[Series]) -> Chart:
    """Lay out a chart of steps against values; long lines are averaged in bins. Every series has a point."""
    binned = [(s, _bin(s.points)) for s in series]
    xs = [x for _, points in binned for x, _ in points]
    ys = [y for _, points in binned for _, y in points if math.isfinite(y)] or [0.0]
    x_low, x_high = _widen(min(xs), max(xs))
    y_step = nice_step((max(ys) - min(ys)) / 4)
    y_low, y_high = math.floor(min(ys) / y_step) * y_step, math.ceil(max(ys) / y_step) * y_step
    y_low, y_high = _widen(y_low, y_high)

    def place_x(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    lines = []
    for s, points in binned:
        path = " ".join(
            f"{'ML'[number > 0]}{place_x(x):.1f},{place_y(y):.1f}"
            for number, (x, y) in enumerate(points)
            if math.isfinite(y)
        )
        lines.append((s.label, s.colour, path, s.points[-1][1]))
    x_step = nice_step((x_high - x_low) / 4)
    return Chart(
        title=title,
        note=note,
        lines=lines,
        x_ticks=[(place_x(x), _number(x)) for x in _ticks(x_low, x_high, x_step)],
        y_ticks=[(place_y(y), _number(y)) for y in _ticks(y_low, y_high, y_step)],
    )


def _bin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // MAX_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _widen(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def nice_step(rough: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _ticks(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{round(value, 6):g}"


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Bars ready to be written: (x, y, width, height, text), in the view box of the charts."""

    title: str
    note: str
    bars: list[tuple[float, float, float, float, str]]
    x_ticks: list[tuple[float, str]]
    most: int
    left: float = LEFT
    right: float = WIDTH - RIGHT
    base: float = HEIGHT - BOTTOM
    view_box: str = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"


def make_histogram(title: str, note: str, values: Sequence[float], log10: bool = False) -> Histogram:
    """Count values in about twenty bins of equal width; with `log10` the values are exponents of shown numbers."""
    if not values:
        return Histogram(title=title, note=note, bars=[], x_ticks=[], most=0)
    low, high = math.floor(min(values)), math.ceil(max(values))
    high = max(high, low + 1)
    width = max(nice_step((high - low) / 20), 0.1 if log10 else 1.0)
    num_bins = max(1, math.ceil((high - low) / width + (0 if log10 else 1e-9)))
    counts = [0] * (num_bins + 1)
    for value in values:
        counts[min(int((value - low) / width + 1e-9), num_bins)] += 1
    most = max(counts)
    step = (WIDTH - LEFT - RIGHT) / len(counts)

    def label(value: float) -> str:
        return f"{10**value:.2g}" if log10 else _number(value)

    bars = []
    for k, count in enumerate(counts):
        height = count / most * (HEIGHT - BOTTOM - TOP - 10)
        text = f"{label(low + k * width)} to {label(low + (k + 1) * width)}: {count}"
        bars.append((LEFT + k * step, HEIGHT - BOTTOM - height, step * 0.9, height, text))
    every = max(1, len(counts) // 5)
    ticks = [(LEFT + k * step + step / 2, label(low + k * width)) for k in range(0, len(counts), every)]
    return Histogram(title=title, note=note, bars=bars, x_ticks=ticks, most=most)
