"""The region store: a folder of Parquet parts with one row for every image that was tried."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from samclr.errors import RegionError, name_some
from samclr.regions.records import ImageRegions, Region, SegmentError
from samclr.storage.parts import HEAD_SCHEMA, LABEL_SCHEMA, OK, PartsFolder, command_of

KIND = "region store"
REGION_TYPE = pa.struct(
    [
        ("box_xyxy", pa.list_(pa.int32(), 4)),
        ("area_px", pa.int64()),
        ("rle", pa.binary()),
        ("predicted_iou", pa.float32()),
        ("stability_score", pa.float32()),
        ("point_xy", pa.list_(pa.float32(), 2)),
    ]
)
NO_POINT = (math.nan, math.nan)  # written in place of null, which pyarrow before 26 cannot read in lists of one length
STORE_SCHEMA = pa.schema([*HEAD_SCHEMA, ("regions", pa.list_(REGION_TYPE)), ("segment_s", pa.float32()), *LABEL_SCHEMA])


def open_store(path: Path) -> PartsFolder:
    """Open a region store for reading. Raises PartsError if `path` is not one."""
    return PartsFolder(path, KIND)


def regions_to_row(found: ImageRegions) -> dict[str, Any]:
    """The store's columns that an ImageRegions fills."""
    return {
        "image_id": found.image_id,
        "content_hash": found.content_hash,
        "height": found.height,
        "width": found.width,
        "status": OK,
        "regions": [
            {
                "box_xyxy": list(region.box_xyxy),
                "area_px": region.area_px,
                "rle": region.rle,
                "predicted_iou": region.predicted_iou,
                "stability_score": region.stability_score,
                "point_xy": list(NO_POINT if region.point_xy is None else region.point_xy),
            }
            for region in found.regions
        ],
    }


def row_to_regions(row: dict[str, Any]) -> ImageRegions:
    """The ImageRegions of an `ok` row. Raises RegionError if the row is damaged or contradicts itself."""
    image_id = row["image_id"]
    try:
        return _row_to_regions(row)
    except RegionError as error:
        text = str(error)
        raise RegionError(text if text.startswith(image_id) else f"{image_id}: {text}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RegionError(f"{image_id}: its row in the region store is damaged: {error!r}") from None


def read_regions(row: dict[str, Any]) -> ImageRegions | SegmentError:
    """What a row holds: its regions, or why there are none; a damaged row is an error of its image."""
    if row["status"] != OK:
        return SegmentError(image_id=row["image_id"], message=row["status"])
    try:
        return row_to_regions(row)
    except RegionError as error:
        return SegmentError(image_id=row["image_id"], message=str(error))


def _row_to_regions(row: dict[str, Any]) -> ImageRegions:
    return ImageRegions(
        image_id=row["image_id"],
        content_hash=row["content_hash"],
        height=row["height"],
        width=row["width"],
        regions=tuple(
            Region(
                box_xyxy=tuple(region["box_xyxy"]),
                area_px=region["area_px"],
                rle=region["rle"],
                predicted_iou=region["predicted_iou"],
                stability_score=region["stability_score"],
                point_xy=_point(region["point_xy"]),
            )
            for region in row["regions"]
        ),
    )


def _point(written: list[float] | None) -> tuple[float, float] | None:
    """Null, of stores of before 0.2, and NO_POINT are None."""
    return None if written is None or all(math.isnan(side) for side in written) else (written[0], written[1])


def read_bucket(store: PartsFolder, bucket: int, damaged: dict[Path, str] | None = None) -> pa.Table:
    """All columns of one bucket's rows.

    damaged: where given, parts that cannot be read, or lack a column, are noted here; else they raise PartsError.
    """
    return store.read(STORE_SCHEMA.names, bucket, STORE_SCHEMA, damaged)


def iterate_rows(store: PartsFolder, damaged: dict[Path, str] | None = None) -> Iterator[dict[str, Any]]:
    """Every image's row, a bucket in memory at a time. damaged: as `read_bucket` takes it."""
    places = store.places(damaged={})
    for bucket in range(store.num_buckets):
        for row in read_bucket(store, bucket, damaged).to_pylist():
            if places.get(row["image_id"], bucket) == bucket:
                yield row


def damaged_text(store: PartsFolder, damaged: Sequence[str], outcome: str) -> str:
    """What a reader says of damaged rows: whose they are, what becomes of them, and the remedy."""
    return (
        f"{len(damaged)} rows of the region store {store.path} are damaged and {outcome}: {name_some([*damaged])}; "
        f"samclr regions verify {store.path} names the files to delete; {command_of(KIND)} then makes their rows again"
    )


def verify_store(store: PartsFolder, fault_of: Callable[[ImageRegions], str] | None = None) -> list[str]:
    """Decode every mask, compare it with its box, area and image; returns a sentence for each fault, with its file.

    A part that cannot be read is one fault.

    fault_of: says what else does not fit in a row, "" for nothing.
    """
    faults: list[tuple[str, str]] = []
    damaged: dict[Path, str] = {}
    for row in iterate_rows(store, damaged):
        if row["status"] != OK:
            continue
        try:
            found = row_to_regions(row)
            if fault_of is not None and (fault := fault_of(found)):
                raise RegionError(fault)
            for index, region in enumerate(found.regions):
                where = f"{found.image_id}, region {index}"
                rle = found.coco_rles()[index]
                area_px = int(coco_mask.area(rle))
                x, y, w, h = (int(v) for v in coco_mask.toBbox(rle))
                if area_px != region.area_px:
                    raise RegionError(f"{where}: area_px is {region.area_px}, its mask has {area_px}")
                if (x, y, x + w, y + h) != region.box_xyxy:
                    raise RegionError(f"{where}: box_xyxy is {region.box_xyxy}, its mask's {(x, y, x + w, y + h)}")
        except RegionError as error:
            faults.append((row["image_id"], str(error)))
    place: dict[str, str] = {}
    for stem, rows in store.parts(["image_id"], damaged={}) if faults else ():
        place |= dict.fromkeys(rows["image_id"].to_pylist(), f"{stem}.parquet")
    unread = [f"{path.name} is damaged: {' '.join(text.split())}" for path, text in damaged.items()]
    return [*unread, *(f"{fault}; its row is in {place[image_id]}" for image_id, fault in faults)]


def store_stats(store: PartsFolder) -> dict[str, Any]:
    """Counts of a store and what made it; of regions per image, shares of the image's area and seconds per image the
    mean and the 5th, 50th and 95th percentile, None where there are none; and why images failed."""
    counts, area_fracs, seconds = [], [], []
    errors: dict[str, str] = {}
    for row in iterate_rows(store):
        found = read_regions(row)
        if isinstance(found, SegmentError):
            errors[found.image_id] = found.message
            continue
        counts.append(len(found.regions))
        area_fracs += [region.area_px / (found.height * found.width) for region in found.regions]
        seconds.append(row["segment_s"] or 0.0)
    return {
        "maker": store.maker,
        "num_images": len(counts) + len(errors),
        "num_images_without_regions": sum(count == 0 for count in counts),
        "num_regions": sum(counts),
        "regions_per_image": _spread(counts),
        "area_frac": _spread(area_fracs),
        "segment_s": _spread(seconds),
        "errors": errors,
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return dict.fromkeys(("mean", "p5", "p50", "p95"))
    low, middle, high = np.percentile(values, [5, 50, 95])
    return {"mean": float(np.mean(values)), "p5": float(low), "p50": float(middle), "p95": float(high)}
