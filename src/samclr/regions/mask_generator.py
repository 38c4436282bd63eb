"""MaskGenerator: all masks of one image at a time, by any SAM, as a function."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from samclr.config.segmenters import SegmenterConfig
from samclr.errors import RegionError, UsageError
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.segmenters.sam import SamSegmenter
from samclr.regions.segmenters.sam_spec import is_sam
from samclr.scenes.decode import DecodeError, Scene, upright_rgb
from samclr.scenes.reading import content_hash


class MaskGenerator:
    """Finds all masks of an image with a SAM; equal to what `samclr segment` keeps of it.

        masks = samclr.MaskGenerator("sam-hq-vit-b", device="cuda")
        found = masks(picture)                            # of Pillow, or uint8 [h w 3]
        found.boxes_xyxy, found.masks(), found.regions[0].predicted_iou      # [r 4], [r h w], a float

    Source: Kirillov et al., Segment Anything, 2023 (arXiv 2304.02643), section 5 and appendix B.
    """

    def __init__(
        self,
        model: str,
        *,
        points_per_side: int = 32,
        device: str = "auto",
        precision: str = "auto",
        **mask_options: object,
    ):
        """Load the model, which takes seconds, and on first use downloads it.

        Args:
            model: a name of `samclr segmenters`, a Hugging Face id of a SAM, or a folder with one; sam-digits ships.
            points_per_side: prompts per side of the grid laid over the image.
            device: auto (CUDA or MPS where there is one), cpu, cuda, mps, or cuda:1 and so on.
            precision: auto (float16 on CUDA, float32 elsewhere), float32, float16 or bfloat16.
            mask_options: any other field of samclr.config.MaskConfig and ComputeConfig, pred_iou_thresh for instance.

        Raises:
            UsageError: no such model or device, no network to fetch it, or not a SAM.
            ConfigError: an option is unknown or out of its range.
        """
        if not is_sam(model):
            raise UsageError(
                f"{model} is not a SAM; expected a name of `samclr segmenters`, a Hugging Face id or folder"
            )
        self.config = SegmenterConfig.with_options(
            model, {"points_per_side": points_per_side, "device": device, "precision": precision, **mask_options}
        )
        options: Any = self.config.options
        self._segmenter = SamSegmenter(model, options)

    def __call__(self, image: Image.Image | UInt8[np.ndarray, "h w *c"], image_id: str = "image") -> ImageRegions:
        """All masks of an image, in the generator's order.

        Args:
            image: a PIL image (turned as its EXIF says, alpha over white), or RGB [h w 3] or grey [h w] as uint8.
            image_id: what the result calls it.

        Raises:
            RegionError: it is neither, is broken, or has no pixels.
            ArithmeticError: the model's scores or masks are not finite.
        """
        pixels = as_pixels(image)
        scene = Scene(image_id=image_id, pixels=pixels, content_hash=content_hash(pixels.tobytes()))
        (found,) = self._segmenter.segment([scene])
        if isinstance(found, SegmentError):
            raise RegionError(f"{image_id}: {found.message}")
        return found


def as_pixels(image: Image.Image | UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a PIL image or an array. Raises RegionError if it is neither, or is broken."""
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise RegionError(f"the image has no pixels: it is {image.width}x{image.height} px")
        try:
            image.load()
        except Exception as error:  # decoders raise anything on broken bytes
            raise RegionError(f"the image cannot be decoded: {type(error).__name__}: {error}") from error
        try:
            return np.ascontiguousarray(upright_rgb(image))
        except DecodeError as error:
            raise RegionError(f"the image is of Pillow's mode {image.mode}: {error}") from None
    grey = isinstance(image, np.ndarray) and image.ndim == 2
    pixels = np.repeat(image[:, :, None], 3, 2) if grey else image
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise RegionError(f"the image is {found}; expected a PIL image, or uint8 [h w 3] in RGB or [h w] in grey")
    if 0 in pixels.shape:
        raise RegionError(f"the image has no pixels: its shape is {list(pixels.shape)}")
    return np.ascontiguousarray(pixels)
