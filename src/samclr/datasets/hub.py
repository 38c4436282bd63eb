"""Data sets of the Hugging Face hub: the Parquet files of one split, fetched once by huggingface_hub.

A set that keeps other files on its main branch is read from the branch on which the hub keeps it as Parquet. What was
fetched is noted in the cache with its commit, so later runs need no network and see the same images.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samclr.config.cache import cache_folder
from samclr.datasets.names import EVERY_SPLIT, HubSource
from samclr.errors import FilesError, SamclrError, ScenesError, name_some
from samclr.log import option_of, say, say_once, tell
from samclr.storage.files import confined, read_json, write_json

BRANCHES = ("main", "refs/convert/parquet")


def fetch(source: HubSource) -> dict[str, Path]:
    """The Parquet files of a split on this machine, by their paths in the data set.

    Raises:
        ScenesError: the hub cannot be reached, has no such set, or the set has no Parquet file of that split.
        FilesError: a file of the set has a name that leads out of its folder.
    """
    note = cache_folder() / "hub" / f"{source.repo.replace('/', '--')}-{source.split}.json"
    try:
        known = read_json(note, None)
        if known is not None:
            found = {file: confined(Path(known["folder"]), file) for file in known["files"]}
            found = {file: path for file, path in found.items() if is_of_split(file, source.split)}  # older had more
            if found and all(path.exists() for path in found.values()):
                _say_configurations(source, found)
                return found
    except (OSError, KeyError, TypeError, FilesError) as error:
        say(f"{note} is damaged and is being rebuilt ({error})")
    try:
        folder, files, commit = _download(source)
        found = {file: confined(folder, file) for file in files}
    except SamclrError:
        raise
    except Exception as error:  # no network, no such set, a gated one: whatever the hub's client raises
        raise ScenesError(
            f"the data set {source.repo} cannot be fetched from the Hugging Face hub ({type(error).__name__}); without "
            f"a network, fetch its Parquet files on another machine and name their folder: {option_of('scenes')} DIR"
        ) from error
    write_json(note, {"repo": source.repo, "commit": commit, "folder": str(folder), "files": files})
    _say_configurations(source, found)
    return found


def _download(source: HubSource) -> tuple[Path, list[str], str]:
    import huggingface_hub

    offered: list[str] = []
    for branch in BRANCHES:
        try:
            info: Any = huggingface_hub.HfApi().dataset_info(source.repo, revision=branch, files_metadata=True)
        except huggingface_hub.errors.RevisionNotFoundError:
            continue
        sizes = {file.rfilename: file.size or 0 for file in info.siblings if file.rfilename.endswith(".parquet")}
        offered += list(sizes)
        files = sorted(file for file in sizes if is_of_split(file, source.split))
        if files:
            tell(f"fetching {len(files)} Parquet files of {source.repo}, {sum(sizes[f] for f in files) / 1e9:.2f} GB")
            folder = huggingface_hub.snapshot_download(
                source.repo, repo_type="dataset", revision=info.sha, allow_patterns=files
            )
            return Path(folder), files, info.sha
    raise ScenesError(
        f"{source.repo} has no Parquet file of the split {source.split}; found {name_some(offered) or 'none'}: "
        f"type hub:{source.repo}:SPLIT, or hub:{source.repo}:{EVERY_SPLIT} for every file"
    )


def is_of_split(file: str, split: str) -> bool:
    """Whether a Parquet file's path is of a split, at any depth: train-*.parquet, train_0.parquet, train.parquet or
    train/*.parquet; train_extra-*.parquet is of another."""
    return split == EVERY_SPLIT or _configuration(file, split) is not None


def _configuration(file: str, split: str) -> str | None:
    """The folders above what a path calls by its split, "" where there are none; None of a file of another split."""
    parts = file.split("/")
    named = (number for number, part in enumerate(parts) if re.fullmatch(rf"{re.escape(split)}(([-.]|_\d).*)?", part))
    first = next(named, None)
    return None if first is None else "/".join(parts[:first])


def _say_configurations(source: HubSource, files: Iterable[str]) -> None:
    """Say that a split's files lie in several folders, as those of several configurations do: all are read."""
    if source.split != EVERY_SPLIT:
        folders = sorted({_configuration(file, source.split) or "." for file in files})
        if len(folders) > 1:
            say_once(
                f"{source.repo} has the split {source.split} in {len(folders)} folders, and all are read: "
                f"{name_some(folders)}; for one of them fetch its Parquet files and name their folder: "
                f"{option_of('scenes')} DIR"
            )
