"""The study's page and tables: files of the study's folder in, page.html, table.md, table.csv and two more out."""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.kinds import KINDS
from samclr.errors import SamclrError
from samclr.pages.charts import Chart, Series, make_chart
from samclr.pages.gallery import GalleryScene, make_gallery
from samclr.pages.render import render
from samclr.runs.directory import SUMMARY_FILE, read_json, read_metrics
from samclr.storage.files import write_text
from samclr.study.compare import PairedMean, compare, phrase
from samclr.study.costs import Cost, make_costs, total_hours
from samclr.study.folder import StudyFolder
from samclr.study.over_methods import means_over_methods
from samclr.study.plan import UNTRAINED, Plan, Run
from samclr.study.questions import questions_of
from samclr.study.shell import commands_of, study_command
from samclr.study.tables import Table, make_tables, percent, results_of, spread_text, to_csv, to_markdown

PAGE_FILE, MARKDOWN_FILE, CSV_FILE = "page.html", "table.md", "table.csv"
DIFFERENCES_FILE, COSTS_FILE = "differences.csv", "costs.csv"
CURVES = (
    ("loss", "Loss", "first seed; arms of other methods or temperatures are not comparable by it"),
    ("embedding_spread", "Embedding spread", "first seed; 1 is spread over the sphere, 0 is collapsed"),
    ("effective_rank", "Effective rank", "first seed; RankMe of a batch's embeddings"),
)
MAX_CLASSES = 20
SCENES_SHOWN = 2
STAGES = ("done", "running", "waiting", "failed", "missing")


def write_study(folder: StudyFolder, plan: Plan) -> Path:
    """Write page and tables of what is there by now; returns the page's path."""
    tables, costs = make_tables(folder, plan), make_costs(folder, plan)
    differences = _differences(folder, plan)
    stages = {run.name: folder.stage(plan, run) for run in plan.runs()}
    page = render(
        "study.html.j2",
        version=__version__,
        plan=plan,
        counts={stage: sum(found == stage for found in stages.values()) for stage in STAGES},
        num_runs=len(stages),
        tables=tables,
        percent=percent,
        spread_text=spread_text,
        best=_best(tables),
        open_runs=_open_runs(folder, plan, stages),
        headline=phrase(differences[0]) if differences else "",
        questions=questions_of(differences),
        against_quoted=against_quoted(tables),
        curves=_curves(folder, plan),
        per_class=_per_class(folder, plan),
        galleries=_galleries(folder, plan),
        costs=costs,
        hours=total_hours(costs),
        commands=_commands(folder, plan),
        again=study_command(folder, plan),
        fingerprints=_fingerprints(folder, plan),
    )
    write_text(folder.path / MARKDOWN_FILE, to_markdown(plan, tables, differences))
    write_text(folder.path / CSV_FILE, to_csv(tables, plan.seeds))
    write_text(folder.path / DIFFERENCES_FILE, _differences_csv(differences))
    write_text(folder.path / COSTS_FILE, _costs_csv(costs))
    write_text(folder.path / PAGE_FILE, page)
    return folder.path / PAGE_FILE


def _differences(folder: StudyFolder, plan: Plan) -> list[PairedMean]:
    """Those of arms and the means over methods; these come first where the study has no headline arm."""
    pairs = compare(plan, _shares(folder, plan))
    means = means_over_methods(pairs)
    return [*pairs, *means] if plan.headline else [*means, *pairs]


def _shares(folder: StudyFolder, plan: Plan) -> dict[str, dict[tuple[str, str], dict[int, float]]]:
    shares: dict[str, dict[tuple[str, str], dict[int, float]]] = {}
    for run in plan.runs():
        if folder.is_done(plan, run):
            for key, value in results_of(folder, plan, run).items():
                shares.setdefault(run.arm.name, {}).setdefault(key, {})[run.seed] = value
    return shares


def _best(tables: Sequence[Table]) -> set[tuple[int, str, int]]:
    """(table, arm, column) of the highest mean in each column of each table, or of all that have it."""
    best = set()
    for number, table in enumerate(tables):
        for n in range(len(table.columns)):
            means = {row.arm: row.cells[n].mean for row in table.rows if row.cells[n].mean is not None}
            if len(means) > 1:
                highest = max(mean for mean in means.values() if mean is not None)
                best |= {(number, arm, n) for arm, mean in means.items() if mean == highest}
    return best


def _open_runs(folder: StudyFolder, plan: Plan, stages: dict[str, Any]) -> list[dict[str, Any]]:
    """Arms with runs that are not done: how many, why, and the command that adds them. Arms alike share an entry."""
    entries: list[tuple[str, str, dict[str, Any]]] = []  # title, name, and what may be alike
    for arm in plan.arms:
        runs = [Run(arm=arm, seed=seed) for seed in plan.seeds if stages[f"{arm.name}.seed{seed}"] != "done"]
        for stage in dict.fromkeys(stages[run.name] for run in runs):
            some = [run for run in runs if stages[run.name] == stage]
            reasons = list(dict.fromkeys(folder.reason(run) for run in some if folder.reason(run)))
            command = study_command(folder, plan, *([arm.adds] if arm.adds else []))
            seeds = [run.seed for run in some]
            entries.append(
                (arm.title, arm.name, {"stage": stage, "seeds": seeds, "reasons": reasons, "command": command})
            )
    for m in plan.measurements:
        if m.path is None:
            command = study_command(folder, plan, f"{KINDS[m.kind].option} {m.set}=PATH")
            entries.append((m.set, "", {"stage": "missing", "command": command, "reasons": [], "seeds": []}))
    rows: list[dict[str, Any]] = []
    for title, name, facts in entries:
        row = next((row for row in rows if {**row, "named": None} == {**facts, "named": None}), None)
        if row is None:
            rows.append(row := {**facts, "named": []})
        row["named"].append((title, name))
    return rows


