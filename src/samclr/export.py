"""Take a backbone away: files that timm, torchvision, Hugging Face and ONNX runtimes load, with a model card."""

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn

import samclr
from samclr.checkpoint import load_backbone, load_config
from samclr.config import PretrainConfig
from samclr.errors import RunError, UsageError
from samclr.recipes import RECIPES
from samclr.run_directory import RESULTS_FILE, SUMMARY_FILE, read_json, write_json

Layout = Literal["timm", "torchvision", "huggingface", "onnx"]
ONNX_TOLERANCE = 1e-4  # of the largest feature
CARD_NAME = "README.md"


def export_run(run: Path, out: Path, layout: Layout) -> str:
    """Write the backbone of a run in a layout, with a model card; returns the line of Python that loads it.

    timm, torchvision: a safetensors file. huggingface: a folder. onnx: a file, compared with torch before it is kept.

    Raises:
        RunError: the run has no checkpoint, or the backbone does not exist in that layout.
        UsageError: a package is missing that the layout needs.
    """
    config = load_config(run)
    backbone = load_backbone(run)
    model = config.model
    plain = model.stem == "standard" and model.backbone != "small-cnn"
    out.parent.mkdir(parents=True, exist_ok=True)
    if layout == "timm":
        _save_weights(backbone, out, config)
        size = f"img_size={model.input_px}, " if model.input_px else ""
        loads = f'timm.create_model("{model.backbone}", num_classes=0, {size}checkpoint_path="{out}")'
        loads = (
            loads if plain else f'samclr.load_backbone("{run}")  # timm has no {model.backbone} with stem {model.stem}'
        )
    elif layout == "torchvision":
        name = _torchvision_name(backbone, config, plain)
        _save_weights(backbone, out, config)
        loads = f'torchvision.models.{name}().load_state_dict(safetensors.torch.load_file("{out}"), strict=False)'
    elif layout == "huggingface":
        if not plain:
            raise RunError(f"Hugging Face has no {model.backbone} with stem {model.stem}; use --layout timm or onnx")
        _save_hugging_face(backbone, out)
        loads = f'transformers.AutoModel.from_pretrained("{out}")'
        loads += f'  # or timm.create_model("local-dir:{out}", pretrained=True)'
    else:
        difference = _save_onnx(backbone, out, config.group.size_px)
        loads = f'onnxruntime.InferenceSession("{out}")  # features differ from torch by at most {difference:.1e}'
    card = out / CARD_NAME if out.is_dir() else out.with_name(f"{out.stem}.md")
    card.write_text(model_card(run, config, loads))
    return loads


def model_card(run: Path, config: PretrainConfig, loads: str) -> str:
    """Markdown: what was trained on what, how, and what it is worth."""
    summary = read_json(run / SUMMARY_FILE, {})
    recipe = RECIPES.get(config.recipe)
    measured = read_json(run / RESULTS_FILE, {}).get("results", [])
    results = [row for row in measured if "knn_top1" in row]
    dense = [row for row in measured if "dense_linear_miou" in row]
    lines = [
        "---", "library_name: timm", "tags: [self-supervised, samclr]", "---",
        f"# {config.model.backbone}, pre-trained with {config.recipe}", "",
        f"{recipe.summary} ({recipe.paper})." if recipe else "", "",
        "Input: RGB from 0 to 1, normalised with mean (0.485, 0.456, 0.406) and deviation (0.229, 0.224, 0.225).", "",
        "```python", loads, "```", "",
        f"- samclr {samclr.__version__}, {summary.get('steps_done', 0):,} of {summary.get('num_steps', 0):,} steps of "
        f"{config.optim.global_batch_size} images, {config.group.size_px} px, strategy {config.views.strategy}, "
        f"seed {config.seed}",
        f"- data fingerprint {summary.get('data_fingerprint', 'unknown')}: "
        + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary.get("data", {}).items()),
    ]  # fmt: skip
    if results:
        lines += ["", "| measured on | kNN top-1 | linear top-1, last epoch |", "|---|---|---|"]
        lines += [
            f"| {row['on']} | {_percent(row, 'knn_top1')} | {_percent(row, 'linear_top1_last')} |" for row in results
        ]
    if dense:
        lines += ["", "| segmentation of | linear mIoU | nearest patches mIoU |", "|---|---|---|"]
        lines += [
            f"| {row['on']} | {_percent(row, 'dense_linear_miou')} | {_percent(row, 'dense_knn_miou')} |"
            for row in dense
        ]
    settings = json.dumps(config.settings(), indent=1)
    return "\n".join([*lines, "", "Settings:", "", "```json", settings, "```", ""])


def _percent(row: dict[str, Any], key: str) -> str:
    return f"{row[key]:.1%}" if row.get(key) is not None else ""


def _save_weights(backbone: nn.Module, out: Path, config: PretrainConfig) -> None:
    weights = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    facts = {"backbone": config.model.backbone, "stem": config.model.stem}
    facts |= {"input_px": str(config.model.input_px)} if config.model.input_px else {}
    save_file(weights, out, metadata=facts)


def _save_hugging_face(backbone: nn.Module, out: Path) -> None:
    """timm's own folder; what its configuration says twice is left out, since transformers stumbles over it."""
    import timm.models

    timm.models.save_for_hf(backbone, str(out), safe_serialization=True)
    saved = read_json(out / "config.json", {})
    arguments = {key: value for key, value in saved.pop("model_args", {}).items() if key not in saved | {"in_chans": 3}}
    write_json(out / "config.json", saved | ({"model_args": arguments} if arguments else {}))


def _torchvision_name(backbone: nn.Module, config: PretrainConfig, plain: bool) -> str:
    """The torchvision model with the same parameter names and shapes, but for its classifier."""
    import torchvision

    name = config.model.backbone
    if plain and name in torchvision.models.list_models(torchvision.models):
        theirs = torchvision.models.get_model(name).state_dict()
        ours = backbone.state_dict()
        if all(key in theirs and theirs[key].shape == tensor.shape for key, tensor in ours.items()):
            return name
    raise RunError(
        f"torchvision has no {name} with stem {config.model.stem} and timm's names; use --layout timm or onnx"
    )


def _save_onnx(backbone: nn.Module, out: Path, side_px: int) -> float:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise UsageError("--layout onnx needs ONNX: pip install 'samclr[onnx]'") from None
    pixels = torch.randn(2, 3, side_px, side_px)
    beside = out.with_name(f"{out.name}.tmp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own workings
        torch.onnx.export(
            backbone, (pixels,), beside, input_names=["pixels"], output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},), external_data=False, verbose=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(beside, providers=["CPUExecutionProvider"])
    other = torch.randn(3, 3, side_px, side_px)
    with torch.no_grad():
        expected = backbone(other)
    (found,) = session.run(None, {"pixels": other.numpy()})
    difference = float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max())
    if difference > ONNX_TOLERANCE:
        beside.unlink()
        raise RunError(f"the ONNX model's features differ from torch's by {difference:.1e} of the largest; not written")
    beside.replace(out)
    return difference
