"""List the images of folders, data sets, Parquet files, tar shards and object storage.

Every image has an id that is the same on every machine: its path relative to the source; for one of many in a
file `file.parquet#row` or `file.tar#member`. With several sources, the source's name comes first.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from samclr.config.pretrain import DataConfig
from samclr.datasets.hub import fetch
from samclr.datasets.layouts import list_named, refuse_labels_as_scenes, refuse_labels_listed
from samclr.datasets.names import as_hub, as_named
from samclr.datasets.scene_lists import as_list, left_in, picked, without_lists
from samclr.errors import FilesError, ScenesError, name_some
from samclr.log import option_of, say_once
from samclr.scenes.containers import PARQUET_SUFFIX, TAR_SUFFIX, list_file
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import SceneRef, image_suffixes, portable, relative_id, walk
from samclr.scenes.remote import as_uri, list_remote
from samclr.storage.files import read_json

PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
MADE_FOLDERS = (("run directory", ("config.json", "metrics.jsonl")), ("study", ("study.json", "runs")))


def list_scenes(sources: Sequence[Path], image_column: str | None = None) -> list[SceneRef]:
    """List every image of the sources, in the order of their ids; report once what was skipped or had to be chosen.

    image_column: the column of Parquet files that holds the images; by default as `parquet.choose_column` has it.

    A sub-folder that cannot be listed, or a file of many images that cannot be opened, is listed as one image that
    will fail when read: it becomes a row with its error like any other broken file. A tar is read where it is named,
    or where a folder holds nothing else.

    Raises:
        ScenesError: a source does not exist, or holds no image; or no Parquet file has the `image_column`.
    """
    refuse_missing(sources)
    notes = ListingNotes()
    refs = _list_all(sources, image_column, notes)
    refs.sort(key=lambda ref: ref.image_id)
    twice = [a.image_id for a, b in itertools.pairwise(refs) if a.image_id == b.image_id]
    if twice:
        raise ScenesError(f"two images have the same id: {name_some(twice)}; rename one of the files")
    if image_column is not None and not notes.num_parquet:
        raise ScenesError(
            f"no Parquet file among the scenes has a column {image_column}: there are no Parquet files; "
            f"leave out {option_of('image_column')}"
        )
    for line in notes.lines():
        say_once(line)
    return refs


def list_data(data: DataConfig) -> list[SceneRef]:
    """The scenes of a run, less those that it excludes. Raises ScenesError as `list_scenes` and `left_in` do."""
    refs = list_scenes(data.scenes, data.image_column)
    return refs if data.exclude is None else left_in(refs, data.exclude)


def _list_all(sources: Sequence[Path], image_column: str | None, notes: ListingNotes) -> list[SceneRef]:
    """The images of all sources, source by source, with the ids that they have together."""
    names = _source_names(sources)
    _say_nested(sources)
    refs: list[SceneRef] = []
    for source, name in zip(sources, names, strict=True):
        found = list(_list_source(source, image_column, notes))
        if not found:
            raise ScenesError(
                f"no image under {source}: looked in all its sub-folders for {name_some([*image_suffixes()])} "
                f"suffixes of images, {PARQUET_SUFFIX} and {TAR_SUFFIX}; name a folder that holds some"
                + "".join(f" ({line})" for line in notes.lines())
            )
        refs += found if len(sources) == 1 else [replace(ref, image_id=f"{name}/{ref.image_id}") for ref in found]
    return refs


def refuse_missing(sources: Sequence[Path]) -> None:
    """Raise ScenesError if none are given, or a local one is not there: a look at names, before all are listed."""
    if not sources:
        raise ScenesError("no scenes were given: name at least one folder of images or Parquet file")
    for source in without_lists(sources):
        if as_named(source) is None and as_hub(source) is None and as_uri(source) is None and not source.exists():
            raise ScenesError(
                f"no such folder or file: {source}; expected a folder of images, a Parquet file or tar shard, "
                f"or a data set as NAME@ROOT (samclr data list)"
            )


def _say_nested(sources: Sequence[Path]) -> None:
    """Say which sources lie inside another one, or are given twice: their images are listed twice."""
    local = [source.resolve() for source in sources if as_uri(source) is None and source.exists()]
    local = [source for source in local if as_list(source) is None]
    for number, inner in enumerate(local):
        if inner in local[:number]:
            say_once(f"{inner} is given twice: its images are listed twice")
        elif outer := next((other for other in local if other != inner and inner.is_relative_to(other)), None):
            say_once(f"{inner} lies inside {outer}, which is given too: its images are listed twice")


def _source_names(sources: Sequence[Path]) -> list[str]:
    names: list[str] = []
    for source in sources:
        base = _source_name(source)
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}-{count}"
        names.append(name)
    return names


def _source_name(source: Path) -> str:
    listed = as_list(source)
    if listed is not None:  # of one source, so that its images have the ids that they have without the list
        return _source_name(listed.scenes[0]) if len(listed.scenes) == 1 else portable(listed.file.stem)
    hub, named = as_hub(source), as_named(source)
    if hub is not None:
        return f"{hub.repo.split('/')[1]}-{hub.split}"
    return f"{named.data_set.name}-{named.split}" if named is not None else portable(source.resolve().name) or "root"


def _list_source(source: Path, column: str | None, notes: ListingNotes) -> Iterator[SceneRef]:
    listed = as_list(source)
    if listed is not None:
        yield from picked(_list_all(listed.scenes, column, notes), listed.file)
        return
    uri, hub, named = as_uri(source), as_hub(source), as_named(source)
    if named is not None:
        yield from list_named(named, notes)
    elif hub is not None:
        for file, path in fetch(hub).items():
            yield from list_file(SceneRef(image_id=portable(file), path=str(path)), column, notes)
    elif uri is not None:
        yield from _list_remote(uri, column, notes)
    elif source.is_dir():
        yield from _list_folder(source, column, notes)
    else:
        yield from _list_one(source, column, notes)


def _list_remote(uri: str, column: str | None, notes: ListingNotes) -> Iterator[SceneRef]:
    files = [
        SceneRef(image_id=remote.relative, path=remote.uri, stamp=(remote.size, remote.mtime_ns))
        for remote in list_remote(uri)
    ]
    refuse_labels_listed(uri, [ref.image_id for ref in files])
    taken = set(_of_one_kind([ref.path for ref in files]))
    notes.pass_over(ref.path for ref in files if ref.path not in taken)
    for ref in files:
        if ref.path in taken:
            yield from list_file(ref, column, notes)


def _of_one_kind(paths: Sequence[str]) -> list[str]:
    """The images and Parquet files among files, where there are none the tars."""
    plain = [path for path in paths if path.lower().endswith((*image_suffixes(), PARQUET_SUFFIX))]
    return plain or [path for path in paths if path.lower().endswith(TAR_SUFFIX)]


def _list_one(source: Path, column: str | None, notes: ListingNotes) -> Iterator[SceneRef]:
    if not source.is_file():
        raise ScenesError(f"{source} is a pipe, a socket or a device; expected a folder or a regular file")
    if source.name.lower().endswith(PACKED_TARS):
        raise ScenesError(f"{source} is a compressed tar, which does not support random access; unpack it to a .tar")
    if not source.name.lower().endswith((*image_suffixes(), PARQUET_SUFFIX, TAR_SUFFIX)):
        raise ScenesError(
            f"{source} is neither an image nor a Parquet file: expected a folder, a {PARQUET_SUFFIX} or {TAR_SUFFIX} "
            f"file, or an image ({name_some([*image_suffixes()])} suffixes)"
        )
    yield from list_file(SceneRef(image_id=portable(source.name), path=str(source)), column, notes)


def _refuse_own_folder(source: Path) -> None:
    """Raise ScenesError for a folder that samclr made: its Parquet files and pictures are not scenes."""
    made = next((kind for kind, names in MADE_FOLDERS if all((source / name).exists() for name in names)), None)
    try:
        kind = read_json(source / "manifest.json", {}).get("kind")
        made = kind if kind in ("region store", "scene bank") else made
    except (FilesError, AttributeError):  # somebody else's manifest
        pass
    if made is not None:
        raise ScenesError(f"{source} is a {made}, not scenes; name the folder of images that it was made from")


def _list_folder(source: Path, column: str | None, notes: ListingNotes) -> Iterator[SceneRef]:
    if not os.access(source, os.R_OK | os.X_OK):
        raise ScenesError(f"{source} cannot be listed (permission denied); see to its permissions")
    _refuse_own_folder(source)
    refuse_labels_as_scenes(source)
    unreadable: list[str] = []
    others: list[str] = []
    paths = list(walk(source, (*image_suffixes(), PARQUET_SUFFIX, TAR_SUFFIX), unreadable, others))
    taken = _of_one_kind(paths)
    if len(taken) < len(paths):  # a tar beside images is somebody's archive
        others += [path for path in paths if path.lower().endswith(TAR_SUFFIX)]
    notes.pass_over(others)
    for path in taken:
        yield from list_file(SceneRef(image_id=relative_id(path, source), path=path), column, notes)
    for path in unreadable:
        yield SceneRef(image_id=relative_id(path, source) + "/", path=path)
