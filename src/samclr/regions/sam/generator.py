"""Automatic mask generation over whole batches of images, equal to the reference's result at a fraction of its cost.

Follows Segment Anything (Kirillov et al., 2023, arXiv:2304.02643), section 5 and appendix B, in its first authors'
defaults: a grid of points, crops of the image, predicted IoU, stability, and non-maximum suppression. HQ-SAM
(Ke et al., 2023, arXiv:2306.01567) gives one mask a point.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import nms

from samclr.config.sam import MaskConfig
from samclr.log import option_of, say
from samclr.regions.records import Region, region_from_mask
from samclr.regions.sam.decoder import EncodedImages, Prompted
from samclr.regions.sam.grids import CropBox, crop_boxes, near_crop_edge, point_grid
from samclr.regions.sam.masks import Enlarging, encode_rle, measure
from samclr.regions.sam.model import SamModels
from samclr.regions.sam.small_parts import drop_islands, fill_holes


@dataclass
class StageTimes:
    """Seconds spent in each stage so far; on CUDA the device's own time shows in the stage that waits for it."""

    encoder: float = 0.0
    decoder: float = 0.0
    masks: float = 0.0
    rle: float = 0.0


POINTS_AT_ONCE_ON_CPU = 16  # more of them fall out of the caches
RunLengths = tuple[bytes, int]  # COCO's compressed counts, and the area in pixels


@dataclass
class _Candidates:
    """Masks of one crop that passed every filter so far. Boxes are in the crop's pixels, far edge included.

    `held` has the low-resolution logits of each, or its run lengths once memory called for it.
    """

    scores: list[Tensor] = field(default_factory=list)
    stability: list[Tensor] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)
    held: list[Tensor | Future[RunLengths]] = field(default_factory=list)


@dataclass(frozen=True)
class _Kept:
    """A mask that survived suppression, its run lengths perhaps still in the making."""

    rle: Future[RunLengths]
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    crop_box: CropBox


@dataclass(frozen=True)
class Mask:
    """One mask in its image. `box_inclusive` counts its far edge, as the reference's boxes do."""

    rle: bytes
    area_px: int
    box_inclusive: tuple[int, int, int, int]
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    crop_box: CropBox

    def region(self) -> Region:
        """As it stands in a region store."""
        x0, y0, x1, y1 = self.box_inclusive
        return Region(
            box_xyxy=(x0, y0, x1 + 1, y1 + 1),
            area_px=self.area_px,
            rle=self.rle,
            predicted_iou=self.predicted_iou,
            stability_score=self.stability_score,
            point_xy=self.point_xy,
        )


