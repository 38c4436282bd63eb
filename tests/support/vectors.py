"""Folders of vectors from arrays, without a backbone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from samclr.embedding.store import IMAGES_SCHEMA, create_or_open_vectors, image_rows, write_rows
from samclr.regions.records import ImageRegions
from samclr.storage.parts import OK, PartsFolder

SIZE_HW = (60, 80)


def write_vectors(
    path: Path,
    vectors: dict[str, np.ndarray | str],
    dtype: str = "float32",
    part_images: int = 3,
    regions: Mapping[str, ImageRegions] | None = None,
) -> PartsFolder:
    """Make or extend a folder: of each id [1 + r, d], the whole image's first, or why it failed.

    Regions are numbered from 0 and have boxes of 10x10 px, or those of `regions`, of which each image has as many or
    more. Images are added in the order given, some a part.
    """
    width = next((value.shape[1] for value in vectors.values() if isinstance(value, np.ndarray)), 4)
    maker = {"backbone": "made-up", "width": width, "dtype": dtype}
    folder = create_or_open_vectors(path, maker, 1 if len(vectors) < 100 else len(vectors))
    buckets: dict[int, list[str]] = {}
    for image_id in vectors:
        buckets.setdefault(folder.bucket_of(image_id), []).append(image_id)
    for bucket, ids in buckets.items():
        for first in range(0, len(ids), part_images):
            part = {image_id: vectors[image_id] for image_id in ids[first : first + part_images]}
            with folder.lock(bucket):
                folder.publish(bucket, lambda companion, part=part: _part(companion, part, dtype, regions or {}))
    return folder


def _part(
    companion: Path, vectors: dict[str, np.ndarray | str], dtype: str, regions: Mapping[str, ImageRegions]
) -> pa.Table:
    images, rows = [], []
    for image_id, value in vectors.items():
        head = {"image_id": image_id, "content_hash": "", "height": SIZE_HW[0], "width": SIZE_HW[1], "num_regions": 0}
        head |= {"status": value if isinstance(value, str) else OK, "file_size": 1, "mtime_ns": 1}
        if not isinstance(value, str):
            num = len(value) - 1
            boxes, areas = np.arange(num)[:, None] + np.array([0, 0, 10, 10]), [100] * num
            if image_id in regions:
                boxes = regions[image_id].boxes_xyxy[:num]
                areas = [region.area_px for region in regions[image_id].regions[:num]]
            head["num_regions"] = num
            rows.append(image_rows(image_id, SIZE_HW, value, range(num), boxes, areas, dtype))
        images.append(head)
    write_rows(companion, rows)
    return pa.Table.from_pylist(images, schema=IMAGES_SCHEMA)
