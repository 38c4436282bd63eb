"""Make a FiftyOne data set of an export of `samclr embed`: python load_in_fiftyone.py NAME.

Needs fiftyone and pyarrow, and nothing of samclr. Each image is a sample with its vector; its regions are detections
with theirs, so that similarity and visualisations of FiftyOne Brain take them:

    import fiftyone as fo, fiftyone.brain as fob

    dataset = fo.load_dataset(NAME)
    fob.compute_similarity(dataset, embeddings="vector", brain_key="images")
    fob.compute_similarity(dataset, patches_field="regions", embeddings="vector", brain_key="objects")
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SAMPLES_AT_ONCE = 256


def load(folder: Path, name: str) -> Any:
    """The data set, made persistent."""
    import fiftyone as fo

    files = json.loads((folder / "files.json").read_text())
    dataset = fo.Dataset(name, persistent=True)
    samples = []
    for rows in by_image(folder / "vectors.parquet"):
        if rows[0]["id"] not in files:
            continue
        sample = fo.Sample(filepath=files[rows[0]["id"]], image_id=rows[0]["id"], vector=rows[0]["vector"])
        sample["regions"] = fo.Detections(
            detections=[
                fo.Detection(
                    label="region", bounding_box=relative_xywh(row), region=row["region"], vector=row["vector"]
                )
                for row in rows[1:]
            ]
        )
        samples.append(sample)
        if len(samples) == SAMPLES_AT_ONCE:
            dataset.add_samples(samples)
            samples = []
    dataset.add_samples(samples)
    return dataset


def by_image(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of each image, the whole image's first."""
    rows: list[dict[str, Any]] = []
    for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            if rows and row["id"] != rows[0]["id"]:
                yield rows
                rows = []
            rows.append(row)
    if rows:
        yield rows


def relative_xywh(row: dict[str, Any]) -> list[float]:
    """A box as FiftyOne has it: left, top, width and height as shares of the image."""
    x0, y0, x1, y1 = row["box_xyxy"]
    width, height = row["width_px"], row["height_px"]
    return [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]


if __name__ == "__main__":
    print(load(Path(__file__).parent, sys.argv[1]))
