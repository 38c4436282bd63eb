"""Decode any supported image to upright 8-bit RGB, or say why that is impossible."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from samclr.scenes.images import MAX_IMAGE_PX, open_image
from samclr.scenes.quiet import warnings_ignored
from samclr.scenes.reading import content_hash, read_bytes
from samclr.scenes.refs import SceneRef

BITS, PHOTOMETRIC, COLOUR_MAP = 258, 262, 320  # tags of a TIFF
WHITE_IS_ZERO = 0  # value of PHOTOMETRIC
ORIENTATION = 274  # tag of EXIF
ORIENTATIONS = range(1, 9)  # its values; others say nothing
SIDEWAYS = (5, 6, 7, 8)  # those that swap height and width


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A decoded image as segmenters get it.

    pixels: [h w c] uint8 RGB after EXIF rotation. label_map: integers, where the data set has one;
    the segmenter that uses it compares its size with the pixels'. label_masks: COCO's run lengths of masks of the
    pixels' size, which may overlap, where it has those instead. has_more_pages: the file holds further pages or
    frames, of which the first alone is here. orientation: that of the file's EXIF, 1 to 8, which the pixels no longer
    have.
    """

    image_id: str
    pixels: UInt8[np.ndarray, "h w 3"]
    content_hash: str
    label_map: Int[np.ndarray, "label_h label_w"] | None = None
    has_more_pages: bool = False
    orientation: int = 1
    label_masks: tuple[bytes, ...] | None = None


class DecodeError(ValueError):
    """The bytes are not a usable image; the text becomes the row's status."""


def decode_rgb(encoded: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Decode to upright RGB: EXIF rotation applied, alpha over white, 16-bit grey as value / 257.

    16-bit colour is read by Pillow as its high byte, which differs from value / 257 by less than one. Of several pages
    or frames the first counts.

    Raises:
        DecodeError: empty, broken, truncated, too large, or of a kind without an agreed range (floats).
    """
    return _decode(encoded)[0]


def _decode(encoded: bytes) -> tuple[UInt8[np.ndarray, "h w 3"], bool, int]:
    """Pixels as decode_rgb gives them, whether there are further pages or frames, and the EXIF orientation."""
    if not encoded:
        raise DecodeError("the file is empty")
    try:
        with warnings_ignored(), open_image(encoded) as image:  # without Pillow's remarks on metadata; faults raise
            width, height = image.size
            if width < 1 or height < 1:
                raise DecodeError(f"the image is {width}x{height} px")
            if width * height > MAX_IMAGE_PX:
                raise DecodeError(f"the image is {width}x{height} px, over the limit of {MAX_IMAGE_PX:,} px")
            orientation: Any = image.getexif().get(ORIENTATION)  # asked first: Pillow turns a TIFF when it loads it
            image.load()
            tags = dict(getattr(image, "tag_v2", {}))
            pixels = upright_rgb(image, tags)
            more_pages = bool(getattr(image, "is_animated", False))
            return pixels, more_pages, _orientation(orientation)
    except DecodeError:
        raise
    except UnidentifiedImageError:  # its own text names a memory address, other in each run
        raise DecodeError("cannot decode: not an image format that samclr reads") from None
    except MemoryError:
        raise DecodeError("not enough memory to decode the image") from None
    except Exception as error:  # decoders raise anything on broken bytes: OSError, SyntaxError, struct.error ...
        raise DecodeError(f"cannot decode: {type(error).__name__}: {error}") from error


def _orientation(stated: Any) -> int:
    """1 where the EXIF says nothing, or what means nothing."""
    return int(stated) if stated in ORIENTATIONS else 1


def upright_rgb(image: Image.Image, tags: dict[int, Any] | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of an opened image as `decode_rgb` gives them. tags: a TIFF's, taken before it was loaded.

    Raises:
        DecodeError: floating-point pixels, or integers outside 0 to 65535.
    """
    return np.asarray(_to_rgb(_as_meant(ImageOps.exif_transpose(image), tags or {})))


def _as_meant(image: Image.Image, tags: dict[int, Any]) -> Image.Image:
    """With what Pillow leaves to its caller done: grey of 12 and 16 bits, and the odd palettes of TIFF, by its tags."""
    if image.mode == "P" and max(tags.get(COLOUR_MAP, (256,))) < 256:  # written with 8 bits a colour instead of 16
        image.putpalette(np.reshape(tags[COLOUR_MAP], (3, -1)).T.astype(np.uint8).tobytes())
    if not image.mode.startswith("I"):
        return image
    values, white = np.asarray(image).astype(np.int64), 4095 if tags.get(BITS, (16,))[0] == 12 else 65535
    if values.min() < 0 or values.max() > white:
        raise DecodeError("integer pixels outside 0 to 65535 have no agreed range; convert to 8 or 16 bits")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = white - values
    grey = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
    if isinstance(clear := image.info.get("transparency"), int):  # the value that a PNG shows as clear
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DecodeError("floating-point pixels have no agreed range; convert to 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def pages_text(count: int) -> str:
    """The remark about images of which only the first page is used."""
    return f"{count:,} image{'s have' if count > 1 else ' has'} several pages or frames: the first is used"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an image's header tells: height and width in px after EXIF rotation, and that of its EXIF, 1 to 8."""

    height: int
    width: int
    orientation: int

    @property
    def is_turned_unseen(self) -> bool:
        """Whether a mask or label map made for the stored photo would have the upright one's size."""
        return self.orientation != 1 and (self.orientation not in SIDEWAYS or self.height == self.width)


def read_header(source: bytes | Path) -> Header:
    """The header of an encoded image, or of a file. Raises DecodeError."""
    try:
        with warnings_ignored(), open_image(source) as image:
            width, height = image.size
            orientation: Any = image.getexif().get(ORIENTATION)
            if orientation in SIDEWAYS and image.format != "TIFF":  # of which Pillow states the upright size
                width, height = height, width
            return Header(height=height, width=width, orientation=_orientation(orientation))
    except Exception as error:  # as in decoding
        raise DecodeError(f"cannot decode: {type(error).__name__}") from error


def read_image(ref: SceneRef) -> bytes:
    """The encoded image. Raises DecodeError with a text fit for a status column."""
    try:
        return read_bytes(ref)
    except Exception as error:  # the file system's and pyarrow's errors alike become one row's status
        raise DecodeError(f"cannot read: {type(error).__name__}: {error}") from error


def load_scene(ref: SceneRef) -> Scene:
    """Read and decode one image. Raises DecodeError with a text fit for a status column."""
    encoded = read_image(ref)
    pixels, has_more_pages, orientation = _decode(encoded)
    return Scene(
        image_id=ref.image_id,
        pixels=pixels,
        content_hash=content_hash(encoded),
        has_more_pages=has_more_pages,
        orientation=orientation,
    )
