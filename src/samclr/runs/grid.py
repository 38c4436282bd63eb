"""Results side by side: a line for each backbone and set, a column for each score that a protocol wants shown."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from samclr.config.kinds import Kind
from samclr.config.protocols import Shown, protocols_of
from samclr.config.registry import PROTOCOLS
from samclr.runs.results import Result, Score


@dataclass(frozen=True, kw_only=True)
class Column:
    """A score of a protocol."""

    protocol: str
    variant: str
    measure: str
    title: str


@dataclass(kw_only=True)
class Line:
    """What was found of one backbone on one set, alike in images and image size. owner: as it was given."""

    owner: Hashable
    results: list[Result] = field(default_factory=list)
    cells: dict[Column, Score] = field(default_factory=dict)

    @property
    def first(self) -> Result:
        """One of the results: target, set and images are those of all."""
        return self.results[0]

    @property
    def side(self) -> str:
        """Side of the images, px; empty where it is not known."""
        side = self.first.settings.get(PROTOCOLS[self.first.protocol].side)
        return "" if side is None else f"{side} px"

    @property
    def settings(self) -> str:
        """Settings and counts of note, in words; of a protocol with variants those of the first."""
        found: dict[str, str] = {}
        for result in sorted(self.results, key=lambda one: one.variant != ""):
            for name, title in PROTOCOLS[result.protocol].told.items():
                value = result.settings.get(name, result.counts.get(name))
                if value is not None:
                    found.setdefault(name, f"{title} {_plain(value)}")
        return ", ".join(found.values())


def _plain(value: Any) -> str:
    """A setting as it is typed: 0.07, 90000, sgd, 100 500."""
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of results."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def result_grid(kind: Kind, results: Sequence[tuple[Hashable, Result]]) -> Grid:
    """Set out the results of a kind, each with its owner: results of one owner, set and weights share a line.

    Where one line would have two results for one cell (of other settings), the later has a line of its own.
    """
    lines: list[tuple[Hashable, Line]] = []
    for owner, result in results:
        cells = {column: result.scores[column.measure] for column in _columns_of(result, kind)}
        if not cells:
            continue
        place = _place(owner, result)
        free = [line for key, line in lines if key == place and not line.cells.keys() & cells.keys()]
        line = free[0] if free else Line(owner=owner)
        if not free:
            lines.append((place, line))
        line.results.append(result)
        line.cells |= cells
    used = {column for _, line in lines for column in line.cells}
    order = [(spec.name, one) for spec in protocols_of(kind) for one in spec.shown]
    columns = [c for name, one in order for c in sorted(used, key=_place_of_variant) if _is_of(c, name, one)]
    return Grid(columns=tuple(columns), lines=tuple(line for _, line in lines))


def _columns_of(result: Result, kind: Kind) -> list[Column]:
    if result.kind != kind or result.protocol not in PROTOCOLS:  # of a package that is not installed here
        return []
    spec = PROTOCOLS[result.protocol]
    return [
        Column(
            protocol=result.protocol,
            variant=result.variant,
            measure=one.measure,
            title=one.title if one.variant is not None else f"{one.title}, {spec.config.in_words(result.variant)}",
        )
        for one in spec.shown
        if one.measure in result.scores and _shows(result.protocol, one, result.variant)
    ]


def _is_of(column: Column, protocol: str, one: Shown) -> bool:
    named = (column.protocol, column.measure) == (protocol, one.measure)
    return named and _shows(protocol, one, column.variant)


def _shows(protocol: str, one: Shown, variant: str) -> bool:
    """Whether it shows this variant: what is shown of every variant leaves out those that are named by themselves."""
    if one.variant is not None:
        return one.variant == variant
    return not any((other.measure, other.variant) == (one.measure, variant) for other in PROTOCOLS[protocol].shown)


def _place_of_variant(column: Column) -> tuple[int | str, ...]:
    """Numbers in a name count as such: k2 before k16."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", column.variant))


def _place(owner: Hashable, result: Result) -> Hashable:
    side = result.settings.get(PROTOCOLS[result.protocol].side)
    counts = (result.counts.get("num_train"), result.counts.get("num_test"))
    weights = (result.untrained, result.seed, result.step, result.backbone_fingerprint)
    return (owner, result.on, *weights, *counts, side)
