"""The model card beside exported weights: what was trained on what, how, and what these very weights are worth.

It holds a number only if it was measured: for the exported weights, identified by their fingerprint, or for the same
backbone before any training, marked as a floor.
"""

import json
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.pretrain import PretrainConfig
from samclr.config.protocols import Kind
from samclr.config.recipes import RECIPES
from samclr.models.weights import own_normalisation
from samclr.runs.directory import SUMMARY_FILE, read_json
from samclr.runs.grid import result_grid
from samclr.runs.results import Result, results_of_run


def model_card(run: Path, config: PretrainConfig, loads: str, weights: str) -> str:
    """Markdown. loads: the line of Python that loads the backbone; weights: fingerprint of the exported weights."""
    recipe = RECIPES.get(config.recipe)
    results = card_results(run, weights, config)
    lines = ["---", "library_name: timm", "tags: [self-supervised, samclr]", "---"]
    lines += [f"# {config.model.backbone}, pre-trained with {config.recipe}", ""]
    lines += [f"{recipe.summary} ({recipe.paper}).", ""] if recipe else []
    lines += [f"Input: RGB from 0 to 1, normalised with {_normalisation(config)}.", ""]
    lines += ["```python", loads, "```", "", *_training(run, config)]
    tables: tuple[tuple[Kind, str], ...] = (("labelled", "measured on"), ("dense", "segmentation of"))
    for kind, first in tables:
        lines += _table(first, kind, results)
    if results:
        lines += [
            "",
            "Top-1 accuracy; for segmentation mean IoU and the share of right pixels. In brackets: 95 % intervals",
            "over test images. Untrained: the same backbone before any training.",
        ]
    settings = json.dumps(config.settings(), indent=1)
    return "\n".join([*lines, "", "Settings:", "", "```json", settings, "```", ""])


def card_results(run: Path, weights: str, config: PretrainConfig) -> list[Result]:
    """Results of these weights, then the floors beneath them: of this run, of its architecture."""
    found = [one.result for one in results_of_run(run, weights) if one.is_own and one.is_current]
    backbone, stem = config.model.backbone, config.model.stem
    alike = [one for one in found if one.model is None or _names(one.model) == (backbone, stem)]
    return sorted(alike, key=lambda one: (one.on, one.untrained))


def _names(model: dict[str, Any]) -> tuple[Any, Any]:
    return model.get("backbone"), model.get("stem")


def _training(run: Path, config: PretrainConfig) -> list[str]:
    summary = read_json(run / SUMMARY_FILE, {})
    steps = f"{config.optim.global_batch_size} images a step"
    if "steps_done" in summary and "num_steps" in summary:
        done, planned = summary["steps_done"], summary["num_steps"]
        steps = f"{done:,} of {planned:,} steps of {config.optim.global_batch_size} images"
    lines = [
        f"- samclr {__version__}, {steps}, "
        f"{config.group.size_px} px, strategy {config.views.strategy}, seed {config.seed}",
        "- the weights began " + (f"with {config.model.pretrained}" if config.model.pretrained else "at random"),
    ]
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary.get("data", {}).items())
    if "data_fingerprint" in summary:
        lines.append(f"- data fingerprint {summary['data_fingerprint']}" + (f": {counts}" if counts else ""))
    return lines


def _table(first: str, kind: Kind, results: list[Result]) -> list[str]:
    """A line for each backbone and set, a column for each score that some result has."""
    grid = result_grid(kind, [(None, result) for result in results])
    if not grid.lines:
        return []
    titles = [column.title for column in grid.columns]
    head = [first, "backbone", *titles, "image size", "training / test images", "settings"]
    lines = ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for line in grid.lines:
        cells = [_plain(line.first.on), backbone_text(line.first)]
        cells += [line.cells[column].text if column in line.cells else "" for column in grid.columns]
        lines.append(f"| {' | '.join([*cells, line.side, _images(line.first), line.settings])} |")
    return lines


def backbone_text(result: Result) -> str:
    """Whose numbers a result holds."""
    if not result.untrained:
        return "trained" if result.step is None else f"trained, step {result.step:,}"
    return "untrained (floor)" if result.seed is None else f"untrained (floor), seed {result.seed}"


def _images(result: Result) -> str:
    counts = [result.counts.get(name) for name in ("num_train", "num_test")]
    return " / ".join("" if count is None else f"{count:,}" for count in counts)


def _plain(text: str) -> str:
    """A name from data in a cell of a table."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("\\", "\\\\").replace("|", "\\|")


def _normalisation(config: PretrainConfig) -> str:
    own = own_normalisation(config.model)[0]
    return f"mean {own.mean} and deviation {own.std}"
