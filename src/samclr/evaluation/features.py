"""Frozen features of a labelled split: computed once for each pair of backbone and images, then reused.

They lie in a .npy file that is written batch by batch and memory-mapped, so a set may be larger than memory.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from samclr.config.normalisation import Normalisation, normalisation_of
from samclr.datasets.labelled_split import ImageSplit
from samclr.evaluation.mapped import in_parts, is_sound, make_arrays, map_array
from samclr.evaluation.squares import SQUARE, decode_square
from samclr.models.fingerprints import cache_key
from samclr.models.freeze import modes_kept

BATCH = 256
PIXELS_AT_ONCE = BATCH * 128**2  # of images that go through a backbone together: larger ones in smaller batches
DECODE_BYTES = 200_000_000  # decoded images held at a time
PART_IMAGES = 16_384  # whose features are kept when what comes after them is interrupted


def images_at_once(shape: Sequence[int], most: int = BATCH) -> int:
    """How many images of this shape [... h w] go through a backbone together, so that memory does not grow with it."""
    return max(min(most, PIXELS_AT_ONCE // (shape[-2] * shape[-1])), 1)


def split_features(
    backbone: nn.Module, split: ImageSplit, image_px: int, device: torch.device, cache: Path
) -> Float[Tensor, "n d"]:
    """Features of a split in float32, mapped from `cache`, where they are put if they were not computed before.

    Raises:
        EvaluationError: features are not finite.
    """
    key = cache_key(backbone, device, split.fingerprint, image_px, SQUARE)
    path = cache / "features" / f"{key}.npy"
    normalisation = normalisation_of(backbone)
    decoded, batch = max(DECODE_BYTES // (3 * image_px**2), 1), images_at_once((image_px, image_px))

    def rows(part: range) -> Iterator[tuple[Float[np.ndarray, "b d"]]]:
        for first in range(part.start, part.stop, decoded):
            refs = split.refs[first : min(first + decoded, part.stop)]
            pixels = decode_square(refs, image_px, os.cpu_count() or 1)
            for start in range(0, len(pixels), batch):
                yield (pixel_features(backbone, pixels[start : start + batch], device, normalisation).numpy(),)

    if not is_sound(path):
        make_arrays([path], in_parts(len(split.refs), PART_IMAGES, decoded), rows)
    return map_array(path)


@torch.inference_mode()
def pixel_features(
    backbone: nn.Module, pixels: UInt8[np.ndarray, "n 3 h w"], device: torch.device, normalisation: Normalisation
) -> Float[Tensor, "n d"]:
    """Features of decoded images by a backbone in evaluation mode; its mode is put back afterwards."""
    parts = []
    with modes_kept(backbone):
        backbone.eval().to(device)
        at_once = images_at_once(pixels.shape)
        for first in range(0, len(pixels), at_once):
            batch = torch.from_numpy(pixels[first : first + at_once]).to(device).float().div_(255.0)
            parts.append(backbone(normalisation(batch)).float().cpu())
    return torch.cat(parts)
