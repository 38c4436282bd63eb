"""One annotation of COCO or SA-1B as a Region.

What is read from elsewhere is checked before it is decoded: pycocotools writes outside its memory on run lengths
that do not fit their image, and takes memory by the length of an outline.
"""

import json
import marshal
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from samclr.errors import RegionError
from samclr.regions.placing import Photo, Size
from samclr.regions.records import Region, check_rle
from samclr.scenes.decode import MAX_IMAGE_PX
from samclr.scenes.fill import Tally

Annotation = dict[str, Any]
PACKING = 2  # marshal's format: its last without references, which nothing here has
MAX_FLOAT32 = 3.4e38
MAX_REACH = 3  # a polygon may leave its image by as many times its longer side
MAX_POINTS = 1_000_000  # of one annotation
MAX_PARTS = 10_000  # polygons of one annotation
MERGED = 16  # masks at a time
MAX_OUTLINE_PX = 2_000_000  # of one annotation, all around
FLAT = 1e-9  # a polygon this thin, as a share of its length, has no area
BOXES, CROWDS, EMPTY, PARTS = "boxes", "crowds", "empty", "parts"  # what is counted and skipped


class TwiceDict(dict[str, Any]):
    """A JSON object that has one key twice, of which the parser keeps the last value."""

    twice: str = ""


def packed(value: Annotation) -> Annotation | bytes:
    """An annotation as bytes, which take a fraction of the memory; as it is where it has a key twice or is deep."""
    try:
        return marshal.dumps(value, PACKING)
    except ValueError:  # what marshal does not take
        return value


