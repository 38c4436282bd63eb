"""Images in object storage (s3://, gs://, abfs://, hdfs://, and file:// for trials), by Arrow's file systems.

Credentials come from the environment, as each provider's own tools take them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from samclr.errors import ScenesError
from samclr.scenes.refs import is_hidden

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "file")
_URI = re.compile(rf"({'|'.join(SCHEMES)}):/+(.*)")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One listed object: its URI, its path below what was listed, and what tells whether it was replaced."""

    uri: str
    relative: str
    size: int
    mtime_ns: int


def as_uri(source: Path | str) -> str | None:
    """The URI that a source means, None for a local path. (`Path` folds the two slashes of s3:// into one.)"""
    found = _URI.match(source.as_posix() if isinstance(source, PurePath) else source)  # as_posix: on Windows, too
    if found is None:
        return None
    scheme, rest = found.groups()
    return f"file:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def list_remote(uri: str) -> Iterator[RemoteFile]:
    """Every object below a URI but hidden ones, or the one it names.

    Raises ScenesError if there is none or it cannot be reached.
    """
    from pyarrow import fs

    system, path = _open(uri)
    root = uri[: len(uri) - len(path)] if uri.endswith(path) else uri.split("://")[0] + "://"
    try:
        info = system.get_file_info(path)
        files = (
            [info]
            if info.type == fs.FileType.File
            else system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        )
    except OSError as error:
        raise ScenesError(f"cannot list {uri}: {error}") from None
    for file in files:
        if file.type != fs.FileType.File:
            continue
        is_named = file.path == path
        relative = file.base_name if is_named else file.path[len(path) :].lstrip("/")
        if is_named or not is_hidden(relative):
            yield RemoteFile(uri=root + file.path, relative=relative, size=file.size or 0, mtime_ns=file.mtime_ns or 0)


def read_remote(uri: str) -> bytes:
    """The bytes of one object. Raises OSError."""
    system, path = _open(uri)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read())


def open_remote(uri: str) -> "pa.NativeFile":
    """One object, opened for random access. Raises OSError."""
    system, path = _open(uri)
    return system.open_input_file(path)


@lru_cache(maxsize=8)
def _system(root: str) -> "fs.FileSystem":
    from pyarrow import fs

    return fs.FileSystem.from_uri(root)[0]


def _open(uri: str) -> "tuple[fs.FileSystem, str]":
    scheme, rest = uri.split("://", 1)
    try:
        if scheme == "file":
            return _system("file:///"), rest
        return _system(f"{scheme}://{rest.split('/', 1)[0]}"), rest
    except (OSError, ValueError) as error:
        raise ScenesError(f"cannot open {uri}: {error}") from None
