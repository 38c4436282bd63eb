"""Images in Parquet files: a column of structs of bytes and path, as Hugging Face has it, or of plain bytes.

The column is never guessed silently: `choose_column` has the rule, and reports what else there was.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samclr.errors import ScenesError
from samclr.scenes.remote import as_uri, open_remote, read_remote
from samclr.storage.files import confined, regular

if TYPE_CHECKING:
    import pyarrow as pa

USUAL_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixels", "image_bytes", "bytes")
OTHER_WORDS = ("mask", "seg", "label", "annot", "depth", "hash", "md5", "sha", "thumb", "edge", "normal", "cond")
ROWS_TRIED = 16  # of a column, to see whether it holds images
MAX_RATIO, RATIO_FROM_BYTES = 100, 1 << 30  # of what a row group holds to the file's bytes: images do not shrink
_LOCK = threading.Lock()  # a ParquetFile must not be read by two threads at once


@dataclass(frozen=True, kw_only=True)
class ImageColumn:
    """The column that holds a file's images.

    Attributes:
        name: the column.
        others: columns that could be meant as well.
        is_first: the one that samclr 0.1 took, the first of bytes; ids of its rows do not name the column.
    """

    name: str
    others: tuple[str, ...]
    is_first: bool


def num_parquet_rows(path: str, mtime_ns: int) -> int:
    """Rows of a file. Raises OSError, ValueError or pyarrow's errors."""
    return int(_open_parquet(path, mtime_ns).metadata.num_rows)


@lru_cache(maxsize=256)
def choose_column(path: str, mtime_ns: int, wanted: str | None = None) -> ImageColumn:
    """The column `wanted`; else the one of Hugging Face's Image features; else one of bytes that decodes as an image.

    Of several, the one with a usual name goes first, one that is called a mask, label, depth or hash last.

    Raises:
        ScenesError: `wanted` is not there, or holds no images.
        ValueError: the file has no image column.
        OSError, pyarrow's errors: the file cannot be read.
    """
    file = _open_parquet(path, mtime_ns)
    schema = file.schema_arrow
    names = [field.name for field in schema if _may_hold_images(field.type) and schema.names.count(field.name) == 1]
    first = next((name for name in names if _is_taken_by_0_1(schema.field(name).type)), None)
    if wanted is not None:
        if wanted not in names:
            found = schema.names.count(wanted)
            state = f"it is {schema.field(wanted).type}" if found == 1 else f"{found or 'no'} columns have this name"
            raise ScenesError(
                f"{path} has no images in a column {wanted} ({state}); expected a struct of bytes and path, or bytes, "
                f"one image per row; its columns: {', '.join(schema.names)}"
            )
        return ImageColumn(name=wanted, others=(), is_first=wanted == first)
    features = features_of(schema.metadata)
    able = [name for name in names if isinstance(one := features.get(name), dict) and one.get("_type") == "Image"]
    able = able or names
    if not able:
        lists = [field.name for field in schema if _is_list(field.type)]
        hint = f" (lists of images, as {lists[0]} may be, are not supported: write one a row)" if lists else ""
        raise ValueError(
            f"{path} has no image column: expected a struct of bytes and path, or plain bytes; "
            f"found {', '.join(schema.names)}{hint}"
        )
    if len(able) > 1:
        able = [name for name in able if _decodes(file, name, path)] or able
    name = min(able, key=_strangeness)  # of equal ones the first
    return ImageColumn(name=name, others=tuple(other for other in able if other != name), is_first=name == first)


def parquet_image_bytes(path: str, row: int, mtime_ns: int, column: str | None = None) -> bytes:
    """Bytes of the image in one row; an image given by its path alone is read from the Parquet file's folder.

    Raises OSError, ValueError, FilesError for a path that leads out of the folder, or pyarrow's errors.
    """
    file = _open_parquet(path, mtime_ns)
    name, rows = column or choose_column(path, mtime_ns).name, num_parquet_rows(path, mtime_ns)
    if row >= rows:
        raise ValueError(f"the file has {rows} rows; number {row} was asked for")
    group, first = 0, 0
    while row >= first + file.metadata.row_group(group).num_rows:
        first += file.metadata.row_group(group).num_rows
        group += 1
    with _LOCK:
        images = _row_group_images(path, mtime_ns, group, name)
    return _encoded(images[row - first].as_py(), path)


def _encoded(value: Any, path: str) -> bytes:
    if isinstance(value, dict):
        inside = value.get("bytes")
        if inside is None and value.get("path"):
            return _read_beside(path, str(value["path"]))
        value = inside
    if not value:
        raise ValueError("the row has no image bytes")
    return bytes(value)


def _read_beside(path: str, name: str) -> bytes:
    if as_uri(path) is None:
        return regular(confined(Path(path).parent, name)).read_bytes()
    return read_remote(f"{path.rsplit('/', 1)[0]}/{confined(Path(), name).as_posix()}")


def _strangeness(name: str) -> int:
    plain = name.lower()
    if plain in USUAL_NAMES:
        return USUAL_NAMES.index(plain) - len(USUAL_NAMES)
    return int(any(word in plain for word in OTHER_WORDS))


def features_of(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """The features that Hugging Face's datasets wrote into a schema; empty where it did not, or not in its form."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _may_hold_images(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return _is_bytes(kind.field(index).type) if index >= 0 else kind.get_field_index("path") >= 0
    return _is_bytes(kind)


def _is_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests)


def _is_taken_by_0_1(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return has_bytes or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and _may_hold_images(kind.value_type)


def _decodes(file: "pa.parquet.ParquetFile", name: str, path: str) -> bool:
    """Whether one of the first rows is an image, by its header; also where they are all empty."""
    from samclr.scenes.images import open_image

    with _LOCK:
        values = _first_values(file, name)
    for value in values:
        try:
            with open_image(_encoded(value, path)):
                return True
        except Exception:  # no image, for whatever reason
            continue
    return not values


def _first_values(file: "pa.parquet.ParquetFile", name: str) -> Sequence[Any]:
    batches: Iterator[Any] = file.iter_batches(batch_size=ROWS_TRIED, columns=[name], use_threads=False)
    batch = next(batches, None)
    values = [] if batch is None else batch.column(name).to_pylist()
    return [value for value in values if value is not None]


# mtime_ns is part of the caches' keys only: a file written anew is read anew.
@lru_cache(maxsize=16)
def _open_parquet(path: str, mtime_ns: int) -> "pa.parquet.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pa.OSFile(str(regular(path))) if as_uri(path) is None else open_remote(path)
    file, size = pq.ParquetFile(source), source.size()
    # Single columns' metadata are not asked for: pyarrow 26 ends the process where they are damaged.
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows, held = file.metadata.num_rows, max((group.total_byte_size for group in groups), default=0)
    if rows != sum(group.num_rows for group in groups) or rows > max(size, ROWS_TRIED):
        raise ValueError(f"it claims {rows:,} rows in {size:,} bytes")
    if held > RATIO_FROM_BYTES + MAX_RATIO * size:
        raise ValueError(f"it claims {held:,} bytes in a row group, and has {size:,}")
    return file


@lru_cache(maxsize=4)
def _row_group_images(path: str, mtime_ns: int, group: int, column: str) -> "pa.ChunkedArray":
    return _open_parquet(path, mtime_ns).read_row_group(group, columns=[column]).column(column)
