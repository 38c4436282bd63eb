"""What a source given to --scenes or --on means: a path, a data set by name, or one of the Hugging Face hub.

A path that exists is always that path, also to a list of images (samclr.datasets.scene_lists). Else
`NAME[:SPLIT][@ROOT]` is a data set of the catalogue, and `hub:OWNER/NAME[:SPLIT]` or
`hf://datasets/OWNER/NAME[:SPLIT]` one of the hub.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from samclr.config.pretrain import DataConfig
from samclr.datasets.catalogue import DATASETS, DataSetSpec
from samclr.datasets.scene_lists import as_list
from samclr.errors import ScenesError, did_you_mean, name_some
from samclr.scenes.remote import as_uri

DATA_VARIABLE = "SAMCLR_DATA"
EVERY_SPLIT = "all"
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(:(?P<split>[A-Za-z0-9_]+))?(@(?P<root>.+))?")
_HUB = re.compile(r"(hub:|hf:/+datasets/)(?P<repo>[\w.-]+/[\w.-]+)(:(?P<split>[\w-]+))?")


@dataclass(frozen=True, kw_only=True)
class NamedSource:
    """A split of a data set of the catalogue. root: as given, or what $SAMCLR_DATA leads to. is_stated: whether the
    split was typed, and not the one that NAME@ROOT means."""

    data_set: DataSetSpec
    split: str
    root: Path
    is_stated: bool = False

    def spec(self) -> str:
        """What a user types for it."""
        return f"{self.data_set.name}:{self.split}@{self.root}"


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A data set of the Hugging Face hub. split: whose Parquet files are read, or `all`."""

    repo: str
    split: str


def as_named(source: Path) -> NamedSource | None:
    """The data set that a source names; None if it is a path or another kind of source.

    Raises:
        ScenesError: the name or the split is unknown, or no root is given and $SAMCLR_DATA holds none.
    """
    found = parse_named(source)
    if found is None:
        return None
    data_set, split, root = found
    typed = _NAMED.fullmatch(str(source))
    is_stated = typed is not None and typed["split"] is not None
    return NamedSource(data_set=data_set, split=split, root=find_root(data_set, root), is_stated=is_stated)


def parse_named(source: Path) -> tuple[DataSetSpec, str, Path | None] | None:
    """As as_named, whether or not the root is there: set, split, and the root as given. Raises ScenesError."""
    found = _NAMED.fullmatch(str(source))
    if found is None or os.path.lexists(source):
        return None
    name, split, root = found["name"], found["split"], found["root"]
    if name not in DATASETS:
        if root is None:
            return None  # a path that does not exist
        hint = did_you_mean(name, DATASETS, otherwise="give NAME[:SPLIT]@ROOT with a name from `samclr data list`")
        raise ScenesError(f"{source} does not exist, and no data set is called {name}{hint}")
    data_set = DATASETS[name]
    split = split or data_set.scene_split
    if data_set.split(split) is None:
        known = ", ".join(known.name for known in data_set.splits)
        raise ScenesError(f"{data_set.title} has no split {split}; it has {known}: type {name}:{data_set.scene_split}")
    return data_set, split, Path(root).expanduser() if root else None


def refuse_split(named: NamedSource, task: str, trained: Sequence[str], tested: str) -> None:
    """Raise ScenesError where a split is stated that a task on the set does not train on; none are `trained` where it
    only tests."""
    if not named.is_stated or named.split in (trained or (tested,)):
        return
    name, root = named.data_set.name, named.root
    typed = [f"{name}@{root}", *(f"{name}:{split}@{root}" for split in trained[1:])]
    raise ScenesError(
        f"{named.data_set.title} is {'trained on ' * bool(trained)}{' or '.join(trained)}{' and ' * bool(trained)}"
        f"tested on {tested} for {task}; type {' or '.join(typed)} instead of {name}:{named.split}"
    )


