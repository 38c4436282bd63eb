"""The folder of vectors: as a region store, a folder of parts with one row for every image that was tried.

The vectors themselves lie in the companions of the parts, `rows/*.parquet`, one row an image and one a region, so that
anything that reads Parquet reads them: see `rows_schema`. An image that failed has no row there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from samclr.config.embedding import VectorType
from samclr.storage.checksums import read_parquet, write_parquet
from samclr.storage.parts import HEAD_SCHEMA, LABEL_SCHEMA, OK, VECTORS, PartsFolder, companion_of

WHOLE_IMAGE = -1  # the number of a row that is no region's
IMAGES_SCHEMA = pa.schema([*HEAD_SCHEMA, ("num_regions", pa.int32()), *LABEL_SCHEMA])  # label: the regions
ARROW_TYPES = {"float16": pa.float16(), "float32": pa.float32()}


def rows_schema(width: int, dtype: VectorType) -> pa.Schema:
    """Columns of `rows/*.parquet`. Rows of an image lie together, that of the whole image first, then region by region.

    id: the image's; region: its number in the region store, -1 of the whole image; box_xyxy: half-open, in native px
    after EXIF rotation; area_px: mask pixels; width_px, height_px: of the image; vector: as it was computed.
    """
    return pa.schema(
        [
            ("id", pa.string()),
            ("region", pa.int32()),
            ("box_xyxy", pa.list_(pa.int32(), 4)),
            ("area_px", pa.int64()),
            ("width_px", pa.int32()),
            ("height_px", pa.int32()),
            ("vector", pa.list_(ARROW_TYPES[dtype], width)),
        ]
    )


def image_rows(
    image_id: str,
    size_hw: tuple[int, int],
    vectors: Float[np.ndarray, "r_plus_1 d"],
    numbers: Sequence[int],
    boxes_xyxy: Int[np.ndarray, "r 4"],
    areas_px: Sequence[int],
    dtype: VectorType,
) -> pa.Table:
    """The rows of one image: `vectors` are the whole image's and those of its regions `numbers`, in rising order."""
    (height, width), count = size_hw, len(vectors)
    boxes = np.concatenate([[[0, 0, width, height]], boxes_xyxy.reshape(-1, 4)]).astype(np.int32)
    flat = pa.array(np.ascontiguousarray(vectors, dtype).reshape(-1), ARROW_TYPES[dtype])
    columns = [
        pa.array([image_id] * count, pa.string()),
        pa.array([WHOLE_IMAGE, *numbers], pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4),
        pa.array([height * width, *areas_px], pa.int64()),
        pa.array([width] * count, pa.int32()),
        pa.array([height] * count, pa.int32()),
        pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    ]
    return pa.table(columns, schema=rows_schema(vectors.shape[1], dtype))


def write_rows(companion: Path, rows: Sequence[pa.Table]) -> None:
    """Write the rows of a part's images, in the order of the part; where all failed there is nothing to write."""
    if rows:
        write_parquet(pa.concat_tables(rows).combine_chunks(), companion)


def keep_rows(companion: Path, image_ids: set[str]) -> None:
    """Leave the rows of other images out of a companion that is not put in place yet."""
    rows = read_parquet(companion)
    kept = rows.filter(pa.array([image_id in image_ids for image_id in rows["id"].to_pylist()], pa.bool_()))
    if len(kept):
        write_parquet(kept.combine_chunks(), companion)
    else:
        companion.unlink()


def create_or_open_vectors(path: Path, maker: dict[str, Any], num_images: int) -> PartsFolder:
    """Make a folder of vectors for about so many images, or open it if it has the same maker (see `Vectors.manifest`).

    Raises:
        PartsError: it was made with other settings, or is something else.
    """
    return PartsFolder.create_or_open(path, VECTORS, maker, num_images)


def expected_rows(images: pa.Table) -> int:
    """Rows that the companion of a part with these images has."""
    counts = zip(images["status"].to_pylist(), images["num_regions"].to_pylist(), strict=True)
    return sum(1 + number for status, number in counts if status == OK)


def fault_of_rows(part: Path, images: pa.Table) -> str | None:
    """What is wrong with the companion of a part with these images, by its size and footer, if anything is."""
    path, expected = companion_of(part, VECTORS), expected_rows(images)
    if expected == 0:
        return None
    try:
        found = pq.read_metadata(path).num_rows
    except FileNotFoundError:
        return "its vectors are missing"
    except (OSError, pa.ArrowException) as error:
        return f"its vectors cannot be read: {error}"
    return None if found == expected else f"its vectors are of {found} rows, expected {expected}"