class MaskGenerator:
    """Finds all masks of a batch of images of any sizes."""

    def __init__(
        self, model: SamModels, config: MaskConfig, pool: Executor, memory_bytes: int, encode_together: int = 4
    ):
        self.model, self.config, self.pool = model, config, pool
        self.memory_bytes, self.encode_together = memory_bytes, encode_together
        self.times = StageTimes()
        self.grids = [
            point_grid(int(config.points_per_side / config.crop_n_points_downscale_factor**layer))
            for layer in range(config.crop_n_layers + 1)
        ]

    def generate(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[list[Mask]]:
        """All masks of each image, in the reference's order.

        Memory for the decoder and for masks stays within `memory_bytes` beyond the weights, the images and the
        encoder's own need; running out of memory halves what is done together, and says so.
        """
        found: list[list[Mask]] = [[] for _ in images]
        tasks = [
            (number, box, layer)
            for number, image in enumerate(images)
            for box, layer in crop_boxes(image.shape[:2], self.config.crop_n_layers, self.config.crop_overlap_ratio)
        ]
        all_kept = list(self._crops(images, tasks))  # run lengths are made beside, so they are asked for at the end
        start = time.perf_counter()
        for (number, _, _), kept in zip(tasks, all_kept, strict=True):
            found[number] += [_mask(one, images[number].shape[:2]) for one in kept]
        self.times.rle += time.perf_counter() - start
        return [self._finish(masks, image.shape[:2]) for masks, image in zip(found, images, strict=True)]

    # ---- crops ----

    def _crops(
        self, images: Sequence[UInt8[np.ndarray, "h w 3"]], tasks: Sequence[tuple[int, CropBox, int]]
    ) -> Iterator[list[_Kept]]:
        """What is kept of each crop; crops go through the encoder together."""
        first = 0
        while first < len(tasks):
            together = tasks[first : first + self.encode_together]
            together = [task for task in together if task[2] == together[0][2]]  # of one layer, so with equal grids
            start = time.perf_counter()
            try:
                crops = [images[n][y0:y1, x0:x1] for n, (x0, y0, x1, y1), _ in together]
                encoded = self.model.encode(list(self.pool.map(self.model.prepare, crops)))
            except torch.OutOfMemoryError:
                if self.encode_together == 1:
                    raise
                self.encode_together = max(1, self.encode_together // 2)
                _say_halved("images encoded together", self.encode_together)
                continue
            self.times.encoder += time.perf_counter() - start
            sizes = [images[task[0]].shape[:2] for task in together]
            for crop, candidates in enumerate(
                self._candidates(encoded, [task[1] for task in together], sizes, together[0][2])
            ):
                yield self._suppress(candidates, together[crop][1], sizes[crop])
            first += len(together)

    def _candidates(
        self, images: EncodedImages, boxes: Sequence[CropBox], sizes: Sequence[tuple[int, int]], layer: int
    ) -> list[_Candidates]:
        """Prompt every point of every crop, in chunks that fit the memory, and filter at once."""
        grid, model = self.grids[layer], self.model
        found = [_Candidates() for _ in boxes]
        points = [grid * (x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
        scaled = torch.stack([self._to_model(p, box) for p, box in zip(points, boxes, strict=True)]).to(model.device)
        enlarging = [model.enlarging(y1 - y0, x1 - x0) for x0, y0, x1, y1 in boxes]
        crop = point = 0
        while crop < len(boxes):
            room = max(1, self.memory_bytes // self._bytes_per_point())
            if model.device.type == "cpu":
                room = min(room, POINTS_AT_ONCE_ON_CPU)
            last_point = min(len(grid), point + room)
            last_crop = min(len(boxes), crop + max(1, room // len(grid)))
            try:
                start = time.perf_counter()
                prompted = model.decoder.prompt(
                    images.select(crop, last_crop), model.embed_points(scaled[crop:last_crop, point:last_point])
                )
                self.times.decoder += time.perf_counter() - start
                chunk = [
                    self._survivors(
                        prompted, number, boxes[crop + number], sizes[crop + number], enlarging[crop + number]
                    )
                    for number in range(last_crop - crop)
                ]
            except torch.OutOfMemoryError:
                if room == 1:
                    raise
                self.memory_bytes = max(self._bytes_per_point(), self.memory_bytes // 2)
                if model.device.type == "cuda":
                    torch.cuda.empty_cache()
                _say_halved("points decoded together", max(1, self.memory_bytes // self._bytes_per_point()))
                continue
            for number, (scores, stability, found_boxes, which, logits) in enumerate(chunk):
                into = found[crop + number]
                into.scores.append(scores)
                into.stability.append(stability)
                into.boxes.append(found_boxes)
                into.points.append(torch.from_numpy(points[crop + number])[point + which.cpu()])
                into.held += logits.unbind()
            if sum(h.nbytes for into in found for h in into.held if isinstance(h, Tensor)) > self.memory_bytes:
                for into, box, size, axes in zip(found, boxes, sizes, enlarging, strict=True):
                    into.held = [self._encode(held, axes, box, size) for held in into.held]
            crop, point = (crop, last_point) if last_point < len(grid) else (last_crop, 0)
        return found

    def _to_model(self, points_xy: Float[np.ndarray, "p 2"], box: CropBox) -> Float[Tensor, "p 2"]:
        x0, y0, x1, y1 = box
        used = self.model.used_px(y1 - y0, x1 - x0)
        return torch.from_numpy(points_xy * (used[1] / (x1 - x0), used[0] / (y1 - y0))).float()

    def _bytes_per_point(self) -> int:
        """What one point needs at its peak: its image side through the transformer, or its upscaled features."""
        decoder = self.model.decoder
        positions, width = decoder.image_pe.shape
        transformer = positions * width * 4 * 5
        upscaled = positions * 16 * (width // 8) * 4 * (10 if decoder.is_hq else 4)
        return transformer + upscaled

    def _survivors(
        self,
        prompted: Prompted,
        number: int,
        box: CropBox,
        size: tuple[int, int],
        enlarging: tuple[Enlarging, Enlarging],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores, stability, boxes, point numbers and logits of one crop's masks that pass the three filters."""
        config, decoder = self.config, self.model.decoder
        start = time.perf_counter()
        scores = prompted.scores[number].float()
        _check_finite(scores, "scores")
        if decoder.masks_per_point == 1:  # HQ: the best of three, by predicted IoU
            scores, best = scores.max(1, keepdim=True)
        keep = (
            scores > config.pred_iou_thresh if config.pred_iou_thresh > 0 else torch.ones_like(scores, dtype=torch.bool)
        )
        point, mask = torch.nonzero(keep, as_tuple=True)
        scores = scores[point, mask]
        which = best[point, 0] if decoder.masks_per_point == 1 else mask
        num_points = prompted.scores.shape[1]
        if len(point):
            logits = decoder.masks(prompted, number * num_points + point, which)
            _check_finite(logits, "masks")
        else:
            logits = scores.new_empty(0, decoder.mask_px, decoder.mask_px)
        self.times.decoder += time.perf_counter() - start
        start = time.perf_counter()
        measured = measure(logits, *enlarging, config.stability_score_offset, self.pool, self.memory_bytes)
        keep = ~near_crop_edge(measured.boxes, box, size)
        if config.stability_score_thresh > 0:
            keep &= measured.stability >= config.stability_score_thresh
        self.times.masks += time.perf_counter() - start
        return scores[keep], measured.stability[keep], measured.boxes[keep], point[keep], logits[keep]

    # ---- suppression ----

    def _suppress(self, candidates: _Candidates, box: CropBox, size: tuple[int, int]) -> list[_Kept]:
        """Box NMS in one crop, then run lengths of what is left, off this thread."""
        start = time.perf_counter()
        scores, boxes = torch.cat(candidates.scores), torch.cat(candidates.boxes)
        number = nms(boxes.float(), scores, self.config.box_nms_thresh)
        stability = torch.cat(candidates.stability)[number].tolist()
        points = torch.cat(candidates.points)[number.cpu()].tolist()
        axes = self.model.enlarging(box[3] - box[1], box[2] - box[0])
        rles = [self._encode(candidates.held[i], axes, box, size) for i in number.tolist()]
        self.times.masks += time.perf_counter() - start
        return [
            _Kept(rle, score, stable, (x + box[0], y + box[1]), box)
            for rle, score, stable, (x, y) in zip(rles, scores[number].tolist(), stability, points, strict=True)
        ]

    def _encode(
        self, held: Tensor | Future[RunLengths], axes: tuple[Enlarging, Enlarging], box: CropBox, size: tuple[int, int]
    ) -> Future[RunLengths]:
        if isinstance(held, Future):
            return held
        return self.pool.submit(encode_rle, held.cpu().numpy(), *axes, (box[0], box[1]), size[1], size[0])

    def _finish(self, masks: list[Mask], size: tuple[int, int]) -> list[Mask]:
        """NMS between crops, small ones first, and the optional removal of small holes and islands."""
        config = self.config
        if config.crop_n_layers > 0 and masks:
            boxes = torch.tensor([mask.box_inclusive for mask in masks], dtype=torch.float32)
            areas = torch.tensor([(m.crop_box[2] - m.crop_box[0]) * (m.crop_box[3] - m.crop_box[1]) for m in masks])
            masks = [masks[i] for i in nms(boxes, 1 / areas.float(), config.crop_nms_thresh).tolist()]
        if config.min_mask_region_area > 0 and masks:
            masks = self._without_small_parts(masks, size)
        return masks

    def _without_small_parts(self, masks: list[Mask], size: tuple[int, int]) -> list[Mask]:
        cleaned, unchanged = [], []
        for mask in masks:
            pixels = coco_mask.decode({"size": list(size), "counts": mask.rle}).astype(bool)
            filled, holes = fill_holes(pixels, self.config.min_mask_region_area)
            smooth, islands = drop_islands(filled, self.config.min_mask_region_area)
            unchanged.append(float(not (holes or islands)))
            if holes or islands:
                region = region_from_mask(smooth)
                x0, y0, x1, y1 = region.box_xyxy
                mask = replace(mask, rle=region.rle, area_px=region.area_px, box_inclusive=(x0, y0, x1 - 1, y1 - 1))
            cleaned.append(mask)
        boxes = torch.tensor([mask.box_inclusive for mask in cleaned], dtype=torch.float32)
        threshold = max(self.config.box_nms_thresh, self.config.crop_nms_thresh)
        return [cleaned[i] for i in nms(boxes, torch.tensor(unchanged), threshold).tolist()]


def _mask(kept: _Kept, size: tuple[int, int]) -> Mask:
    rle, area_px = kept.rle.result()
    x, y, w, h = (int(side) for side in coco_mask.toBbox({"size": list(size), "counts": rle}))
    box = x, y, x + max(w, 1) - 1, y + max(h, 1) - 1
    return Mask(rle, area_px, box, kept.predicted_iou, kept.stability_score, kept.point_xy, kept.crop_box)


def _check_finite(values: Tensor, what: str) -> None:
    if not torch.isfinite(values).all():
        raise ArithmeticError(f"the model's {what} are not finite; try {option_of('precision')} float32")


def _say_halved(what: str, number: int) -> None:
    say(f"out of memory: {what} halved to {number}, continuing")
