"""Take a backbone away: files that timm, torchvision, Hugging Face and ONNX runtimes load, with a model card."""

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors.torch import save
from torch import nn

from samclr._version import __version__
from samclr.config.normalisation import Normalisation, normalisation_of
from samclr.config.pretrain import PretrainConfig
from samclr.errors import RunError, UsageError
from samclr.log import option_of
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.weights import FOLDER_CONFIG, FOLDER_WEIGHTS, is_weights_folder
from samclr.runs.card import model_card
from samclr.runs.checkpoint import load_backbone, load_config
from samclr.runs.directory import read_json
from samclr.storage.checksums import checksum_of_weights
from samclr.storage.files import write_bytes, write_json, write_text

Layout = Literal["timm", "torchvision", "huggingface", "onnx"]
ONNX_TOLERANCE = 1e-4  # of the largest feature
CARD_NAME = "README.md"


def export(run: "str | os.PathLike[str]", out: "str | os.PathLike[str]", *, layout: Layout = "timm") -> Path:
    """Write the backbone of a run for another library, with a model card beside it; returns what was written.

        samclr.export("runs/photos", "backbone.safetensors")

    Args:
        run: a run directory, or a Run.
        out: file to write; for huggingface a folder.
        layout: timm or torchvision (safetensors), huggingface, or onnx (compared with torch before it is kept).

    Raises:
        RunError: the run has no checkpoint, or the backbone does not exist in that layout.
        UsageError: a package is missing that the layout needs, or there is no such layout.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"{layout!r} is not a layout; expected one of {', '.join(get_args(Layout))}")
    export_run(Path(run), Path(out), layout)
    return Path(out)


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
            raise RunError(
                f"Hugging Face has no {model.backbone} with stem {model.stem}; use {option_of('layout')} timm or onnx"
            )
        if (out / FOLDER_CONFIG).exists() and not is_weights_folder(out):
            raise RunError(
                f"{out} holds a {FOLDER_CONFIG} of something else; name a new folder with {option_of('out')}"
            )
        _save_hugging_face(backbone, out, config)
        loads = f'transformers.AutoModel.from_pretrained("{out}")'
        loads += f'  # or timm.create_model("local-dir:{out}", pretrained=True)'
    else:
        difference = _save_onnx(backbone, out, config)
        loads = f'onnxruntime.InferenceSession("{out}")  # features differ from torch by at most {difference:.1e}'
    card = out / CARD_NAME if out.is_dir() else out.with_name(f"{out.stem}.md")
    write_text(card, model_card(run, config, loads, weights_fingerprint(backbone)))
    return loads


def _save_weights(backbone: nn.Module, out: Path, config: PretrainConfig) -> None:
    write_bytes(out, weights_bytes(backbone, _facts(backbone, config)))


def _facts(backbone: nn.Module, config: PretrainConfig) -> dict[str, str]:
    """What a file says about its weights, so that its reader needs no further settings."""
    own: Normalisation = normalisation_of(backbone)
    facts = {"backbone": config.model.backbone, "stem": config.model.stem, "samclr": __version__}
    if config.model.input_px is not None:
        facts["input_px"] = str(config.model.input_px)
    return facts | {"mean": json.dumps(own.mean), "std": json.dumps(own.std), "format": "pt"}


def weights_bytes(backbone: nn.Module, metadata: dict[str, str]) -> bytes:
    """A safetensors file with a checksum among its metadata.

    Equal weights and metadata give equal bytes (safetensors itself shuffles the metadata).
    """
    content = save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}, metadata)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(metadata.items())) | {"checksum": checksum_of_weights(content)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _save_hugging_face(backbone: nn.Module, out: Path, config: PretrainConfig) -> None:
    """timm's folder, with what is true of these weights alone: how training and `samclr evaluate` feed them.

    Nothing of the pretrained weights that timm has of this name: no tag, licence, paper, origin, label or test size.
    """
    from timm.models._hub import save_config_for_hf

    with tempfile.TemporaryDirectory() as folder:
        save_config_for_hf(backbone, f"{folder}/config.json")
        saved = read_json(Path(folder) / "config.json", {})
    # What timm says twice is left out, since transformers stumbles over it.
    arguments = {key: value for key, value in saved.pop("model_args", {}).items() if key not in saved | {"in_chans": 3}}
    theirs, own, side = saved["pretrained_cfg"], normalisation_of(backbone), config.group.size_px
    kept = ("custom_load", "fixed_input_size", "num_classes", "first_conv", "classifier")
    saved["pretrained_cfg"] = {key: theirs[key] for key in kept if key in theirs} | {
        "input_size": [3, side, side], "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center",
        "mean": own.mean, "std": own.std,
    }  # fmt: skip
    write_bytes(out / FOLDER_WEIGHTS[0], weights_bytes(backbone, _facts(backbone, config)))
    write_json(out / FOLDER_CONFIG, saved | ({"model_args": arguments} if arguments else {}))


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
        f"torchvision has no {name} with stem {config.model.stem} and timm's names; "
        f"use {option_of('layout')} timm or onnx"
    )


def _save_onnx(backbone: nn.Module, out: Path, config: PretrainConfig) -> float:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise UsageError(f"{option_of('layout')} onnx needs ONNX: pip install 'samclr[onnx]'") from None
    side_px = config.group.size_px
    pixels = torch.randn(2, 3, side_px, side_px)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own workings
        program = torch.onnx.export(
            backbone, (pixels,), input_names=["pixels"], output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},), verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, _facts(backbone, config))
    content = model.SerializeToString(deterministic=True)  # bytes, since ONNX opens no path that is not UTF-8
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    other = torch.randn(3, 3, side_px, side_px)
    with torch.no_grad():
        expected = backbone(other)
    (found,) = session.run(None, {"pixels": other.numpy()})
    difference = float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max())
    if difference > ONNX_TOLERANCE:
        raise RunError(f"the ONNX model's features differ from torch's by {difference:.1e} of the largest; not written")
    write_bytes(out, content)
    return difference
