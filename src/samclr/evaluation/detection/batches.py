"""Images and objects as the detector takes them: which images make a step is a pure function of (seed, step)."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from pycocotools import mask as coco_mask
from torch import Tensor

from samclr.draws import STREAM_FLIP, epoch_order, uniforms
from samclr.errors import EvaluationError, name_some
from samclr.evaluation.detection.instances import ImageInstances, InstanceSplit
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.log import option_of
from samclr.scenes.decode import DecodeError, load_scene

STEPS_AHEAD = 2
Target = dict[str, Tensor]


def refuse_slim(images: Sequence[ImageInstances], config: DetectionConfig) -> None:
    """Raise EvaluationError where an image is so long that no pixel is left of its shorter side once it is resized."""
    slim = []
    for one in images:
        shorter, longer = sorted(one.size)
        if shorter * min(config.sides_px[0] / shorter, config.longest_px / longer) < 1:
            slim.append(f"{one.ref.image_id} ({one.size[1]}x{one.size[0]} px)")
    if slim:
        raise EvaluationError(
            f"{len(slim):,} images have a side of less than a pixel at {option_of('detect_px')} {config.detect_px}, "
            f"where the longer side has at most {config.longest_px}: {name_some(slim)}; take more px, or remove them"
        )


def refuse_unreadable(images: Sequence[ImageInstances]) -> None:
    """Decode images, by a thread a core. Raises EvaluationError that names those that are broken."""

    def fault(one: ImageInstances) -> str | None:
        try:
            load_pixels(one)
        except EvaluationError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        faults = [text for text in pool.map(fault, images) if text is not None]
    if faults:
        raise EvaluationError(f"{len(faults)} of {len(images):,} images cannot be used: {name_some(faults)}")


def first_images(split: InstanceSplit, seed: int, num: int) -> list[ImageInstances]:
    """Those that the first `num` places of a training hold: all of them from an epoch on."""
    images = split.trained.images
    return [images[one] for one in epoch_order(seed, 0, len(images))[:num]]


class TrainingBatches:
    """A rank's share of each step's images: every image once in an epoch, flipped in half of the cases."""

    def __init__(self, split: InstanceSplit, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1):
        self._images = split.trained.images
        self._batch_size, self._seed = batch_size, seed
        share = batch_size // num_ranks
        self._slots = range(rank * share, (rank + 1) * share)
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def numbers(self, step: int) -> list[tuple[int, bool]]:
        """Number of each image among those that are trained on, and whether it is flipped."""
        drawn = uniforms(self._seed, STREAM_FLIP, step, list(self._slots), 1)[:, 0]
        found = []
        for slot, number in zip(self._slots, drawn, strict=True):
            epoch, place = divmod(step * self._batch_size + slot, len(self._images))
            if self._epoch[0] != epoch:
                self._epoch = (epoch, epoch_order(self._seed, epoch, len(self._images)))
            found.append((int(self._epoch[1][place]), bool(number < 0.5)))
        return found

    def from_step(self, first: int, num_steps: int) -> Iterator[list[tuple[Tensor, Target]]]:
        """The batches from a step on; those to come are decoded meanwhile.

        Raises:
            EvaluationError: an image is broken.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            ahead: list[list[Future[tuple[Tensor, Target]]]] = []
            for step in range(first, num_steps):
                while len(ahead) <= STEPS_AHEAD and step + len(ahead) < num_steps:
                    chosen = self.numbers(step + len(ahead))
                    ahead.append([pool.submit(load_example, self._images[one], flip) for one, flip in chosen])
                yield [one.result() for one in ahead.pop(0)]


def load_example(one: ImageInstances, flip: bool) -> tuple[Tensor, Target]:
    """An image [3 h w] from 0 to 1, and its objects that are not crowds: boxes [n 4], labels [n] from 1, masks [n h w].

    Raises:
        EvaluationError: the image is broken.
    """
    pixels = load_pixels(one)
    kept = ~one.is_crowd
    boxes = one.clipped_xyxy[kept]
    masks = decode_masks([rle for rle, keep in zip(one.rles, kept, strict=False) if keep], one.size)
    if flip:
        pixels, masks = pixels[:, ::-1], masks[:, :, ::-1]
        boxes = np.stack([one.size[1] - boxes[:, 2], boxes[:, 1], one.size[1] - boxes[:, 0], boxes[:, 3]], 1)
    target = {
        "boxes": torch.from_numpy(boxes.astype(np.float32)),
        "labels": torch.from_numpy(one.labels[kept] + 1),
    }
    if one.rles:
        target["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
    return as_image(pixels), target


def load_pixels(one: ImageInstances) -> UInt8[np.ndarray, "h w 3"]:
    """The upright image. Raises EvaluationError."""
    try:
        pixels = load_scene(one.ref).pixels
    except DecodeError as error:
        raise EvaluationError(f"{one.ref.image_id} cannot be read ({error}); fix or remove it") from None
    if pixels.shape[:2] != one.size:
        raise EvaluationError(f"{one.ref.image_id} has changed since it was opened; run the same command again")
    return pixels


def as_image(pixels: UInt8[np.ndarray, "h w 3"]) -> Tensor:
    """Values from 0 to 1, [3 h w]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)


def decode_masks(rles: list[bytes], size: tuple[int, int]) -> UInt8[np.ndarray, "n h w"]:
    """Masks of 0 and 1."""
    if not rles:
        return np.zeros((0, *size), np.uint8)
    coded: list[Any] = [{"size": list(size), "counts": rle} for rle in rles]
    return coco_mask.decode(coded).transpose(2, 0, 1)
