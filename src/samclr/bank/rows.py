"""Where a bank's images are: the rows of its parts, and how long the files of pixels beside them must be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from samclr.config.pretrain import Codec
from samclr.errors import PartsError, name_some
from samclr.storage.parts import ADDED_SCHEMA, HEAD_SCHEMA, OK, PartsFolder

NUM_LEVELS = 4
BANK_SCHEMA = pa.schema(
    [*HEAD_SCHEMA, ("bank_height", pa.int32()), ("bank_width", pa.int32()), ("offset", pa.int64()), *ADDED_SCHEMA]
)
PLACE_COLUMNS = ("status", "bank_height", "bank_width", "offset", *ADDED_SCHEMA.names)
READ_COLUMNS = ["content_hash", "height", "width", *PLACE_COLUMNS]
HASH = np.dtype("S32")  # as scenes.reading.content_hash gives it
ROW = np.dtype(
    {
        "names": ["part", "native_hw", "bank_hw", "offset", "num_bytes", "crc32", "content_hash"],
        "formats": ["i4", ("i4", 2), ("i4", 2), "i8", "i8", "i8", HASH],
    }
)
UNKNOWN = -1  # in place of num_bytes and crc32, for parts of older versions
NO_ROW, FAILED = -1, -2  # in place of a part's number


def places_of(folder: PartsFolder, image_ids: Sequence[str]) -> tuple[np.ndarray, list[str], dict[str, str], list[int]]:
    """A ROW of each image, the parts' stems, the status by id of those not decoded, and the parts' bytes of pixels."""
    codec = folder.maker.get("codec", "raw")
    rows = np.zeros(len(image_ids), ROW)
    rows["part"] = NO_ROW
    stems: list[str] = []
    ends: list[int] = []
    errors: dict[str, str] = {}
    for part, (stem, numbers, table) in enumerate(folder.rows_of(image_ids, READ_COLUMNS)):
        stems.append(stem)
        status, new = table["status"].to_pylist(), np.zeros(len(table), ROW)
        new["part"] = np.where([text == OK for text in status], part, FAILED)
        new["native_hw"] = np.stack([table["height"], table["width"]], 1)
        new["bank_hw"] = np.stack([table["bank_height"], table["bank_width"]], 1)
        new["offset"], new["content_hash"] = table["offset"], hashes_of(table)
        for name in ADDED_SCHEMA.names:
            new[name] = table[name].fill_null(UNKNOWN)
        rows[numbers] = new
        ends.append(end_of_pixels(table, codec))
        errors |= {image_ids[number]: text for number, text in zip(numbers, status, strict=True) if text != OK}
    missing = [image_ids[number] for number in np.flatnonzero(rows["part"] == NO_ROW).tolist()]
    if missing:
        raise PartsError(
            f"{len(missing)} scenes are not in the bank {folder.path}: {name_some(missing)}; run samclr pack"
        )
    failed = [image_ids[number] for number in np.flatnonzero(rows["part"] == FAILED).tolist()]
    return rows, stems, {image_id: errors[image_id] for image_id in failed}, ends


def end_of_pixels(rows: pa.Table, codec: Codec) -> int:
    """Bytes that a part's file has at least, from its PLACE_COLUMNS; 0 of errors alone."""
    decoded = np.array([text == OK for text in rows["status"].to_pylist()], bool)
    known = rows["num_bytes"].fill_null(UNKNOWN).to_numpy()
    if codec == "raw":
        hw = np.stack([rows["bank_height"], rows["bank_width"]], 1).astype(np.int64)
        num_bytes = (-(-hw[:, None] // 2 ** np.arange(NUM_LEVELS)[:, None])).prod(2).sum(1) * 3
    else:
        num_bytes = np.where(known == UNKNOWN, 1, known)
    return int(((rows["offset"].to_numpy() + num_bytes) * decoded).max(initial=0))


def fault_of_size(path: Path, num_bytes: int) -> str | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    return None if size >= max(num_bytes, 1) else f"is cut: it has {size:,} of {num_bytes:,} bytes"


def hashes_of(rows: pa.Table) -> Shaped[np.ndarray, "n"]:
    """The column content_hash, b"" where there is none."""
    return np.array(rows["content_hash"].fill_null("").to_pylist(), HASH)