def unpacked(value: Any) -> Any:
    """What `packed` packed, and any other value of JSON, which has no bytes, as it is."""
    return marshal.loads(value) if isinstance(value, bytes) else value  # bytes of this process, never of a file


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value` as a JSON object. Raises RegionError if it is not one, or has a key twice."""
    value = unpacked(value)
    if not isinstance(value, dict):
        raise RegionError(f"{where} is {short(value)}; expected an object")
    if isinstance(value, TwiceDict):
        raise RegionError(f"{where} has the key {short(value.twice)} twice; expected it once")
    return value


def read_annotation(value: Any, photo: Photo, size: Size, where: str, skipped: Tally) -> Region | None:
    """An annotation as a Region of the photo; None if it has no mask, and why is counted in `skipped`.

    size: height and width in px of the picture that polygons were drawn on, which fits the photo.

    Raises:
        RegionError: it is malformed, or its mask's size does not fit the photo.
    """
    annotation = as_object(value, where)
    if is_crowd(annotation, where):
        _skip(CROWDS, skipped)
        return None
    segmentation = annotation.get("segmentation")
    if segmentation is None or segmentation in ([], {}, ""):
        _skip(BOXES, skipped)
        return None
    if isinstance(segmentation, list):
        rle = _of_polygons(segmentation, photo, size, where, skipped)
    else:
        size = mask_size(segmentation, where)
        rle = _of_runs(segmentation, photo, size, where)
    if rle is None:
        return None
    sized = {"size": [photo.height, photo.width], "counts": rle}
    area_px = int(coco_mask.area(sized))
    if area_px == 0:
        _skip(EMPTY, skipped)
        return None
    x, y, w, h = (int(v) for v in coco_mask.toBbox(sized))
    return Region(
        box_xyxy=(x, y, x + w, y + h),
        area_px=area_px,
        rle=rle,
        predicted_iou=_number(annotation, ("predicted_iou", "score"), where),
        stability_score=_number(annotation, ("stability_score",), where),
        point_xy=_point(annotation, photo, size, where),
    )


def mask_size(segmentation: Any, where: str) -> Size:
    """Height and width in px of a run-length mask, within the bounds of an image. Raises RegionError."""
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise RegionError(f"{where}: malformed RLE: expected polygons, or an object with size and counts")
    size = as_object(segmentation, f"{where}: segmentation").get("size")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(map(is_length, size))
        or size[0] * size[1] > MAX_IMAGE_PX
    ):
        raise RegionError(f"{where}: malformed RLE: its size is {short(size)}; expected [height, width] in px")
    return int(size[0]), int(size[1])


def is_length(value: Any) -> bool:
    """Whether it is a whole number of pixels, 1 or more."""
    return is_number(value) and value >= 1 and value == int(value)


def is_number(value: Any) -> bool:
    """Whether it is a number that float32 holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_FLOAT32 < value < MAX_FLOAT32


def short(value: Any) -> str:
    """A value for a message, on one line and cut."""
    if isinstance(value, int) and abs(value) > MAX_FLOAT32:  # Python refuses to print very long ones
        return "beyond float32"
    if isinstance(value, list | dict) and len(value) > 20:
        return f"a {'list' if isinstance(value, list) else 'n object'} of {len(value):,}".replace("a n ", "an ")
    try:
        text = repr(value) if not isinstance(value, list | dict) else json.dumps(value, default=str)
    except (RecursionError, ValueError):
        text = "deeply nested"
    return text if len(text) <= 60 else text[:57] + "..."


def _skip(why: str, skipped: Tally, count: int = 1) -> None:
    skipped[why] = skipped.get(why, 0) + count


def is_crowd(annotation: Annotation, where: str) -> bool:
    """Whether it is a crowd, COCO's word for several objects in one. Raises RegionError."""
    value = annotation.get("iscrowd")
    if value is not None and (not isinstance(value, int | float) or value not in (0, 1)):
        raise RegionError(f"{where}: iscrowd is {short(value)}; expected 0 or 1")
    return bool(value)


def _of_polygons(polygons: list[Any], photo: Photo, size: Size, where: str, skipped: Tally) -> bytes | None:
    """The mask of polygons, those without an area dropped and counted; None if nothing is left."""
    polygons = [polygons] if is_number(polygons[0]) else polygons  # one polygon, bare, as pycocotools takes it as well
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_number, polygon)):
            raise RegionError(
                f"{where}: malformed polygon: {short(polygon)}; expected lists of x, y pairs of finite numbers"
            )
    _check_bounds(polygons, size, where)
    if all(len(polygon) == 4 for polygon in polygons):
        _skip(BOXES, skipped)
        return None
    whole = [polygon for polygon in polygons if not _is_flat(polygon)]
    if not whole:
        _skip(EMPTY, skipped)
        return None
    if len(whole) < len(polygons):
        _skip(PARTS, skipped, len(polygons) - len(whole))
    height, width = photo.drawn_size
    if size != photo.drawn_size:
        whole = [[v * (height / size[0] if k % 2 else width / size[1]) for k, v in enumerate(part)] for part in whole]
    drawn = coco_mask.frPyObjects(whole, height, width)
    while len(drawn) > 1:  # one after the other would take time by the square of their number
        drawn = [coco_mask.merge(drawn[first : first + MERGED]) for first in range(0, len(drawn), MERGED)]
    merged = drawn[0]
    return (
        _encoded(photo.turned(coco_mask.decode(merged).astype(bool))) if photo.is_to_turn else bytes(merged["counts"])
    )


def _check_bounds(polygons: list[list[float]], size: Size, where: str) -> None:
    """Raise RegionError for what pycocotools overflows on, or takes unbounded memory and time for."""
    if len(polygons) > MAX_PARTS or sum(map(len, polygons)) > 2 * MAX_POINTS:
        raise RegionError(f"{where}: malformed polygon: over {MAX_PARTS:,} parts or {MAX_POINTS:,} points")
    largest = max((abs(v) for polygon in polygons for v in polygon), default=0)
    if largest > MAX_REACH * max(size):
        raise RegionError(
            f"{where}: malformed polygon: the coordinate {largest:.6g} lies far outside {size[1]}x{size[0]} px"
        )
    if sum(map(len, polygons)) * largest > MAX_OUTLINE_PX:  # the bound is cheap, the length is not
        points = (np.reshape(polygon, (-1, 2)) for polygon in polygons if polygon)
        outline_px = sum(float(np.abs(xy - np.roll(xy, 1, 0)).max(1).sum()) for xy in points)
        if outline_px > MAX_OUTLINE_PX:
            raise RegionError(
                f"{where}: malformed polygon: its outline is {outline_px:,.0f} px long; "
                f"expected {MAX_OUTLINE_PX:,} at most"
            )


def _is_flat(polygon: list[float]) -> bool:
    """Whether all points lie on one line (fewer than three always do)."""
    if len(polygon) < 6:
        return True
    x0, y0 = polygon[0], polygon[1]
    offsets = [(x - x0, y - y0) for x, y in zip(polygon[2::2], polygon[3::2], strict=True)]
    far_x, far_y = max(offsets, key=lambda xy: abs(xy[0]) + abs(xy[1]))
    bound = FLAT * (far_x * far_x + far_y * far_y)
    return all(abs(x * far_y - y * far_x) <= bound for x, y in offsets)


def _of_runs(segmentation: dict[str, Any], photo: Photo, size: Size, where: str) -> bytes:
    height, width = size
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(type(c) is int and 0 <= c <= height * width for c in counts) or sum(counts) != height * width:
            raise RegionError(f"{where}: malformed RLE: its runs do not add up to {width}x{height} px")
        rle = bytes(coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"])
    else:
        try:
            rle = counts.encode("ascii")
        except (UnicodeEncodeError, AttributeError):
            raise RegionError(f"{where}: malformed RLE: counts are not text") from None
    runs = check_rle(rle, height, width, where)
    photo.check(size, f"{where}: its mask")
    if size == photo.drawn_size and not photo.is_to_turn and (runs[1:] > 0).all():
        return rle
    # runs of no pixels lead pycocotools' boxes astray: such a mask is written anew as well
    mask = coco_mask.decode({"size": [height, width], "counts": rle}).astype(bool)
    return _encoded(photo.turned(photo.scaled(mask)))


def _encoded(mask: Bool[np.ndarray, "h w"]) -> bytes:
    return bytes(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])


def _number(annotation: Annotation, names: Sequence[str], where: str) -> float | None:
    for name in names:
        value = annotation.get(name)
        if value is not None:
            if not is_number(value):
                raise RegionError(f"{where}: {name} is {short(value)}; expected a finite number")
            return float(value)
    return None


def _point(annotation: Annotation, photo: Photo, size: Size, where: str) -> tuple[float, float] | None:
    points = annotation.get("point_coords")
    if points is None or points == []:
        return None
    first = points[0] if isinstance(points, list) else None
    if not isinstance(first, list) or len(first) != 2 or not all(map(is_number, first)):
        raise RegionError(f"{where}: point_coords is {short(points)}; expected [[x, y]]")
    return photo.point(float(first[0]), float(first[1]), size)
