"""The job `samclr report`: one self-contained HTML page about runs. Reads files only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.kinds import KINDS
from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import to_dict
from samclr.errors import RunError, SamclrError
from samclr.pages.charts import Chart, Series, make_chart
from samclr.pages.counts import count_sentences
from samclr.pages.gallery import make_gallery
from samclr.pages.render import render
from samclr.pages.verdict import VIEWS, make_verdict, run_names
from samclr.runs.before_after import read_before_after
from samclr.runs.directory import SUMMARY_FILE, read_json, read_metrics, steps_without_row
from samclr.runs.grid import result_grid
from samclr.runs.results import UNTRAINED, Result, RunResult, results_of_run
from samclr.runs.saved import has_checkpoint, load_config
from samclr.storage.files import write_text
from samclr.training.monitor import identical_pairs_warning, pairs_per_step


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose a line of results is. views: that it was trained with, where it was."""

    label: str
    views: str
    is_floor: bool
    is_past: bool


CURVES = (
    ("loss", "Loss", "of the method, at each step; methods are not comparable by it"),
    ("embedding_spread", "Embedding spread", "1 is spread over the sphere, 0 is collapsed"),
    ("effective_rank", "Effective rank", "RankMe of a batch's embeddings"),
    ("alignment", "Alignment", "mean squared distance of positive pairs; 0 is best"),
    ("uniformity", "Uniformity", "0 is collapsed, lower is more uniform"),
    ("knn_top1", "kNN top-1 while training", "on the labelled set given by --knn-on"),
    ("linear_top1", "Linear probe while training", "ten epochs, on the same set"),
    ("views_per_s", "Speed", "views a second"),
    ("wait_frac", "Waiting for data", "share of a step's time"),
)


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page to `out`, by default `report.html` in the first run, and return its path.

    Raises:
        RunError: no run was named, or one is not a run directory.
    """
    if not runs:
        raise RunError("no run was named; give one or more run directories: samclr report RUN...")
    once: dict[Path, Path] = {}
    for run in runs:
        once.setdefault(run.resolve(), run)
    runs = list(once.values())
    configs = {run: load_config(run) for run in runs}
    metrics = {run: read_metrics(run) for run in runs}
    labels = run_names(runs)
    found = {run: results_of_run(run) for run in runs}
    summaries = {run: read_json(run / SUMMARY_FILE, {}) for run in runs}
    results = _results(found, labels, {run: VIEWS[config.views.strategy] for run, config in configs.items()})
    shown = _run_with_regions(configs)
    try:
        gallery, gallery_fault = make_gallery(configs[shown]), ""
    except (SamclrError, OSError) as error:
        gallery, gallery_fault = None, str(error)
    page = render(
        "report.html.j2",
        version=__version__,
        title=", ".join(labels.values()) if len(runs) < 4 else f"{len(runs)} runs",
        verdict=make_verdict(configs, found),
        before_after=[(labels[run], one) for run in runs if (one := read_before_after(run)) is not None and one.table],
        unfinished=[text for run in runs if (text := _unfinished(labels[run], summaries[run], metrics[run]))],
        tables=[(kind.caption, grid) for kind in KINDS.values() if (grid := result_grid(kind.name, results)).lines],
        charts=_charts(runs, metrics, labels),
        gallery=gallery,
        gallery_fault=gallery_fault,
        num_trained=summaries[shown].get("data", {}).get("images"),
        runs=[_run_facts(run, labels[run], configs[run], summaries[run], metrics[run]) for run in runs],
        settings=_settings_table(configs, labels),
    )
    out = out or runs[0] / "report.html"
    write_text(out, page)
    return out


def _run_with_regions(configs: dict[Path, PretrainConfig]) -> Path:
    return next((run for run, config in configs.items() if config.data.regions is not None), next(iter(configs)))


def _results(
    results: dict[Path, list[RunResult]], labels: dict[Path, str], views: dict[Path, str]
) -> list[tuple[Owner, Result]]:
    """Results of all runs, each with whose it is: a floor, or weights that the run no longer has, say so."""
    found = []
    for run, of_run in results.items():
        for one in of_run:
            result = one.result
            label = labels[run] if one.is_own else result.target.removesuffix(UNTRAINED)
            if result.untrained:
                label += ", untrained" + (f", seed {result.seed}" if result.seed is not None else "")
            elif not one.is_current:
                label += ", earlier weights" + (f" of step {result.step:,}" if result.step is not None else "")
            shown = views[run] if one.is_own and not result.untrained else ""
            found.append(
                (Owner(label=label, views=shown, is_floor=result.untrained, is_past=not one.is_current), result)
            )
    return sorted(found, key=lambda pair: (pair[1].on, not pair[0].is_floor, pair[0].is_past))


def _charts(runs: Sequence[Path], metrics: dict[Path, list[dict[str, Any]]], labels: dict[Path, str]) -> list[Chart]:
    charts = []
    for name, title, note in CURVES:
        series = [
            Series(
                label=labels[run],
                colour=number,
                points=[(row["step"] + 1, row[name]) for row in metrics[run] if row.get(name) is not None],
            )
            for number, run in enumerate(runs)
        ]
        if any(s.points for s in series):
            charts.append(make_chart(title, note, [s for s in series if s.points]))
    return charts


def _unfinished(label: str, summary: dict[str, Any], metrics: list[dict[str, Any]]) -> str:
    """A sentence on a run that has steps to do; a killed one has no summary, but a row for each step."""
    if 0 < summary.get("num_steps", 0) <= summary.get("steps_done", 0):
        return ""
    steps = metrics[-1]["step"] + 1 if metrics else 0
    planned = f" of {summary['num_steps']:,}" if "num_steps" in summary else ""
    return f"{label} is not finished: it stands at step {steps:,}{planned}"


def _run_facts(
    run: Path, label: str, config: PretrainConfig, summary: dict[str, Any], metrics: list[dict[str, Any]]
) -> dict[str, Any]:
    steps, planned = summary.get("steps_done", 0), summary.get("num_steps", 0)
    identical, errors = summary.get("plan_counts", {}).get("identical_pairs", 0), summary.get("errors", {})
    happened, never = count_sentences(config, summary)
    if num_lost := steps_without_row(metrics):
        happened.append(f"{num_lost:,} of {steps:,} steps have a damaged row in metrics.jsonl, which is left out")
    return {
        "label": label,
        "state": f"{steps:,} of {planned:,} steps{_history(config)}" if has_checkpoint(run) else "not started",
        "happened": happened,
        "never": never,
        "warning": identical_pairs_warning(identical, steps * pairs_per_step(config)) or "",
        "errors": sorted(errors.items())[:50],
        "num_errors": len(errors),
        "fingerprint": summary.get("data_fingerprint", ""),
    }


def _history(config: PretrainConfig) -> str:
    """`, extended after 20,000 (tail)`, where it was."""
    parts = [f"{extension.after_steps:,} ({extension.schedule})" for extension in config.extensions]
    return f", extended after {' and '.join(parts)}" if parts else ""


def _settings_table(configs: dict[Path, PretrainConfig], labels: dict[Path, str]) -> dict[str, Any]:
    flat = {run: _flatten(to_dict(config)) for run, config in configs.items()}
    names = [
        name
        for name in dict.fromkeys(name for one in flat.values() for name in one)
        if not name.startswith(("runtime.", "evaluation.", "knn.", "measuring.", "auto"))
    ]
    rows = [(name, [str(flat[run].get(name)) for run in configs]) for name in names]
    return {
        "columns": [labels[run] for run in configs],
        "differing": [row for row in rows if len(set(row[1])) > 1],
        "shared": [(name, values[0]) for name, values in rows if len(set(values)) == 1],
    }


def _flatten(value: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {where: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{where}.{key}".lstrip("."))
    return flat
