"""Decode any supported image to upright 8-bit RGB, or say why it cannot be."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from samclr.scenes.sources import SceneRef, content_hash, read_bytes

MAX_IMAGE_PX = 400_000_000
Image.MAX_IMAGE_PIXELS = None  # our own check below replaces Pillow's warning


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A decoded image as segmenters get it.

    pixels: [h w c] uint8 RGB after EXIF rotation. label_map: integers, where the data set has one;
    the segmenter that uses it compares its size with the pixels'.
    """

    image_id: str
    pixels: UInt8[np.ndarray, "h w 3"]
    content_hash: str
    label_map: Int[np.ndarray, "label_h label_w"] | None = None


class DecodeError(ValueError):
    """The bytes are no image that can be used; the text becomes the row's status."""


def decode_rgb(encoded: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Decode to upright RGB: EXIF rotation applied, alpha over white, 16-bit grey as value / 257.

    16-bit colour is read by Pillow as its high byte, which differs from value / 257 by less than one.

    Raises:
        DecodeError: empty, broken, truncated, too large, or of a kind without an agreed range (floats).
    """
    if not encoded:
        raise DecodeError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; real faults raise
            with Image.open(io.BytesIO(encoded)) as image:
                width, height = image.size
                if width < 1 or height < 1:
                    raise DecodeError(f"the image is {width}x{height} px")
                if width * height > MAX_IMAGE_PX:
                    raise DecodeError(f"the image is {width}x{height} px, over the limit of {MAX_IMAGE_PX:,} px")
                image.load()
                return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except DecodeError:
        raise
    except UnidentifiedImageError:  # its own text names a memory address, other in each run
        raise DecodeError("cannot decode: no image format that Pillow knows") from None
    except MemoryError:
        raise DecodeError("not enough memory to decode the image") from None
    except Exception as error:  # decoders raise anything on broken bytes: OSError, SyntaxError, struct.error ...
        raise DecodeError(f"cannot decode: {type(error).__name__}: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DecodeError("integer pixels outside 0 to 65535 have no agreed range; convert to 8 or 16 bit")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DecodeError("floating-point pixels have no agreed range; convert to 8 or 16 bit")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def load_scene(ref: SceneRef) -> Scene:
    """Read and decode one image. Raises DecodeError with a text fit for a status column."""
    try:
        encoded = read_bytes(ref)
    except Exception as error:  # the file system's and pyarrow's errors alike become one row's status
        raise DecodeError(f"cannot read: {type(error).__name__}: {error}") from error
    return Scene(image_id=ref.image_id, pixels=decode_rgb(encoded), content_hash=content_hash(encoded))
