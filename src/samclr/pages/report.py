"""The job `samclr report`: one self-contained HTML page about runs. Reads files only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import to_dict
from samclr.errors import RunError, SamclrError
from samclr.pages.charts import Chart, Series, make_chart
from samclr.pages.gallery import make_gallery
from samclr.pages.render import render
from samclr.runs.checkpoint import load_config
from samclr.runs.directory import SUMMARY_FILE, has_checkpoint, read_json, read_metrics, steps_without_row
from samclr.runs.grid import result_grid
from samclr.runs.results import UNTRAINED, Result, results_of_run
from samclr.storage.files import write_text
from samclr.training.monitor import identical_pairs_warning, pairs_per_step


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose a line of results is."""

    label: str
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
COUNT_TEXTS = {
    "images": "images trained on",
    "unreadable_images": "images that could not be read",
    "segment_errors": "images whose segmentation failed",
    "regions": "regions after the filter",
    "images_without_regions": "images without a region (the whole image is used)",
}
PLAN_TEXTS = {
    "images_without_regions": "draws of an image without a region",
    "repeated_regions": "regions repeated, as the image has fewer than asked for",
    "crop_fallbacks": "central crops, as ten tries found none that fits",
    "identical_pairs": "pairs whose views show the same box",
    "coverage_fallbacks": "views under the requested coverage after all tries",
    "mixed_backgrounds": "views with the background of another image",
    "upscaled_views": "views enlarged from fewer pixels than they have",
}


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page to `out`, by default `report.html` in the first run, and return its path.

    Raises:
        RunError: no run was named, or one is not a run directory.
    """
    if not runs:
        raise RunError("no run was named; give one or more run directories: samclr report RUN...")
    configs = {run: load_config(run) for run in runs}
    metrics = {run: read_metrics(run) for run in runs}
    labels = _labels(runs)
    results = _results(runs, labels)
    try:
        gallery, gallery_fault = make_gallery(_run_with_regions(configs)), ""
    except (SamclrError, OSError) as error:
        gallery, gallery_fault = [], str(error)
    page = render(
        "report.html.j2",
        version=__version__,
        title=", ".join(labels.values()) if len(runs) < 4 else f"{len(runs)} runs",
        labelled=result_grid("labelled", results),
        dense=result_grid("dense", results),
        charts=_charts(runs, metrics, labels),
        gallery=gallery,
        gallery_fault=gallery_fault,
        runs=[_run_facts(run, labels[run], configs[run], steps_without_row(metrics[run])) for run in runs],
        settings=_settings_table(configs, labels),
    )
    out = out or runs[0] / "report.html"
    write_text(out, page)
    return out


def _labels(runs: Sequence[Path]) -> dict[Path, str]:
    names = [run.resolve().name for run in runs]
    return {
        run: name if names.count(name) == 1 else f"{run.resolve().parent.name}/{name}"
        for run, name in zip(runs, names, strict=True)
    }


def _run_with_regions(configs: dict[Path, PretrainConfig]) -> PretrainConfig:
    return next((c for c in configs.values() if c.data.regions is not None), next(iter(configs.values())))


def _results(runs: Sequence[Path], labels: dict[Path, str]) -> list[tuple[Owner, Result]]:
    """Results of all runs, each with whose it is: a floor, or weights that the run no longer has, say so."""
    found = []
    for run in runs:
        for one in results_of_run(run):
            result = one.result
            label = labels[run] if one.is_own else result.target.removesuffix(UNTRAINED)
            if result.untrained:
                label += ", untrained" + (f", seed {result.seed}" if result.seed is not None else "")
            elif not one.is_current:
                label += ", earlier weights" + (f" of step {result.step:,}" if result.step is not None else "")
            found.append((Owner(label=label, is_floor=result.untrained, is_past=not one.is_current), result))
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


def _run_facts(run: Path, label: str, config: PretrainConfig, num_lost: int) -> dict[str, Any]:
    summary = read_json(run / SUMMARY_FILE, {})
    plan = summary.get("plan_counts", {})
    errors = summary.get("errors", {})
    pairs = summary.get("steps_done", 0) * pairs_per_step(config)
    return {
        "label": label,
        "state": f"{summary.get('steps_done', 0):,} of {summary.get('num_steps', 0):,} steps"
        if has_checkpoint(run)
        else "not started",
        "counts": [
            (text, summary.get("data", {})[key]) for key, text in COUNT_TEXTS.items() if key in summary.get("data", {})
        ]
        + ([("steps whose row in metrics.jsonl is damaged and left out", num_lost)] if num_lost else []),
        "plan": [(text, plan[key]) for key, text in PLAN_TEXTS.items() if key in plan],
        "warning": identical_pairs_warning(plan.get("identical_pairs", 0), pairs) or "",
        "errors": sorted(errors.items())[:50],
        "num_errors": len(errors),
        "fingerprint": summary.get("data_fingerprint", ""),
    }


def _settings_table(configs: dict[Path, PretrainConfig], labels: dict[Path, str]) -> dict[str, Any]:
    flat = {run: _flatten(to_dict(config)) for run, config in configs.items()}
    names = [name for name in next(iter(flat.values())) if not name.startswith(("runtime.", "evaluation.", "knn."))]
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