def find_root(data_set: DataSetSpec, root: Path | None) -> Path:
    """The folder that holds what `data_set.holds` names: the root given, or a folder of the set's name in it.

    Raises:
        ScenesError: there is none, or it is another set's.
    """
    variable = os.environ.get(DATA_VARIABLE)
    if root is None and variable is None:
        raise ScenesError(
            f"{data_set.name} needs its root: type {data_set.name}@DIR, "
            f"or set ${DATA_VARIABLE} to the folder that holds it"
        )
    bases = [root] if root is not None else [Path(str(variable)) / data_set.name, Path(str(variable))]
    for base in bases:
        for candidate in (base, *(base / folder for folder in data_set.folders)):
            if data_set.is_in(candidate):
                if why := data_set.why_other(candidate):
                    raise ScenesError(f"{candidate} is not a root of {data_set.title}: {why}")
                return candidate
    base = bases[-1]
    if not base.is_dir():
        raise ScenesError(f"{base} is not a folder; expected the root of {data_set.title}, with {data_set.layout}")
    for folder in (base, base / "data"):
        if folder.is_dir() and any(folder.glob("*.parquet")):
            raise ScenesError(
                f"{base} is not a root of {data_set.title}: it holds Parquet files, not {data_set.layout}; "
                f"to read those, type the folder alone: {folder}"
            )
    raise ScenesError(
        f"{base} is not a root of {data_set.title}: expected {base / data_set.holds} or "
        f"{base / data_set.folders[0] / data_set.holds}; found {name_some(sorted(os.listdir(base))) or 'nothing'}"
        f"{parts_advice(base / data_set.holds)}; samclr data check {data_set.name} --root DIR tells where to get it"
    )


def parts_advice(folder: Path) -> str:
    """What to do where a folder is not there and its parts are, as train_0 to train_f of Open Images' archives."""
    parts = sorted(path.name for path in folder.parent.glob(f"{folder.name}_[0-9a-f]") if path.is_dir())
    if not parts:
        return ""
    return (
        f"; it lies in parts, {name_some(parts)}: move their images into {folder}, or make links to these folders there"
    )


def as_hub(source: Path) -> HubSource | None:
    """The data set of the hub that a source names, None if it names none. Raises ScenesError for a malformed one."""
    text = source.as_posix()  # Windows' Path turns the slash of OWNER/NAME round
    if not text.startswith(("hub:", "hf:")) or os.path.lexists(source):
        return None
    found = _HUB.fullmatch(text)
    if found is None:
        raise ScenesError(
            f"{text} is not a data set of the Hugging Face hub; type hub:OWNER/NAME or hub:OWNER/NAME:SPLIT"
        )
    return HubSource(repo=found["repo"], split=found["split"] or "train")


def absolute(source: Path) -> Path:
    """The source with its root as an absolute path; a URI and a set of the hub as they are."""
    if as_uri(source) is not None or as_hub(source) is not None:
        return source
    listed = as_list(source)
    if listed is not None and not os.path.lexists(source):
        return Path(f"{listed.file.absolute()}@{absolute(listed.scenes[0])}")
    named = as_named(source)
    if named is None:
        return source.absolute()
    return Path(NamedSource(data_set=named.data_set, split=named.split, root=named.root.absolute()).spec())


def absolute_measured(source: Path) -> Path:
    """As `absolute`, of a set to measure on, which stays without a split where none is stated: see `refuse_split`."""
    named = as_named(source)
    if named is None or named.is_stated:
        return absolute(source)
    return Path(f"{named.data_set.name}@{named.root.absolute()}")


def absolute_data(data: DataConfig) -> DataConfig:
    """What a run reads, with absolute paths."""
    return replace(
        data,
        scenes=tuple(map(absolute, data.scenes)),
        regions=data.regions and data.regions.absolute(),
        bank=data.bank and data.bank.absolute(),
        exclude=data.exclude and data.exclude.absolute(),
    )


def scene_paths(scenes: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """One source of scenes or several, as `absolute` has them."""
    several = [scenes] if isinstance(scenes, str | Path) else scenes
    return tuple(absolute(Path(source)) for source in several)


def local_folder(source: Path) -> Path | None:
    """The folder or file on this machine that a source reads, resolved; None if there is none."""
    if as_uri(source) is not None or as_hub(source) is not None:
        return None
    named = as_named(source)
    return (source if named is None else named.root).resolve()


def source_key(source: Path) -> str:
    """A text for what a source means, the same from wherever it is typed."""
    folder = local_folder(source)
    if folder is None:
        return str(as_uri(source) or source)
    named = as_named(source)
    return str(folder) if named is None else f"{named.data_set.name}:{named.split}@{folder}"


def short_name(source: Path) -> str:
    """A name for a source that fits into a file name."""
    hub, named = as_hub(source), as_named(source)
    if hub is not None:
        return hub.repo.replace("/", "--")
    return source.resolve().name if named is None else f"{named.data_set.name}-{named.split}"
