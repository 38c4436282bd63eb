"""The file of weights that a run began with, noted in summary.json: where it lay, and the fingerprint of its tensors.

A path may hold other weights later; `start` never means those.
"""

from dataclasses import replace
from pathlib import Path

from samclr.config.model import ModelConfig
from samclr.errors import RunError
from samclr.log import option_of
from samclr.models.fingerprints import tensors_fingerprint
from samclr.models.weights import open_weights
from samclr.models.weights_files import TIMM, located
from samclr.runs.directory import SUMMARY_FILE
from samclr.storage.files import read_json, write_json

NOTE = "pretrained"  # the key in summary.json


def note_start(run: Path, model: ModelConfig) -> None:
    """Note the weights that a run begins with; nothing where they are timm's, or random.

    Raises:
        ConfigError: they cannot be had or read.
    """
    if model.pretrained in (None, TIMM):
        return
    place = located(str(model.pretrained)).absolute()
    note = {"path": str(place), "fingerprint": tensors_fingerprint(open_weights(place).tensors)}
    write_json(run / SUMMARY_FILE, read_json(run / SUMMARY_FILE, {}) | {NOTE: note}, sealed=True)


def start_model(run: Path, model: ModelConfig) -> ModelConfig:
    """The settings that name the weights which a run began with; of runs that noted none, as they stand.

    Raises:
        RunError: the file has other weights since. ConfigError: it cannot be had or read.
    """
    note = read_json(run / SUMMARY_FILE, {}).get(NOTE)
    if note is None:
        return model
    place = Path(note["path"])
    place = place if place.exists() else located(str(model.pretrained))
    found = tensors_fingerprint(open_weights(place).tensors)
    if found != note["fingerprint"]:
        raise RunError(
            f"{place} holds other weights than those that {run} began with (fingerprint {note['fingerprint']}, now "
            f"{found}); restore them, or take others with {option_of('which')}"
        )
    return replace(model, pretrained=str(place))
