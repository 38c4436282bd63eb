"""Checkpoints: written whole or not at all, recognised when damaged, read as data only, turned into backbones."""

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from samclr._version import __version__
from samclr.config.devices import OLD_DEVICES, OLD_PRECISIONS
from samclr.config.normalisation import IMAGENET
from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import from_dict, to_dict, upgraded
from samclr.errors import ConfigError, FilesError, RunError
from samclr.log import say
from samclr.models.backbone import create_backbone
from samclr.storage.files import read_json, write_bytes

CONFIG_FILE = "config.json"
CONFIG_FORMAT = 3
# What runs of older formats did where a setting's default is another today; see `settings.upgraded`.
CONFIG_ADDITIONS: dict[int, dict[str, Any]] = {2: {"model.mean": [*IMAGENET.mean], "model.std": [*IMAGENET.std]}}
_OF_HEADS = ("projector_hidden", "projector_out", "projector_norm")
CONFIG_MOVES = {3: {f"model.{name}": f"method.projector.{name}" for name in _OF_HEADS}}
CONFIG_MOVES[3] |= {
    "temperature": "method.temperature",
    "runtime.accelerator": "runtime.device",
    "runtime.devices": "runtime.num_devices",
    "runtime.num_workers": "runtime.workers",
}
CONFIG_MOVES[3] |= {f"knn.{name}": f"evaluation.{name}" for name in ("image_px", "num_train", "num_test")}
CONFIG_WORDS = {3: {"runtime.device": OLD_DEVICES, "runtime.precision": OLD_PRECISIONS}}
KEPT = 2
_NAME = re.compile(r"checkpoint-\d{8,}-[0-9a-f]{16}\.pt")
Encoder = Literal["online", "momentum"]
BACKBONE_PREFIXES: dict[Encoder, str] = {
    "online": "online_encoder.backbone.",
    "momentum": "momentum_encoder.backbone.",
}


def save_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Add a checkpoint in one move and keep the one before it: a kill leaves the old ones or the new one too.

    The file's name holds its step and its checksum.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    for left in run.glob("checkpoint*.tmp"):  # of a killed process; this one holds the run's lock
        left.unlink(missing_ok=True)
    write_bytes(run / f"checkpoint-{state['steps_done']:08d}-{_checksum(content)}.pt", content)
    paths = checkpoints(run)
    later = [path for path in paths if _step(path) > state["steps_done"]]  # damaged: this run went on from before them
    for path in later + paths[len(later) + KEPT :]:
        path.unlink(missing_ok=True)


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, newest first."""
    return sorted((path for path in run.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name)), reverse=True)


def load_checkpoint(run: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint on the CPU, or None if there is none yet. Reports a damaged one that it skips.

    Raises:
        RunError: none of the checkpoints is whole.
    """
    paths = checkpoints(run)
    for path in paths:
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # the run goes on and has removed it
            if checkpoints(run) == paths:
                raise
            return load_checkpoint(run)
        if _checksum(content) == path.stem.split("-")[2]:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        rest = paths[paths.index(path) + 1 :]
        say(f"{path} is damaged" + (f"; resuming from {rest[0].name}" if rest else ""))
    if paths:
        raise RunError(f"every checkpoint in {run} is damaged; delete them to start the run over")
    return None


def newest_step(run: Path) -> int | None:
    """Steps done by the newest whole checkpoint; None if there is none."""
    whole = (path for path in checkpoints(run) if _checksum(path.read_bytes()) == path.stem.split("-")[2])
    return next((_step(path) for path in whole), None)


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _checksum(content: bytes | memoryview) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def load_config(run: Path) -> PretrainConfig:
    """The configuration of a run. Raises RunError if there is none, or one that does not fit this version."""
    path = run / CONFIG_FILE
    if not path.exists():
        raise RunError(f"{run} is not a run directory: it has no {CONFIG_FILE}; name what `samclr pretrain --out` made")
    try:
        saved = read_json(path, {}, "restore it, or name another run directory")
    except FilesError as error:
        raise RunError(str(error)) from None
    try:
        return read_config(saved)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        version = saved.get("samclr") if isinstance(saved, dict) else None
        remedy = f"use samclr {version} for it" if version not in (None, __version__) else "it was changed by hand"
        raise RunError(
            f"{path} does not fit this samclr, {__version__} ({error}); {remedy}, or name another run directory"
        ) from None


def saved_config(config: PretrainConfig) -> dict[str, Any]:
    """A configuration as config.json and checkpoints hold it."""
    return {"samclr": __version__, "format": CONFIG_FORMAT, "config": to_dict(config)}


def read_config(saved: dict[str, Any]) -> PretrainConfig:
    """The configuration that `saved_config` of this or an older version gave.

    Raises:
        ConfigError: a newer format, or settings that do not fit. KeyError, TypeError, ValueError: not such an object.
    """
    format_number = int(saved.get("format", 1))
    if format_number > CONFIG_FORMAT:
        raise ConfigError(f"its format is {format_number}, this version reads up to {CONFIG_FORMAT}")
    return from_dict(
        PretrainConfig, upgraded(saved["config"], format_number, CONFIG_ADDITIONS, CONFIG_MOVES, CONFIG_WORDS)
    )


def load_backbone(run: "str | os.PathLike[str]", which: Encoder = "online") -> nn.Module:
    """The pre-trained backbone of a run directory, in evaluation mode: [n 3 h w] -> features [n d].

    Input is RGB from 0 to 1, normalised by `backbone.normalisation`, the mean and deviation of the run's training:
    `backbone(backbone.normalisation(pixels))` gives the features of pixels [n 3 h w] from 0 to 1.

    which: the encoder that was trained (online), or its running mean (momentum), the teacher of DINO.

    Raises:
        RunError: `run` is not a run directory, has no checkpoint yet, or its method has no momentum encoder.
    """
    run = Path(run)
    config = load_config(run)
    state = load_checkpoint(run)
    if state is None:
        raise RunError(f"{run} has no checkpoint yet; let `samclr pretrain` run until it has saved one")
    weights = backbone_weights(state["method"], which)
    if not weights:
        raise RunError(f"{run} is of {config.method.name}, which has no momentum encoder; take the online one")
    backbone = create_backbone(config.model, config.group.size_px)
    backbone.load_state_dict(weights)
    return backbone.eval()


def backbone_weights(method_weights: dict[str, Tensor], which: Encoder = "online") -> dict[str, Tensor]:
    """The backbone's part of a method's weights."""
    prefix = BACKBONE_PREFIXES[which]
    return {name.removeprefix(prefix): tensor for name, tensor in method_weights.items() if name.startswith(prefix)}
