"""Folders for what is thrown away at the end of some work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samclr.storage.files import own_mark, remove_at, remove_leftovers


@contextmanager
def passing_folder(inside: Path, name: str) -> Iterator[Path]:
    """A new folder in `inside`, which is made if missing, until the block ends; that of a killed process goes with the
    next call."""
    inside.mkdir(parents=True, exist_ok=True)
    remove_leftovers(inside)
    folder = inside / f"{name}.{own_mark()}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_at(folder)
