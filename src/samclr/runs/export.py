"""Take a backbone away: files that timm, torchvision, Hugging Face and ONNX runtimes load, with a model card."""

import json
import os
import tempfile
from pathlib import Path
from typing import get_args

from safetensors.torch import save
from torch import nn

from samclr._version import __version__
from samclr.config.methods import Kept
from samclr.config.model_args import details_of
from samclr.config.normalisation import Normalisation, normalisation_of
from samclr.config.pretrain import PretrainConfig
from samclr.errors import RunError, UsageError
from samclr.log import option_of
from samclr.models.details import difference_without
from samclr.models.names import architecture
from samclr.models.sizes import InputSizes
from samclr.models.weights_files import FOLDER_CONFIG, FOLDER_WEIGHTS, is_timm_folder
from samclr.runs.card import model_card
from samclr.runs.checkpoint import load_backbone
from samclr.runs.detector_layouts import check_detector_layout, detector_bytes
from samclr.runs.directory import read_json
from samclr.runs.loading import Layout, is_plain, loading_of
from samclr.runs.onnx_export import onnx_content
from samclr.runs.saved import load_config
from samclr.storage.checksums import checksum_of_weights
from samclr.storage.files import write_bytes, write_json, write_text
from samclr.storage.tensors import apart

CARD_NAME = "README.md"
ENDINGS = {"timm": ".safetensors", "torchvision": ".safetensors", "onnx": ".onnx"}
ENDINGS |= {"detectron2": ".pkl", "mmdet": ".pth"}


