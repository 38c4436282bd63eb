"""The model card beside exported weights: what was trained on what, how, and what these very weights are worth.

A number stands in it only if it was measured: of the exported weights, told by their fingerprint, or of the same
backbone before any training, marked as the floor that it is.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.models.weights import own_normalisation
from samclr.runs.directory import SUMMARY_FILE, read_json
from samclr.runs.results import rows_of_run

CLASSIFIED = (("knn_top1", "kNN top-1"), ("linear_top1_last", "linear top-1, last epoch"))
SEGMENTED = (("dense_linear_miou", "linear mIoU"), ("dense_knn_miou", "nearest patches mIoU"))


def model_card(run: Path, config: PretrainConfig, loads: str, weights: str) -> str:
    """Markdown. loads: the line of Python that loads the backbone; weights: fingerprint of the exported weights."""
    recipe = RECIPES.get(config.recipe)
    rows = card_rows(run, weights, config)
    lines = ["---", "library_name: timm", "tags: [self-supervised, samclr]", "---"]
    lines += [f"# {config.model.backbone}, pre-trained with {config.recipe}", ""]
    lines += [f"{recipe.summary} ({recipe.paper}).", ""] if recipe else []
    lines += [f"Input: RGB from 0 to 1, normalised with {_normalisation(config)}.", ""]
    lines += ["```python", loads, "```", "", *_training(run, config)]
    lines += _table("measured on", CLASSIFIED, [row for row in rows if "knn_top1" in row])
    lines += _table("segmentation of", SEGMENTED, [row for row in rows if "dense_linear_miou" in row])
    if rows:
        lines += ["", "In brackets: 95 % intervals over test images. Untrained: the same backbone before any training."]
    settings = json.dumps(config.settings(), indent=1)
    return "\n".join([*lines, "", "Settings:", "", "```json", settings, "```", ""])


def card_rows(run: Path, weights: str, config: PretrainConfig) -> list[dict[str, Any]]:
    """Rows of these weights, then the floors beneath them: of this run, of its architecture."""
    found = [row for row in rows_of_run(run, weights) if row["is_own"] and row["is_current"]]
    backbone, stem = config.model.backbone, config.model.stem
    alike = [row for row in found if (model := row.get("model")) is None or _names(model) == (backbone, stem)]
    return sorted(alike, key=lambda row: (row["on"], row["untrained"]))


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


def _table(first: str, columns: Sequence[tuple[str, str]], rows: list[dict[str, Any]]) -> list[str]:
    """A table of rows, without columns of which no row has a number."""
    columns = [(key, title) for key, title in columns if any(row.get(key) is not None for row in rows)]
    if not columns:
        return []
    head = [first, "backbone", *(title for _, title in columns), "image size", "training / test images", "settings"]
    lines = ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [_plain(row["on"]), backbone_text(row), *(_percent(row, key) for key, _ in columns)]
        cells += [_size(row), _counts(row), _settings(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def backbone_text(row: dict[str, Any]) -> str:
    """Whose numbers a row holds."""
    if not row["untrained"]:
        return "trained" if row.get("step") is None else f"trained, step {row['step']:,}"
    return "untrained (floor)" if row.get("seed") is None else f"untrained (floor), seed {row['seed']}"


def _percent(row: dict[str, Any], key: str) -> str:
    value, interval = row.get(key), row.get(f"{key}_interval")
    if value is None:
        return ""
    return f"{value:.1%}" + (f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else "")


def _size(row: dict[str, Any]) -> str:
    side = row.get("settings", {}).get("dense_px" if row.get("task") == "dense" else "image_px")
    return "" if side is None else f"{side} px"


def _counts(row: dict[str, Any]) -> str:
    counts = [row.get("num_train"), row.get("num_test")]
    return " / ".join("" if count is None else f"{count:,}" for count in counts)


def _settings(row: dict[str, Any]) -> str:
    prefix = "dense" if row.get("task") == "dense" else "knn"
    settings = row.get("settings", {})
    named = [("k", f"{prefix}_k"), ("temperature", f"{prefix}_temperature")]
    return ", ".join(f"{name} {settings[key]:g}" for name, key in named if settings.get(key) is not None)


def _plain(text: str) -> str:
    """A name from data in a cell of a table."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("\\", "\\\\").replace("|", "\\|")


def _normalisation(config: PretrainConfig) -> str:
    own = own_normalisation(config.model)[0]
    return f"mean {own.mean} and deviation {own.std}"
