"""List the images of folders, Parquet files and object storage, and read their bytes.

Every image has an id that is the same on every machine: its path relative to the source, or for a Parquet
row `file.parquet#row`. With several sources the source's name stands in front.
"""

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from samclr.errors import ScenesError, name_some
from samclr.scenes.remote import as_uri, list_remote, open_remote, read_remote

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
PARQUET_SUFFIX = ".parquet"
_PARQUET_LOCK = threading.Lock()  # a ParquetFile must not be read by two threads at once
ROWS_KEPT_TOGETHER = 256  # neighbouring Parquet rows share a bucket, so that a row group is read few times


@dataclass(frozen=True, kw_only=True)
class SceneRef:
    """Where one image lies. `row` is set for a row of a Parquet file, else the path is the image.

    `stamp` is that of `file_stamp` where listing told it, as it does for object storage; else the file is asked.
    """

    image_id: str
    path: str
    row: int | None = None
    stamp: tuple[int, int] | None = None

    @property
    def locality_key(self) -> str:
        """Images with equal keys are best read by one process."""
        return self.image_id if self.row is None else f"{self.path}#{self.row // ROWS_KEPT_TOGETHER}"


def list_scenes(sources: Sequence[Path]) -> list[SceneRef]:
    """List every image of the sources, in the order of their ids.

    A sub-folder that cannot be listed, or a Parquet file that cannot be opened, is listed as one image that
    will fail when read: it becomes a row with its error like any other broken file.

    Raises:
        ScenesError: a source does not exist, or holds no image.
    """
    if not sources:
        raise ScenesError("no scenes were given: name at least one folder of images or Parquet file (--scenes PATH)")
    names = _source_names(sources)
    refs: list[SceneRef] = []
    for source, name in zip(sources, names, strict=True):
        found = list(_list_source(source))
        if not found:
            raise ScenesError(
                f"no image under {source}: looked in all its sub-folders for {', '.join(IMAGE_SUFFIXES)} "
                f"and {PARQUET_SUFFIX} files; name a folder that holds some"
            )
        prefix = f"{name}/" if len(sources) > 1 else ""
        refs += [replace(ref, image_id=prefix + ref.image_id) for ref in found]
    refs.sort(key=lambda ref: ref.image_id)
    twice = [a.image_id for a, b in itertools.pairwise(refs) if a.image_id == b.image_id]
    if twice:
        raise ScenesError(f"two images have one id: {name_some(twice)}; rename one of the files")
    return refs


def read_bytes(ref: SceneRef) -> bytes:
    """Return the encoded image. Raises OSError, ValueError or pyarrow's errors for what cannot be read."""
    if ref.row is None:
        return Path(ref.path).read_bytes() if as_uri(ref.path) is None else read_remote(ref.path)
    return parquet_image_bytes(ref.path, ref.row, file_stamp(ref)[1])