def export(
    run: "str | os.PathLike[str]",
    out: "str | os.PathLike[str]",
    *,
    layout: Layout = "timm",
    image_px: int | None = None,
    which: Kept | None = None,
) -> Path:
    """Write the backbone of a run for another library, with a model card beside it; returns what was written.

        samclr.export("runs/photos", "backbone.safetensors")

    Args:
        run: a run directory, or a Run.
        out: file to write (timm and torchvision: *.safetensors, onnx: *.onnx, detectron2: *.pkl, mmdet: *.pth); for
            huggingface a folder.
        layout: timm or torchvision (safetensors), huggingface, onnx (compared with torch before it is kept), or, of
            ResNets, detectron2 or mmdet, whose model card has the lines of configuration.
        image_px: onnx alone: the one size of images, in px, that the file is for; by default it takes any size that
            the backbone takes, and where that cannot be had, the size of the run's views.
        which: student, the weights that were trained, teacher, their running mean, or best, what the run exports as it
            was at its best step; None takes what the run says (`config.exported`).

    Raises:
        RunError: the run has no checkpoint, no teacher or no best step, or the backbone does not exist in that layout.
        UsageError: a package is missing that the layout needs, there is no such layout or `which`, or `out` or
            `image_px` does not go with the layout.
        ConfigError: the backbone takes no images of `image_px`.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"{layout!r} is not a layout; expected one of {', '.join(get_args(Layout))}")
    if which not in (None, *get_args(Kept)):
        raise UsageError(f"{option_of('which')} is {which!r}; expected one of {', '.join(get_args(Kept))}")
    export_run(Path(run), Path(out), layout, image_px, which)
    return Path(out)


def export_run(run: Path, out: Path, layout: Layout, image_px: int | None = None, which: Kept | None = None) -> str:
    """Write the backbone of a run in a layout, with a model card; returns the line of Python that loads it.

    See `export`.
    """
    ending = ENDINGS.get(layout, "")
    if not out.name.endswith(ending):
        raise UsageError(f"{option_of('out')} is {out}; {layout} files are known by their names: end it with {ending}")
    if image_px is not None and layout != "onnx":
        raise UsageError(
            f"{option_of('image_px')} is for {option_of('layout')} onnx; {layout} holds weights alone: leave it out"
        )
    if image_px is not None and image_px < 1:  # the command's bounds
        raise UsageError(f"{option_of('image_px')} is {image_px}; expected 1 px or more")
    config = load_config(run)
    which = which or config.exported
    backbone = load_backbone(run, which)
    model, note = config.model, ""
    if layout == "timm":
        _save_weights(backbone, out, config)
    elif layout == "torchvision":
        _check_torchvision(backbone, config)
        _save_weights(backbone, out, config)
    elif layout == "detectron2" or layout == "mmdet":
        check_detector_layout(layout, config)
        write_bytes(out, detector_bytes(layout, backbone))
    elif layout == "huggingface":
        if not is_plain(config):
            raise RunError(
                f"Hugging Face has no {model.backbone} with stem {model.stem}; use {option_of('layout')} timm or onnx"
            )
        if out.exists() and not out.is_dir():
            raise RunError(f"{out} is a file; huggingface writes a folder, name one with {option_of('out')}")
        begun = (*FOLDER_WEIGHTS, CARD_NAME)  # what an export leaves that was killed before its config.json
        if out.is_dir() and not is_timm_folder(out) and any(one.name not in begun for one in out.iterdir()):
            raise RunError(
                f"{out} exists and is not a folder of weights; name a new or empty folder with {option_of('out')}"
            )
        _save_hugging_face(backbone, out, config)
    else:
        sizes: InputSizes = backbone.input_sizes  # type: ignore[assignment]
        wanted = None if image_px is None else sizes.fit(image_px, "image_px")
        found = onnx_content(backbone, _facts(backbone, config), config.group.size_px, wanted)
        write_bytes(out, found.content)
        image_px, note = found.side_px, f"; features differ from torch by at most {found.difference:.1e}"
    if details_of(model.model_args) and layout != "onnx":
        names = ", ".join(details_of(model.model_args))
        apart = difference_without(backbone, config.group.size_px)
        note = f"; without {names}, as timm builds it, features of {config.group.size_px} px differ by {apart:.1e}"
    loading = loading_of(layout, out, backbone, config, image_px)
    card = out / CARD_NAME if out.is_dir() else out.with_name(f"{out.name}.md")  # of a.safetensors and a.onnx: two
    write_text(card, model_card(run, config, backbone, loading, image_px, which))
    return loading.line + note


def _save_weights(backbone: nn.Module, out: Path, config: PretrainConfig) -> None:
    write_bytes(out, weights_bytes(backbone, _facts(backbone, config)))


def _facts(backbone: nn.Module, config: PretrainConfig) -> dict[str, str]:
    """What a file says about its weights, so that its reader needs no further settings."""
    own: Normalisation = normalisation_of(backbone)
    facts = {"backbone": config.model.backbone, "stem": config.model.stem, "samclr": __version__}
    if config.model.model_args:
        facts["model_args"] = json.dumps(config.model.model_args)
    if config.model.input_px is not None:
        facts["input_px"] = str(config.model.input_px)
    return facts | {"mean": json.dumps(own.mean), "std": json.dumps(own.std), "format": "pt"}


def weights_bytes(backbone: nn.Module, metadata: dict[str, str]) -> bytes:
    """A safetensors file with a checksum among its metadata.

    Equal weights and metadata give equal bytes (safetensors itself shuffles the metadata).
    """
    content = save(apart(backbone.state_dict()), metadata)
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


def _check_torchvision(backbone: nn.Module, config: PretrainConfig) -> None:
    """Raise RunError unless torchvision has this model with the same parameter names and shapes, but its classifier."""
    import torchvision

    name = architecture(config.model.backbone)
    if is_plain(config) and name in torchvision.models.list_models(torchvision.models):
        theirs = torchvision.models.get_model(name).state_dict()
        ours = backbone.state_dict()
        if all(key in theirs and theirs[key].shape == tensor.shape for key, tensor in ours.items()):
            return
    raise RunError(
        f"torchvision has no {name} with stem {config.model.stem} and timm's names; "
        f"use {option_of('layout')} timm or onnx"
    )
