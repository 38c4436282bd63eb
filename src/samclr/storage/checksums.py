"""Checksums (CRC-32) of what samclr writes, so that damage is noticed when it is read. Not a guard against malice.

Files of a cache end with a trailer (`seal`). A Parquet part has a checksum of each column's bytes and of its footer,
between the columns and the footer, where readers of Parquet look for nothing; so reading a few columns checks those
alone. JSON has a key `checksum` (`samclr.storage.files`). Files of older versions, without them, are read unchecked.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"samclr\r\n"
_TRAILER = struct.Struct("<I8s")
_CHUNK = 1 << 20
_FOOTER_END = 8  # bytes: the footer's length, PAR1


def checksum_of_file(path: Path, start: int = 0, end: int | None = None) -> int:
    """CRC-32 of a file's bytes from `start` to `end`, some megabytes in memory at a time."""
    with open(path, "rb") as file:
        return _checksum(file, start, path.stat().st_size if end is None else end)


def checksum_of_json(value: Any, parsed: bool = False) -> str:
    """Eight hex digits that change with any value of what JSON can hold.

    parsed: the value comes from JSON, with keys that are text and no tuples.
    """
    plain = value if parsed else json.loads(json.dumps(value))
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"


def checksum_of_weights(content: bytes) -> str:
    """Eight hex digits that change with any tensor, name or entry of a safetensors file but its own `checksum`.

    Raises:
        ValueError: it is not such a file.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.get("__metadata__", {}).pop("checksum", None)
    return (
        f"{zlib.crc32(memoryview(content)[8 + length :], zlib.crc32(json.dumps(header, sort_keys=True).encode())):08x}"
    )


def seal(path: Path) -> None:
    """Append the checksum of a whole file to it."""
    trailer = _TRAILER.pack(checksum_of_file(path), MAGIC)
    with open(path, "ab") as file:
        file.write(trailer)


def is_whole(path: Path) -> bool:
    """Whether the file is there and is as it was when it was sealed."""
    try:
        size = path.stat().st_size - _TRAILER.size
        if size < 0:
            return False
        with open(path, "rb") as file:
            file.seek(size)
            found, magic = _TRAILER.unpack(file.read(_TRAILER.size))
            return bool(magic == MAGIC and found == _checksum(file, 0, size))
    except (OSError, struct.error):
        return False


def size_without_seal(path: Path) -> int:
    """Bytes of a sealed file before its checksum."""
    return path.stat().st_size - _TRAILER.size


def without_seal(content: bytes) -> bytes | None:
    """The content of a sealed file, or None if it is not whole."""
    content, trailer = content[: -_TRAILER.size], content[-_TRAILER.size :]
    return content if trailer == _TRAILER.pack(zlib.crc32(content), MAGIC) else None


def write_parquet(rows: "pa.Table", path: Path) -> None:
    """Write a table with the checksums of its columns and footer. Any reader of Parquet reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    content = memoryview(sink.getvalue())
    footer = len(content) - _FOOTER_END - int.from_bytes(content[-_FOOTER_END:-4], "little")
    chunks = _chunks(pq.read_metadata(pa.BufferReader(content)))
    sums = [zlib.crc32(content[start:end]) for _, start, end in chunks] + [zlib.crc32(content[footer:])]
    with open(path, "wb") as file:
        file.write(content[:footer])
        file.write(struct.pack(f"<{len(sums)}I", *sums) + _TRAILER.pack(len(sums), MAGIC))
        file.write(content[footer:])


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> "pa.Table":
    """Some columns of a part or all, those that it has, checked where it has checksums.

    Raises:
        ValueError: a checksum does not fit. OSError, pyarrow.ArrowException: the file cannot be read.
    """
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        sums = _sums(file)
        # Read ahead, it would be by a thread of Arrow's, whose last grip on what Python's file gave may outlast Python:
        # "terminate called without an active exception" at the end of a command.
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            if sums is not None:
                _check_chunks(file, _chunks(parquet.metadata), sums, columns)
            names = None if columns is None else [name for name in columns if name in parquet.schema_arrow.names]
            return parquet.read(columns=names, use_threads=False)


def _checksum(file: IO[bytes], start: int, end: int) -> int:
    file.seek(start)
    found = 0
    while start < end:
        chunk = file.read(min(_CHUNK, end - start))
        if not chunk:
            raise OSError(f"the file ends at byte {start:,} of {end:,}")
        found, start = zlib.crc32(chunk, found), start + len(chunk)
    return found


def _chunks(metadata: Any) -> list[tuple[str, int, int]]:
    """(top column, first byte, byte after the last) of each column chunk of a Parquet file."""
    found = []
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            start = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset is not None:
                start = min(start, column.dictionary_page_offset)
            found.append((column.path_in_schema.split(".")[0], start, start + column.total_compressed_size))
    return found


def _sums(file: IO[bytes]) -> tuple[int, ...] | None:
    """The checksums of the columns, once that of the footer is found to be right; None of a file without."""
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(size - _FOOTER_END, 0))
    end = file.read(_FOOTER_END)
    footer = size - _FOOTER_END - int.from_bytes(end[:4], "little")
    if footer < _TRAILER.size:
        return None  # pyarrow says what is wrong with it
    file.seek(footer - _TRAILER.size)
    count, magic = _TRAILER.unpack(file.read(_TRAILER.size))
    if magic != MAGIC:
        return None
    first = footer - _TRAILER.size - 4 * count
    if first < 0:
        raise ValueError("the list of its checksums is damaged")
    file.seek(first)
    *sums, expected = struct.unpack(f"<{count}I", file.read(4 * count))
    if _checksum(file, footer, size) != expected:
        raise ValueError("the checksum of its footer does not fit")
    return tuple(sums)


def _check_chunks(
    file: IO[bytes], chunks: list[tuple[str, int, int]], sums: tuple[int, ...], columns: Sequence[str] | None
) -> None:
    if len(chunks) != len(sums):
        raise ValueError("the list of its checksums is damaged")
    for (name, start, end), expected in zip(chunks, sums, strict=True):
        if (columns is None or name in columns) and _checksum(file, start, end) != expected:
            raise ValueError(f"the checksum of its column {name} does not fit")