def against_quoted(tables: Sequence[Table]) -> list[str]:
    """A sentence for each of our means that has a quoted number beside it."""
    sentences = []
    for table in tables:
        for row in table.rows:
            trained = f", trained on {row.scenes}" if len(tables) > 1 and row.scenes else ""
            for (m, metric), cell in zip(table.columns, row.cells, strict=True):
                if cell.mean is not None and cell.quoted is not None:
                    gap = 100 * (cell.mean - cell.quoted)
                    word = "above" if gap > 0 else "below" if gap < 0 else "from"
                    sentences.append(
                        f"{row.title}{trained}, {m.set} {metric.title}: ours {percent(cell.mean)}, "
                        f"quoted {percent(cell.quoted)}; ours is {abs(gap):.1f} points {word} it "
                        f"(n = {len(cell.by_seed)})."
                    )
    return list(dict.fromkeys(sentences))


def _curves(folder: StudyFolder, plan: Plan) -> list[Chart]:
    charts = []
    runs = [Run(arm=arm, seed=plan.seeds[0]) for arm in plan.arms if arm.name != UNTRAINED]
    metrics = {run.name: read_metrics(folder.run_directory(run)) for run in runs}
    for name, title, note in CURVES:
        series = [
            Series(
                label=plan.title_of(run.arm),
                colour=number,
                points=[(row["step"] + 1, row[name]) for row in metrics[run.name] if row.get(name) is not None],
            )
            for number, run in enumerate(runs)
        ]
        if any(s.points for s in series):
            charts.append(make_chart(title, note, [s for s in series if s.points]))
    return charts


def _per_class(folder: StudyFolder, plan: Plan) -> list[dict[str, Any]]:
    """For each set the mean share of each class by arm; of many classes those on which arms differ most."""
    found = []
    for m in plan.measurements:
        by_arm: dict[str, dict[str, float]] = {}
        for arm in plan.arms:
            states = [folder.state(Run(arm=arm, seed=seed).name) for seed in plan.seeds]
            rows = [state["measured"][m.key]["per_class"] for state in states if m.key in state.get("measured", {})]
            if rows:
                by_arm[plan.title_of(arm)] = _means(rows)
        if every := _names(by_arm.values()):
            classes = every
            if len(every) > MAX_CLASSES:
                shares = {name: [row[name] for row in by_arm.values() if name in row] for name in every}
                classes = sorted(every, key=lambda name: min(shares[name]) - max(shares[name]))[:MAX_CLASSES]
            found.append(
                {
                    "set": m.set,
                    "classes": classes,
                    "rows": by_arm,
                    "num_classes": len(every),
                    "by": KINDS[m.kind].per_class,
                }
            )
    return found


def _names(rows: Iterable[dict[str, float]]) -> list[str]:
    """Classes that any row has: of one without test images, a run has a share only where it predicts the class."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each class over the seeds that have a share of it."""
    return {name: statistics.fmean(row[name] for row in rows if name in row) for name in _names(rows)}


def _galleries(folder: StudyFolder, plan: Plan) -> list[tuple[str, tuple[GalleryScene, ...], str]]:
    """(arm, scenes, fault) for the first arm of each kind of views that has been trained."""
    found: dict[tuple[str, str], tuple[str, tuple[GalleryScene, ...], str]] = {}
    for arm in plan.arms:
        run = Run(arm=arm, seed=plan.seeds[0])
        if arm.strategy == "untrained" or (arm.scenes, arm.views) in found or not folder.state(run.name).get("trained"):
            continue
        scenes: tuple[GalleryScene, ...] = ()
        fault = ""
        try:
            scenes = make_gallery(run.config(folder.stores), SCENES_SHOWN, [arm.strategy]).scenes
        except (SamclrError, OSError) as error:
            fault = str(error)
        found[arm.scenes, arm.views] = plan.title_of(arm), scenes, fault
    return list(found.values())


def _commands(folder: StudyFolder, plan: Plan) -> list[tuple[str, list[str]]]:
    return [(run.name, commands_of(folder, plan, run)) for run in plan.runs() if not run.arm.missing]


def _fingerprints(folder: StudyFolder, plan: Plan) -> list[tuple[str, str, str]]:
    """(run, data, backbone) of the trained runs."""
    rows = []
    for run in plan.runs():
        state = folder.state(run.name)
        if state.get("trained"):
            data = read_json(folder.run_directory(run) / SUMMARY_FILE, {}).get("data_fingerprint", "")
            weights = [
                result.backbone_fingerprint or "" for m in plan.measurements for result in folder.results(run, m)
            ]
            rows.append((run.name, data, weights[0] if weights else ""))
    return rows


def _differences_csv(differences: Sequence[PairedMean]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "baseline", "differ in", "set", "metric", "n", "mean", "low", "high", "verdict"])
    for d in differences:
        low, high = d.interval or (None, None)
        names = [*d.names, " and ".join(d.differing)]
        writer.writerow([*names, d.set, d.metric, len(d.by_seed), d.mean, low, high, d.verdict])
    return out.getvalue()


def _costs_csv(costs: Sequence[Cost]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    hours = ("train hours", "measure hours", "segment hours")
    writer.writerow(["arm", "device", "runs", "steps", *hours, "segment device", "region store"])
    for cost in costs:
        found = [round(h, 6) for h in (cost.train_h, cost.measure_h, cost.segment_h)]
        writer.writerow([cost.arm, cost.device, cost.num_runs, cost.steps, *found, cost.segment_device, cost.store])
    return out.getvalue()
