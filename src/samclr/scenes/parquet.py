"""Images in Parquet files of the Hugging Face layout: an image column that is a struct of bytes and path."""

import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from samclr.errors import ScenesError
from samclr.scenes.remote import as_uri, open_remote, read_remote

if TYPE_CHECKING:
    import pyarrow as pa

_LOCK = threading.Lock()  # a ParquetFile must not be read by two threads at once


def num_parquet_rows(path: str, mtime_ns: int) -> int:
    """Rows of a file. Raises OSError or pyarrow's errors."""
    return int(_open_parquet(path, mtime_ns).metadata.num_rows)


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
    with _LOCK:
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