def file_stamp(ref: SceneRef) -> tuple[int, int]:
    """Size in bytes and modification time in ns of the file; (0, 0) when it cannot be looked at."""
    if ref.stamp is not None:
        return ref.stamp
    try:
        stat = os.stat(ref.path)
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def content_hash(encoded: bytes) -> str:
    """128-bit BLAKE2b of the encoded image, as hex."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _source_names(sources: Sequence[Path]) -> list[str]:
    names: list[str] = []
    for source in sources:
        base = _portable(source.resolve().name) or "root"
        name, count = base, 1
        while name in names:
            count += 1
            name = f"{base}-{count}"
        names.append(name)
    return names


def _list_source(source: Path) -> Iterator[SceneRef]:
    uri = as_uri(source)
    if uri is not None:
        for remote in list_remote(uri):
            if remote.relative.lower().endswith((*IMAGE_SUFFIXES, PARQUET_SUFFIX)):
                yield from _list_file(remote.uri, remote.relative, (remote.size, remote.mtime_ns))
        return
    if source.is_file():
        if not source.name.lower().endswith((*IMAGE_SUFFIXES, PARQUET_SUFFIX)):
            raise ScenesError(
                f"{source} is no image and no Parquet file: expected a folder, a {PARQUET_SUFFIX} file, "
                f"or one of {', '.join(IMAGE_SUFFIXES)}"
            )
        yield from _list_file(str(source), _portable(source.name))
        return
    if not source.is_dir():
        raise ScenesError(f"no such folder or file: {source}; expected a folder of images or a Parquet file")
    visited: set[str] = set()
    unreadable: list[OSError] = []
    for folder, sub_folders, files in os.walk(source, followlinks=True, onerror=unreadable.append):
        real = os.path.realpath(folder)
        if real in visited:  # a link back to a folder above
            sub_folders.clear()
            continue
        visited.add(real)
        sub_folders[:] = sorted(name for name in sub_folders if not name.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and file.lower().endswith((*IMAGE_SUFFIXES, PARQUET_SUFFIX)):
                path = os.path.join(folder, file)
                yield from _list_file(path, _relative_id(path, source))
    for error in unreadable:
        path = os.fsdecode(error.filename)
        yield SceneRef(image_id=_relative_id(path, source) + "/", path=path)


def _list_file(path: str, image_id: str, stamp: tuple[int, int] | None = None) -> Iterator[SceneRef]:
    """One image, or every row of a Parquet file. `stamp` is what listing object storage told."""
    ref = SceneRef(image_id=image_id, path=path, stamp=stamp)
    if not path.lower().endswith(PARQUET_SUFFIX):
        yield ref
        return
    import pyarrow as pa

    try:
        num_rows = _open_parquet(path, file_stamp(ref)[1]).metadata.num_rows
    except (OSError, pa.ArrowException):
        yield replace(ref, row=0)
        return
    width = len(str(max(num_rows - 1, 0)))
    for row in range(num_rows):
        yield replace(ref, image_id=f"{image_id}#{row:0{width}d}", row=row)


def _relative_id(path: str, source: Path) -> str:
    return _portable(Path(os.path.relpath(path, source)).as_posix())


def _portable(name: str) -> str:
    """A file name that is no valid UTF-8 keeps its odd bytes as visible escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


# ---- Parquet in the Hugging Face layout: an image column that is a struct of bytes and path ----


def image_column(schema: "pa.Schema", path: str) -> str:
    """Name of the column whose values are structs with a `bytes` field. Raises ScenesError if there is none."""
    import pyarrow as pa

    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return str(field.name)
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            return str(field.name)
    raise ScenesError(
        f"{path} has no image column: expected a struct of bytes and path, or plain bytes; "
        f"found {', '.join(schema.names)}"
    )


def parquet_image_bytes(path: str, row: int, mtime_ns: int) -> bytes:
    """Bytes of the image in one row; an image given by its path alone is read relative to the Parquet file."""
    file = _open_parquet(path, mtime_ns)
    group, first = 0, 0
    while row >= first + file.metadata.row_group(group).num_rows:
        first += file.metadata.row_group(group).num_rows
        group += 1
    with _PARQUET_LOCK:
        images = _row_group_images(path, mtime_ns, group)
    value = images[row - first].as_py()
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            beside = os.path.join(os.path.dirname(path), value["path"])
            return Path(beside).read_bytes() if as_uri(beside) is None else read_remote(beside)
        value = value.get("bytes")
    if not value:
        raise ValueError("the row has no image bytes")
    return bytes(value)


# mtime_ns is part of the caches' keys only: a file written anew is read anew.
@lru_cache(maxsize=16)
def _open_parquet(path: str, mtime_ns: int) -> "pa.parquet.ParquetFile":
    import pyarrow.parquet as pq

    return pq.ParquetFile(path if as_uri(path) is None else open_remote(path))


@lru_cache(maxsize=4)
def _row_group_images(path: str, mtime_ns: int, group: int) -> "pa.ChunkedArray":
    file = _open_parquet(path, mtime_ns)
    column = image_column(file.schema_arrow, path)
    return file.read_row_group(group, columns=[column]).column(0)
