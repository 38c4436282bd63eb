"""Checkpoints: written whole or not at all, recognised when damaged, read as data only, turned into backbones."""

import io
import os
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from samclr.config.methods import Weights, Which
from samclr.config.pretrain import PretrainConfig
from samclr.errors import RunError, UsageError
from samclr.log import option_of, say
from samclr.models.backbone import create_backbone, load_pretrained
from samclr.models.lora import merged
from samclr.models.momentum import AVERAGE
from samclr.models.restore import is_weights, load_exported
from samclr.runs.before_after import kept_weights, require_weights
from samclr.runs.saved import (
    checkpoint_checksum,
    checkpoint_step,
    checkpoints,
    load_config,
    no_checkpoint,
)
from samclr.runs.start_weights import start_model
from samclr.storage.files import remove_if_free, write_bytes

KEPT = 2
BACKBONE_PREFIXES: dict[Which, tuple[str, ...]] = {
    "student": ("online_encoder.backbone.",),
    "teacher": ("momentum_encoder.backbone.", f"{AVERAGE}."),
}
ANCHOR = "anchor.backbone."


def save_checkpoint(run: Path, state: dict[str, Any]) -> None:
    """Add a checkpoint in one move and keep the one before it: a kill leaves the old ones or the new one too.

    The file's name holds its step and its checksum.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    for left in run.glob("checkpoint*.tmp"):  # of a killed process; this one holds the run's lock
        remove_if_free(left)
    write_bytes(run / f"checkpoint-{state['steps_done']:08d}-{checkpoint_checksum(content)}.pt", content)
    paths = checkpoints(run)
    # what is later is damaged: this run went on from before it
    later = [path for path in paths if checkpoint_step(path) > state["steps_done"]]
    for path in later + paths[len(later) + KEPT :]:
        remove_if_free(path)


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
        if checkpoint_checksum(content) == path.stem.split("-")[2]:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        rest = paths[paths.index(path) + 1 :]
        say(f"{path} is damaged" + (f"; resuming from {rest[0].name}" if rest else ""))
    if paths:
        raise RunError(f"every checkpoint in {run} is damaged; delete them to start the run over")
    return None


def load_backbone(run: "str | os.PathLike[str]", which: Weights | None = None) -> nn.Module:
    """The pre-trained backbone of a run, or of its export, in evaluation mode: [n 3 h w] -> features [n d].

    Input is RGB from 0 to 1, normalised by `backbone.normalisation`, the mean and deviation of the run's training:
    `backbone(backbone.normalisation(pixels))` gives the features of pixels [n 3 h w] from 0 to 1.

    Args:
        run: a run directory (or Run), a safetensors file or a Hugging Face folder of `samclr.export`.
        which: the weights that were trained (student), or their running mean (teacher): the momentum encoder of MoCo,
            BYOL or DINO, or what `ema_decay` keeps; or what the run exports as it was at its best step (best), where it
            was measured while it trained; or those that the run began with (start): kept ones, an anchor's, else
            read again from where the run had them, if they are still the same. None takes those that the run exports
            (`config.exported`).

    Raises:
        RunError: `run` is none of these, has no checkpoint yet, or has no teacher or no best step, or the file that it
            began with has other weights now.
        ConfigError: a file that is damaged, is an ONNX file, or does not say which backbone it is of.
        UsageError: `which` is another word.
    """
    run = Path(run)
    if which not in (None, *get_args(Weights)):
        raise UsageError(f"{option_of('which')} is {which!r}; expected one of {', '.join(get_args(Weights))}")
    if is_weights(run):
        if which is not None:
            raise RunError(f"{run} holds one backbone; leave {option_of('which')} out, or name the run")
        return load_exported(run)
    config = load_config(run)
    state = load_checkpoint(run)
    if which == "start":
        kept = kept_weights(run, "start")
        return _start_of(run, config, state) if kept is None else _with_weights(config, kept)
    if state is None:
        raise no_checkpoint(run)
    require_weights(run, config, which)
    if which == "best":
        weights = kept_weights(run, "best")
        if weights is None:
            raise RunError(f"{run} has lost the weights of its best step; take others with {option_of('which')}")
        return _with_weights(config, weights)
    weights = backbone_weights(state["method"], which or config.exported)
    return _with_weights(config, merged(weights, config.model.lora_scale))


def _with_weights(config: PretrainConfig, weights: dict[str, Tensor]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if there had been none
        backbone = create_backbone(config.model, config.group.size_px)
    backbone.load_state_dict(weights)
    return backbone.eval()


def _start_of(run: Path, config: PretrainConfig, state: dict[str, Any] | None) -> nn.Module:
    """The backbone that a run began with, in evaluation mode.

    An anchor to the start holds it, whatever became of the file of weights; else its pretrained weights are read again,
    or its seed's random ones drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        backbone = create_backbone(config.model, config.group.size_px)
        if state is not None and config.anchor.anchor != "none" and config.anchor.anchor_of == "start":
            found = state["method"].items()
            held = {name.removeprefix(ANCHOR): one for name, one in found if name.startswith(ANCHOR)}
            backbone.load_state_dict(merged(held, config.model.lora_scale))
        else:
            load_pretrained(backbone, start_model(run, config.model))
    return backbone.eval()


def backbone_weights(method_weights: dict[str, Tensor], which: Which = "student") -> dict[str, Tensor]:
    """The backbone's part of a method's weights, updates of LoRA by themselves; empty where there is no such part."""
    for prefix in BACKBONE_PREFIXES[which]:
        found = {name.removeprefix(prefix): one for name, one in method_weights.items() if name.startswith(prefix)}
        if found:
            return found
    return {}
