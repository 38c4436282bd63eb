"""The model card beside exported weights: what was trained on what, how, and what these very weights are worth.

It holds a number only if it was measured: for the exported weights, identified by their fingerprint, or for the same
backbone before any training, marked as a floor.
"""

import json
from pathlib import Path
from typing import Any

from torch import nn

from samclr._version import __version__
from samclr.config.kinds import KINDS, Kind
from samclr.config.methods import Kept
from samclr.config.normalisation import normalisation_of
from samclr.config.pretrain import ModelConfig, PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.errors import name_some
from samclr.models.backbone import feature_width
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.names import architecture
from samclr.models.sizes import ANY_SIZE, InputSizes
from samclr.runs.before_after import read_before_after
from samclr.runs.directory import SUMMARY_FILE, read_json
from samclr.runs.grid import result_grid
from samclr.runs.loading import Loading
from samclr.runs.results import Result, results_of_run
from samclr.runs.saved import newest_step

RESULTS_TEXT = (
    "All were measured with exactly these weights, frozen but for fine-tuning. Top-1 accuracy; for",
    "segmentation mean IoU and the share of right pixels; mAP is mean average precision, P@10 the precision of the",
    "ten nearest. In brackets: 95 % intervals over test images (bootstrap);",
    "they do not cover other seeds of the training. Untrained (floor): the same backbone with random weights, below",
    "which nothing was learned.",
)
NO_RESULTS_TEXT = (
    "None was measured with these weights. `samclr evaluate RUN --on SET` adds some, and the floor with `--untrained`;",
    "then export anew.",
)
PAIRED_TEXT = "Shares in per cent. In brackets: 95 % intervals of the difference, paired by image."
VIEWS_TEXT = {
    "image": "all from the whole image",
    "region": "all from one region of the image",
    "random-box": "all from one box of the image, shaped as its regions but placed at random",
}
LIMITS_TEXT = (
    "- The features are of images like those of the training; how they do on others, the results alone can tell.",
    "- Weights carry what is in their data, biases included. samclr states no licence for them: that is for whoever",
    "  trained them, as the licences of the data and of the weights they started from allow.",
)


def model_card(
    run: Path,
    config: PretrainConfig,
    backbone: nn.Module,
    loading: Loading,
    image_px: int | None = None,
    which: Kept = "student",
) -> str:
    """Markdown. image_px: the one size of images that an ONNX file takes. which: the weights of `backbone`."""
    weights, recipe = weights_fingerprint(backbone), RECIPES.get(config.recipe)
    results = card_results(run, weights, config)
    name = config.model.backbone + ("" if config.model.stem == "standard" else f" (stem {config.model.stem})")
    lines = ["---", f"library_name: {loading.library}", "pipeline_tag: image-feature-extraction"]
    lines += ["tags: [image-feature-extraction, self-supervised, samclr]", "---"]
    lines += [f"# {name}, pre-trained with {config.recipe}", ""]
    lines += [f"From an image to {feature_width(backbone)} features. Its training used no class labels."]
    lines += _warnings(run)
    lines += ["", "## Use", "", "```python", *loading.example, "```", "", *_input(config, backbone, image_px)]
    source = f". {recipe.summary}; {recipe.paper}" if recipe else ""
    lines += ["", "## Training", "", f"- recipe: {config.recipe}{source}"]
    lines += [
        *_training(run, config),
        *_which(run, config, which),
        f"- fingerprint of these weights: {weights}",
        "",
        "## Results",
    ]
    for kind in KINDS.values():
        lines += _table(kind.table, kind.name, results)
    lines += ["", *(RESULTS_TEXT if results else NO_RESULTS_TEXT)]
    lines += _before_after(run) if which in (config.exported, "best") else []
    if results and not any(result.untrained for result in results):
        lines.append("No floor was measured: what the same backbone reaches untrained is not known.")
    lines += ["", "## Limits", "", *LIMITS_TEXT]
    settings = json.dumps(_public_settings(config), indent=1)
    folded = ["<details><summary>All settings</summary>", "", "```json", settings, "```", "", "</details>", ""]
    return "\n".join([*lines, "", *folded])


