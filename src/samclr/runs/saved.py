"""What a run directory says of itself without torch: its configuration, and which checkpoints it has."""

import hashlib
import re
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.devices import OLD_DEVICES, OLD_PRECISIONS
from samclr.config.methods import Weights
from samclr.config.normalisation import IMAGENET
from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import from_dict, to_dict, upgraded
from samclr.errors import ConfigError, FilesError, RunError
from samclr.log import option_of
from samclr.storage.files import read_json

CONFIG_FILE = "config.json"
CONFIG_FORMAT = 4
# What runs of older formats did where a setting's default is another today; see `settings.upgraded`.
CONFIG_ADDITIONS: dict[int, dict[str, Any]] = {2: {"model.mean": [*IMAGENET.mean], "model.std": [*IMAGENET.std]}}
CONFIG_ADDITIONS[4] = {"model.exported": "student"}
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
_NAME = re.compile(r"checkpoint-\d{8,}-[0-9a-f]{16}\.pt")


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, newest first."""
    return sorted((path for path in run.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name)), reverse=True)


def has_checkpoint(run: Path) -> bool:
    """Whether the run can be resumed or measured."""
    return len(checkpoints(run)) > 0


def newest_step(run: Path) -> int | None:
    """Steps done by the newest whole checkpoint; None if there is none."""
    whole = (path for path in checkpoints(run) if checkpoint_checksum(path.read_bytes()) == path.stem.split("-")[2])
    return next((checkpoint_step(path) for path in whole), None)


def checkpoint_step(path: Path) -> int:
    """Steps done by a checkpoint, as its name says."""
    return int(path.stem.split("-")[1])


def checkpoint_checksum(content: bytes | memoryview) -> str:
    """As it stands in the checkpoint's name."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def no_checkpoint(run: Path) -> RunError:
    """The error for a run that cannot be measured yet."""
    return RunError(f"{run} has no checkpoint yet; let `samclr pretrain` run until it has saved one")


def load_config(run: Path) -> PretrainConfig:
    """The configuration of a run. Raises RunError if there is none, or one that does not fit this version."""
    path = run / CONFIG_FILE
    if not path.exists():
        why = f"it has no {CONFIG_FILE}" if run.exists() else "there is no such folder"
        raise RunError(f"{run} is not a run directory: {why}; name what `samclr pretrain --out` made")
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


def require_run(run: Path) -> None:
    """Raise RunError if there is no run whose backbone could be loaded."""
    load_config(run)
    if not has_checkpoint(run):
        raise no_checkpoint(run)


def require_teacher(run: Path, config: PretrainConfig, which: Weights | None) -> None:
    """Raise RunError if the teacher of a run is asked for that has none."""
    if which == "teacher" and not config.has_teacher:
        raise RunError(
            f"{run} was trained with {config.method.name}, which has no momentum encoder, and without "
            f"{option_of('ema_decay')}; take the student"
        )


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
