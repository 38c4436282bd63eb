"""Region and ImageRegions: what a segmenter finds in one image, validated on construction."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_mask

from samclr.errors import RegionError
from samclr.scenes.decode import Scene
from samclr.scenes.images import MAX_IMAGE_PX

BoxXYXY = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Region:
    """One proposal in an image.

    Attributes:
        box_xyxy: half-open box in native pixels after EXIF rotation: columns x0 to x1-1, rows y0 to y1-1.
        area_px: number of mask pixels.
        rle: COCO's compressed run lengths of the mask (column-major), as bytes.
        predicted_iou, stability_score, point_xy: the segmenter's scores and prompt, None where it has none.
    """

    box_xyxy: BoxXYXY
    area_px: int
    rle: bytes
    predicted_iou: float | None = None
    stability_score: float | None = None
    point_xy: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise RegionError(f"box_xyxy {self.box_xyxy} is empty or negative; expected 0 <= x0 < x1 and 0 <= y0 < y1")
        if not 1 <= self.area_px <= (x1 - x0) * (y1 - y0):
            raise RegionError(f"area_px {self.area_px} does not fit box_xyxy {self.box_xyxy}")
        for name in ("predicted_iou", "stability_score"):
            score = getattr(self, name)
            if score is not None and not math.isfinite(score):
                raise RegionError(f"{name} is {score}; expected a finite number")
        if self.point_xy is not None and not all(math.isfinite(side) for side in self.point_xy):
            raise RegionError(f"point_xy is {self.point_xy}; expected finite numbers")


@dataclass(frozen=True, kw_only=True)
class ImageRegions:
    """All regions of one image of `height` x `width` native pixels after EXIF rotation.

    Every mask's run lengths are checked here, once, so that no code that decodes them meets others.

    Raises:
        RegionError: the size is not that of an image, or a mask or box does not fit it.
    """

    image_id: str
    content_hash: str
    height: int
    width: int
    regions: tuple[Region, ...]

    def __post_init__(self) -> None:
        if not (self.height > 0 and self.width > 0 and self.height * self.width <= MAX_IMAGE_PX):
            raise RegionError(
                f"{self.image_id}: its size is {self.width}x{self.height} px; expected 1 to {MAX_IMAGE_PX:,} px in all"
            )
        for number, region in enumerate(self.regions):
            if region.box_xyxy[2] > self.width or region.box_xyxy[3] > self.height:
                raise RegionError(
                    f"{self.image_id}: box_xyxy {region.box_xyxy} reaches outside the image "
                    f"of {self.width}x{self.height} px"
                )
            check_rle(region.rle, self.height, self.width, f"{self.image_id}, region {number}")

    @property
    def boxes_xyxy(self) -> Int[np.ndarray, "r 4"]:
        """[r 4] the regions' boxes: half-open, in native pixels."""
        return np.array([region.box_xyxy for region in self.regions], np.int64).reshape(-1, 4)

    def masks(self) -> Bool[np.ndarray, "r h w"]:
        """[r h w] all masks decoded; takes r times h times w bytes."""
        masks = np.zeros((len(self.regions), self.height, self.width), bool)
        for number in range(len(self.regions)):
            masks[number] = self.mask(number)
        return masks

    def coco_rles(self) -> list[dict[str, object]]:
        """The masks as pycocotools takes them."""
        return [{"size": [self.height, self.width], "counts": region.rle} for region in self.regions]

    def mask(self, region_index: int) -> Bool[np.ndarray, "h w"]:
        """Decode one mask. Raises RegionError on run lengths that do not fit the image."""
        region = self.regions[region_index]
        check_rle(region.rle, self.height, self.width, f"{self.image_id}, region {region_index}")
        return coco_mask.decode(self.coco_rles()[region_index]).astype(bool)


@dataclass(frozen=True, kw_only=True)
class SegmentError:
    """A segmenter's refusal of one image; the text becomes the row's status."""

    image_id: str
    message: str


def region_from_mask(mask: Bool[np.ndarray, "h w"]) -> Region:
    """Make a Region of a boolean mask. Raises RegionError if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        raise RegionError("the mask is empty")
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return Region(
        box_xyxy=(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),
        area_px=int(mask.sum()),
        rle=bytes(rle["counts"]),
    )


def region_from_strip(strip: Bool[np.ndarray, "h w"], x0: int, width: int) -> Region:
    """As `region_from_mask` of an image `width` px wide, from its columns from `x0` on, outside which nothing is set.

    The time it takes depends on the strip alone. Raises RegionError if the strip is empty.
    """
    height, right = len(strip), width - x0 - strip.shape[1]
    flat = strip.ravel(order="F")
    turns = np.flatnonzero(np.diff(flat, prepend=False, append=False))  # where runs of set pixels begin and end
    if len(turns) == 0:
        raise RegionError("the mask is empty")
    runs = np.diff(turns + x0 * height, prepend=0, append=height * width)
    if right == 0 and flat[-1]:
        runs = runs[:-1]  # no pixels follow
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return region_from_rle(bytes(rle["counts"]), height, width)


def region_from_rle(rle: bytes, height: int, width: int) -> Region:
    """Make a Region of COCO's run lengths, which fit the size. Raises RegionError if the mask is empty."""
    sized = {"size": [height, width], "counts": rle}
    x, y, w, h = (int(side) for side in coco_mask.toBbox(sized))
    return Region(box_xyxy=(x, y, x + w, y + h), area_px=int(coco_mask.area(sized)), rle=rle)


def regions_of_scene(scene: Scene, regions: Iterable[Region]) -> ImageRegions:
    """Regions with the id, hash and size of a decoded scene."""
    height, width = scene.pixels.shape[:2]
    return ImageRegions(
        image_id=scene.image_id,
        content_hash=scene.content_hash,
        height=height,
        width=width,
        regions=tuple(regions),
    )


def check_rle(rle: bytes, height: int, width: int, where: str) -> Int[np.ndarray, "runs"]:
    """The run lengths of a mask; raises RegionError unless they describe exactly height x width pixels.

    pycocotools does not check this and writes outside its memory when they do not.
    """
    from samclr.regions.run_lengths import read_runs  # here, as numba takes a while to import

    runs = np.empty(len(rle), np.int64)
    count = read_runs(np.frombuffer(rle, np.uint8), runs)
    if count < 0:
        raise RegionError(f"{where}: malformed RLE: ends inside a number or holds a foreign character")
    runs = runs[:count]
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise RegionError(f"{where}: malformed RLE: its runs do not add up to {width}x{height} px")
    return runs
