"""What is named to be measured, and what on, opened before torch is imported: a wrong name is refused at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samclr.config.methods import Weights
from samclr.datasets.labelled import LabelledSet, open_labelled
from samclr.datasets.labelled_scenes import LabelledScenes, open_labelled_scenes
from samclr.datasets.names import as_named
from samclr.errors import EvaluationError, UsageError
from samclr.log import option_of
from samclr.models.hub import is_hub_id
from samclr.models.names import may_be_backbone
from samclr.models.weights_files import ONNX, is_weights_folder, weights_file
from samclr.runs.before_after import require_weights
from samclr.runs.saved import CONFIG_FILE, load_config, require_run


@dataclass(frozen=True, kw_only=True)
class DenseSet:
    """A set with a class for each pixel."""

    name: str
    train: LabelledScenes
    test: LabelledScenes


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A target that is there, and the sets to measure it on, opened."""

    target: str
    untrained: bool
    which: Weights | None = None
    sets: list[LabelledSet]
    dense_sets: list[DenseSet]


def open_inputs(
    target: str,
    *,
    on: Sequence[Path],
    dense_on: Sequence[Path],
    untrained: bool = False,
    download: bool = False,
    image_column: str | None = None,
    which: Weights | None = None,
) -> Inputs:
    """See that the target is there, and open all sets.

    Raises:
        UsageError: nothing to measure on.
        EvaluationError, ConfigError, RunError: as `check_target` and `open_sets`.
    """
    if not on and not dense_on:
        raise UsageError(
            f"nothing to measure on: name labelled sets with {option_of('on')}, "
            f"or sets with label maps with {option_of('dense_on')}"
        )
    check_target(target, untrained, which)
    sets, dense_sets = open_sets(on, download, image_column), open_dense_sets(dense_on)
    return Inputs(target=target, untrained=untrained, which=which, sets=sets, dense_sets=dense_sets)


def is_run(path: Path) -> bool:
    """Whether it is a run directory; a folder of weights has a config.json of another kind."""
    return (path / CONFIG_FILE).exists() and not is_weights_folder(path)


def check_target(name: str, untrained: bool, which: Weights | None = None) -> None:
    """See that the run, the file (of weights or ONNX) or the timm model is there, as far as no model need be built.

    Whether the hub has a model is asked when it is opened.

    Raises:
        EvaluationError: the name is none of these, or `which` is asked for of something else than a trained run.
        ConfigError: a folder without weights.
        RunError: the run has no checkpoint, no teacher or no best step, or its configuration cannot be read.
    """
    path = Path(name)
    if which is not None and (untrained or not is_run(path)):
        what = "an untrained backbone" if untrained else f"{name}, which is not a run,"
        raise EvaluationError(f"{what} has one set of weights; leave {option_of('which')} out")
    if is_run(path):
        (load_config if untrained or which == "start" else require_run)(path)
        require_weights(path, load_config(path), which)
    elif path.exists():
        if path.suffix != ONNX:
            weights_file(path)
    elif not may_be_backbone(name) and not is_hub_id(name):
        raise EvaluationError(f"{name} is not a run directory, a file of weights or a timm model; check the spelling")


def open_sets(sets: Sequence[Path], download: bool = False, image_column: str | None = None) -> list[LabelledSet]:
    """Open labelled sets, so that a wrong one is reported before any is measured. Raises EvaluationError."""
    opened = [open_labelled(path, download, image_column) for path in sets]
    if opened and image_column is not None and not any(one.test.refs[0].path.endswith(".parquet") for one in opened):
        raise EvaluationError(
            f"no set has a Parquet column {image_column}, as none has Parquet files; "
            f"leave out {option_of('image_column')}"
        )
    return opened


def open_dense_sets(sets: Sequence[Path]) -> list[DenseSet]:
    """Open sets with label maps, so that a wrong one is reported before any is measured. Raises EvaluationError."""
    splits = [open_labelled_scenes(path) for path in sets]
    return [
        DenseSet(name=_set_name(path), train=train, test=test) for path, (train, test) in zip(sets, splits, strict=True)
    ]


def _set_name(path: Path) -> str:
    named = as_named(path)
    return path.resolve().name if named is None else named.data_set.name
