"""The study's numbers: each arm's mean and deviation over seeds beside the quoted ones, as CSV and as Markdown.

They hold only results, so that a study that was killed and resumed ends in the same bytes.
"""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from samclr.study.compare import PairedMean, phrase
from samclr.study.folder import StudyFolder
from samclr.study.plan import UNTRAINED, Arm, Measurement, Plan, Run
from samclr.study.recipe import Metric


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One arm's results on one set by one metric: shares by seed. `quoted` is a number published elsewhere.

    `state` is empty where every seed is there, or where nothing is due, else what is missing.
    """

    by_seed: dict[int, float]
    quoted: float | None
    state: str

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def deviation(self) -> float | None:
        """Of the sample, over seeds; None for fewer than two."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of the study's table."""

    arm: str
    title: str
    scenes: str
    factors: dict[str, Any]
    cells: tuple[Cell, ...]
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of one set of scenes."""

    scenes: str
    columns: tuple[tuple[Measurement, Metric], ...]
    rows: tuple[TableRow, ...]


def results_of(folder: StudyFolder, plan: Plan, run: Run) -> dict[tuple[str, str], float]:
    """Measured shares of a run by (measurement, metric)."""
    found = {m.key: {(r.protocol, r.variant): r.scores for r in folder.results(run, m)} for m in plan.measurements}
    return {
        (m.key, metric.key): scores[metric.measure].value
        for m, metric in plan.columns()
        if metric.measure in (scores := found[m.key].get((metric.protocol, metric.variant), {}))
    }


def make_tables(folder: StudyFolder, plan: Plan) -> list[Table]:
    """A table for each set of scenes, columns that have neither result nor quoted number left out."""
    results = {run.name: results_of(folder, plan, run) for run in plan.runs()}
    columns = [
        (m, metric)
        for m, metric in plan.columns()
        if any((m.key, metric.key) in found for found in results.values())
        or any(r.set == m.set and r.key in metric.keys for r in plan.references)
        or (m.path is None and metric == plan.metrics[0])
    ]
    tables = []
    for scenes in dict.fromkeys(arm.scenes for arm in plan.arms if arm.name != UNTRAINED):
        arms = [arm for arm in plan.arms if arm.scenes == scenes or arm.name == UNTRAINED]
        rows = [_row(folder, plan, arm, columns, results) for arm in arms]
        rows += _quoted_rows(plan, scenes, columns)
        used = [n for n in range(len(columns)) if any(_shows(row.cells[n]) for row in rows)] or list(
            range(len(columns))
        )
        tables.append(
            Table(
                scenes=scenes,
                columns=tuple(columns[n] for n in used),
                rows=tuple(_with_cells(row, [row.cells[n] for n in used]) for row in rows),
            )
        )
    return tables


def _shows(cell: Cell) -> bool:
    return bool(cell.by_seed) or cell.quoted is not None


def _with_cells(row: TableRow, cells: Sequence[Cell]) -> TableRow:
    return TableRow(
        arm=row.arm, title=row.title, scenes=row.scenes, factors=row.factors, cells=tuple(cells), missing=row.missing
    )


def _row(
    folder: StudyFolder,
    plan: Plan,
    arm: Arm,
    columns: Sequence[tuple[Measurement, Metric]],
    results: dict[str, dict[tuple[str, str], float]],
) -> TableRow:
    runs = [Run(arm=arm, seed=seed) for seed in plan.seeds]
    stages = {run.seed: folder.stage(plan, run) for run in runs}
    due = {m.key for m in plan.measurements_of(arm)}
    cells = []
    for m, metric in columns:
        by_seed = {
            run.seed: results[run.name][m.key, metric.key]
            for run in runs
            if stages[run.seed] == "done" and (m.key, metric.key) in results[run.name]
        }
        if m.path is None:
            state = f"no path for {m.set}"
        elif m.key not in due:
            state = "not measured by design"
        else:
            state = "" if len(by_seed) == len(runs) else f"{len(by_seed)} of {len(runs)} seeds"
        cells.append(Cell(by_seed=by_seed, quoted=_quoted(plan, arm.name, m, metric), state=state))
    open_stages = {stage for stage in stages.values() if stage != "done"}
    factors: dict[str, Any] = {"method": arm.method, "strategy": arm.strategy, "segmenter": arm.segmenter}
    factors |= {"temperature": arm.temperature, "padding": arm.padding}
    return TableRow(
        arm=arm.name,
        title=arm.title,
        scenes=arm.scenes,
        factors=factors,
        cells=tuple(cells),
        missing=", ".join(
            f"{sum(s == stage for s in stages.values())} of {len(runs)} seeds {_STAGE_WORDS[stage]}"
            for stage in sorted(open_stages)
        ),
    )


_STAGE_WORDS = {"failed": "failed", "missing": "missing", "running": "running", "waiting": "not run yet"}


def _quoted(plan: Plan, arm: str, m: Measurement, metric: Metric) -> float | None:
    return next(
        (
            r.value
            for r in plan.references
            if r.set == m.set and r.key in metric.keys and m.kind == metric.kind and fnmatchcase(arm, r.arm)
        ),
        None,
    )


def _quoted_rows(plan: Plan, scenes: str, columns: Sequence[tuple[Measurement, Metric]]) -> list[TableRow]:
    """Arms that are quoted and not run."""
    rows = []
    for pattern, title in dict.fromkeys((r.arm, r.title) for r in plan.references if r.title):
        if pattern.split(".")[0] == scenes:
            figures = [_quoted(plan, pattern, m, metric) for m, metric in columns]
            cells = tuple(
                Cell(by_seed={}, quoted=figure, state="" if figure is None else "quoted, not run") for figure in figures
            )
            factors = dict.fromkeys(("method", "strategy", "segmenter", "temperature", "padding"))
            rows.append(TableRow(arm=pattern.rstrip(".*"), title=title, scenes=scenes, factors=factors, cells=cells))
    return rows


# ---- as text ----


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage without its sign; `-` for none."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.{digits}f}"


def spread_text(cell: Cell) -> str:
    """Mean and deviation, in per cent."""
    return percent(cell.mean) + (f" ± {percent(cell.deviation)}" if cell.deviation is not None else "")


def to_csv(tables: Sequence[Table], seeds: Sequence[int]) -> str:
    """One line for each arm, set and metric, as far as something is due; shares from 0 to 1 with all their digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    factors = ("method", "strategy", "segmenter", "temperature", "padding")
    head = [
        "scenes",
        "arm",
        "title",
        *factors,
        "set",
        "protocol",
        "metric",
        "n",
        "mean",
        "deviation",
        "quoted",
        "state",
    ]
    writer.writerow([*head, *(f"seed {seed}" for seed in seeds)])
    for table in tables:
        for row in table.rows:
            for (m, metric), cell in zip(table.columns, row.cells, strict=True):
                if not (_shows(cell) or cell.state):
                    continue
                state = cell.state or row.missing
                values = [table.scenes, row.arm, row.title, *(row.factors[name] for name in factors)]
                values += [m.set, m.kind, metric.key, len(cell.by_seed), cell.mean, cell.deviation, cell.quoted]
                writer.writerow([*values, state, *(cell.by_seed.get(seed) for seed in seeds)])
    return out.getvalue()


def to_markdown(plan: Plan, tables: Sequence[Table], differences: Sequence[PairedMean]) -> str:
    """The tables in per cent, quoted numbers in brackets, and the differences in words."""
    lines = [f"# Study {plan.study}", "", plan.summary, ""]
    lines += [f"Mean ± deviation over seeds {', '.join(map(str, plan.seeds))}, in per cent."]
    if plan.references:
        lines += [f"In brackets: {plan.quoted}."]
    for table in tables:
        names = [f"{m.set} {metric.title}" for m, metric in table.columns]
        lines += ["", f"## Trained on {table.scenes}", "", f"| arm | {' | '.join(names)} |"]
        lines += ["|---|" + "---|" * len(names)]
        for row in table.rows:
            shown = [
                spread_text(cell) + (f" [{percent(cell.quoted)}]" if cell.quoted is not None else "")
                for cell in row.cells
            ]
            note = f" ({row.missing})" if row.missing else ""
            lines += [f"| {row.title}{note} | {' | '.join(shown)} |"]
    lines += ["", "## Differences", ""]
    lines += [f"- {phrase(difference)}" for difference in differences] or ["No two arms have a seed in common yet."]
    return "\n".join(lines) + "\n"
