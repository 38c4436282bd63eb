"""What is named to be measured, and what on, opened before torch is imported: a wrong name is refused at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samclr.config.kinds import KINDS, Kind, kinds_that_take, named_sets
from samclr.config.methods import Weights
from samclr.config.registry import resolve
from samclr.datasets.labelled_scenes import LabelledScenes, open_labelled_scenes
from samclr.datasets.names import as_named
from samclr.datasets.set_names import name_of_set
from samclr.errors import EvaluationError, UsageError
from samclr.log import option_of
from samclr.models.hub import is_hub_id
from samclr.models.names import may_be_backbone
from samclr.models.weights_files import ONNX, is_weights_folder, weights_file
from samclr.runs.before_after import require_weights
from samclr.runs.saved import CONFIG_FILE, load_config, require_run


@dataclass(frozen=True, kw_only=True)
class DenseSet:
    """A set with a class for each pixel. name: with the split that is trained on, where that is not the usual one."""

    name: str
    train: LabelledScenes
    test: LabelledScenes


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A target that is there, and the sets to measure it on by their kind, opened."""

    target: str
    untrained: bool
    which: Weights | None = None
    sets: dict[Kind, list[Any]]


def open_inputs(
    target: str,
    *,
    sets: Mapping[Kind, Sequence[Path]],
    untrained: bool = False,
    download: bool = False,
    image_column: str | None = None,
    which: Weights | None = None,
) -> Inputs:
    """See that the target is there, and open all sets, given by their kind.

    Raises:
        UsageError: nothing to measure on.
        EvaluationError: a set is wrong. ConfigError, RunError, EvaluationError: as `check_target`.
    """
    if not any(sets.values()):
        raise UsageError(f"nothing to measure on: name {named_sets(KINDS.values())}")
    check_target(target, untrained, which)
    asked = {"download": download, "image_column": image_column}
    opened = {kind: open_sets(kind, sets.get(kind, ()), asked) for kind in KINDS}
    _check_column(opened, image_column)
    return Inputs(target=target, untrained=untrained, which=which, sets=opened)


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


def open_sets(kind: Kind, sets: Sequence[Path], asked: Mapping[str, Any]) -> list[Any]:
    """Open sets of a kind, so that a wrong one is reported before any is measured. asked: download, image_column.

    Raises EvaluationError.
    """
    opens, taken = resolve(KINDS[kind].opens), {name: asked[name] for name in KINDS[kind].takes}
    return [opens(path, **taken) for path in sets]


def open_dense_set(path: Path) -> DenseSet:
    """Open a set with label maps. Raises EvaluationError."""
    train, test = open_labelled_scenes(path)
    name, named = name_of_set(path, lambda one: one.pixel_classes, train.own), as_named(path)
    splits = named.data_set.dense_splits if named is not None else None
    if named is not None and splits is not None and named.split in splits[0][1:]:
        name = f"{name}:{named.split}"
    return DenseSet(name=name, train=train, test=test)


def _check_column(opened: Mapping[Kind, Sequence[Any]], image_column: str | None) -> None:
    """Raise EvaluationError where a column is named, and no set that is opened with it has Parquet files."""
    some = [one for kind in kinds_that_take("image_column") for one in opened[kind.name]]
    if some and image_column is not None and not any(one.test.refs[0].path.endswith(".parquet") for one in some):
        raise EvaluationError(
            f"no set has a Parquet column {image_column}, as none has Parquet files; "
            f"leave out {option_of('image_column')}"
        )