def _before_after(run: Path) -> list[str]:
    """The table of what the run gained and forgot, where it was measured."""
    found = read_before_after(run)
    if found is None or not found.table:
        return []
    rows = found.cells()
    head = ["", "### Before and after", "", f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines = [f"| {' | '.join(_plain(cell) for cell in row.values())} |" for row in rows]
    return [*head, *lines, "", *(text for text in (found.caption(), found.sentence(), PAIRED_TEXT) if text)]


def card_results(run: Path, weights: str, config: PretrainConfig) -> list[Result]:
    """Results of these weights, then the floors beneath them: of this run, of its architecture."""
    rows = results_of_run(run, weights)
    found = [
        one.result for one in rows if (one.is_own and one.is_current) or one.result.backbone_fingerprint == weights
    ]
    backbone, stem = architecture(config.model.backbone), config.model.stem
    alike = [one for one in found if one.model is None or _names(one.model) == (backbone, stem)]
    return sorted(alike, key=lambda one: (one.on, one.untrained))


def _names(model: dict[str, Any]) -> tuple[Any, Any]:
    return architecture(str(model.get("backbone"))), model.get("stem")


def _warnings(run: Path) -> list[str]:
    """What a reader must know first."""
    done, planned = _steps(run)
    if done is None or planned is None or done >= planned:
        return []
    return ["", f"**Unfinished:** training stood at step {done:,} of {planned:,} when this was exported."]


def _steps(run: Path) -> tuple[int | None, int | None]:
    """Steps that the run has done, and planned; `_which` tells those of its best weights."""
    planned = read_json(run / SUMMARY_FILE, {}).get("num_steps")
    return newest_step(run), planned if isinstance(planned, int) else None


def _input(config: PretrainConfig, backbone: nn.Module, image_px: int | None) -> list[str]:
    own, px = normalisation_of(backbone), image_px or config.group.size_px
    sizes: InputSizes = backbone.input_sizes  # type: ignore[assignment]
    if image_px is not None:
        other = f"This file takes images of {image_px} x {image_px} px alone."
    elif config.model.input_px is not None:
        other = f"It takes images of {config.model.input_px} x {config.model.input_px} px alone."
    elif any(name in ANY_SIZE for name, _ in sizes.options):
        other = f"It takes other sizes, too, and pads them to whole patches; it was trained at {px} px."
    else:
        other = f"It takes other sizes, too; it was trained at {px} px."
    return [
        f"Input: RGB from 0 to 1, normalised with mean {own.mean} and deviation {own.std};",
        f"the shorter side is resized to {px} px (bilinear, antialiased), the centre is cropped. {other}",
    ]


def _training(run: Path, config: PretrainConfig) -> list[str]:
    summary, model = read_json(run / SUMMARY_FILE, {}), config.model
    counts = summary.get("data", {})
    scenes = name_some([path.name for path in config.data.scenes])
    data = f"- data: {_count(counts, 'images')} images ({_plain(scenes)})"
    data += _beside(counts, {"unreadable_images": "could not be read"})
    done, planned = _steps(run)
    steps = "an unknown number of" if done is None else f"{done:,}"
    steps += "" if planned is None else f" of {planned:,}"
    per_step = config.optim.global_batch_size
    seen = "" if done is None else f", {done * per_step:,} images in all"
    views = f"{config.group.num_views} of {config.group.size_px} px"
    if config.local.num_local_views:
        views += f" and {config.local.num_local_views} of {config.local.local_size_px} px"
    views += f", {VIEWS_TEXT[config.views.strategy]}"
    if config.views.strategy != "image" and config.views.image_view_share:
        views += f"; {config.views.image_view_share:.0%} of the pairs from the whole image instead"
    lines = [data, f"- data fingerprint: {summary.get('data_fingerprint', 'unknown')}"]
    if config.views.reads_regions:
        regions = f"- regions: {_count(counts, 'regions')} after filtering, made by {_maker(summary)}"
        empty = {"images_without_regions": "images have none", "segment_errors": "images could not be segmented"}
        lines.append(regions + _beside(counts, empty))
    return [
        *lines,
        f"- steps: {steps} of {per_step} images each{seen}",
        f"- views: {views}",
        f"- start: {_start(model)}, seed {config.seed}",
        f"- made with samclr {__version__}" + (f" and torch {summary['torch']}" if "torch" in summary else ""),
    ]


def _which(run: Path, config: PretrainConfig, which: Kept) -> list[str]:
    """Which of a run's sets of weights these are, if it has several."""
    found = read_before_after(run) if which == "best" else None
    if found is not None:
        return [f"- weights: the {config.exported}'s after step {found.best_step:,}, the best by {found.chosen_by}"]
    if not config.has_teacher:
        return []
    if which == "student":
        return ["- weights: those that were trained (student); the run also has their running mean (teacher)"]
    return ["- weights: the running mean (teacher) of those that were trained (student), which the run also has"]


def _count(counts: dict[str, int], name: str) -> str:
    return f"{counts[name]:,}" if name in counts else "an unknown number of"


def _beside(counts: dict[str, int], texts: dict[str, str]) -> str:
    found = [f"{counts[name]:,} {text}" for name, text in texts.items() if counts.get(name)]
    return f" ({', '.join(found)})" if found else ""


def _maker(summary: dict[str, Any]) -> str:
    """The segmenter and its settings."""
    maker = summary.get("regions_maker")
    if not isinstance(maker, dict) or "segmenter" not in maker:
        return "a segmenter that the run does not name"
    settings = [f"{name} {value}" for name, value in maker.items() if name != "segmenter"]
    return _plain(f"{maker['segmenter']}" + (f" ({', '.join(settings)})" if settings else ""))


def _start(model: ModelConfig) -> str:
    if model.pretrained is None:
        return "random weights"
    return f"timm's weights of {model.backbone}" if model.pretrained == "timm" else f"the weights {_file(model)}"


def _file(model: ModelConfig) -> str:
    """Without its folder, which is of this machine."""
    return _plain(Path(model.pretrained or "").name)


def _public_settings(config: PretrainConfig) -> dict[str, Any]:
    settings = config.settings()
    if config.model.pretrained not in (None, "timm"):
        settings["model"] = settings["model"] | {"pretrained": _file(config.model)}
    return settings


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
