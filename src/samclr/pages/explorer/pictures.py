"""Pictures of scenes for the page: from the bank where there is one, else decoded from their files."""

import io
import math
import threading
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from samclr.bank.bank import LevelReader, SceneBank, encode, level_shapes, make_pyramid
from samclr.errors import PartsError
from samclr.pages.explorer.caches import ByteCache
from samclr.regions.coarsest import padded_boxes
from samclr.scenes.decode import DecodeError, decode_rgb, load_scene, read_image, upright_rgb
from samclr.scenes.images import MAX_IMAGE_PX, open_image
from samclr.scenes.refs import SceneRef

THUMB_PX, PICTURE_PX = 256, 1600  # longer sides; what is smaller stays as it is
OBJECT_PX, OBJECT_PADDING = 128, 1.2
DECODED_AT_A_TIME = 2  # files, which may hold hundreds of megapixels
NO_NUMBER = -1
JPEG_START = b"\xff\xd8\xff"


class Pictures:
    """JPEG pictures of n scenes.

    Attributes:
        bank_number: [n] a scene's number in training and in the bank, or NO_NUMBER. num_numbered: numbers there are.
    """

    def __init__(self, refs: list[SceneRef], bank: SceneBank | None, trained: Sequence[SceneRef], limit_bytes: int):
        """trained: the scenes of the bank, in its order."""
        self._refs, self._bank = refs, bank
        self._decoding = threading.Semaphore(DECODED_AT_A_TIME)
        self._cache = ByteCache[bytes](limit_bytes, len)
        self._last: tuple[int, OneImageBank] | None = None
        self._last_lock = threading.Lock()
        errors = {} if bank is None else bank.errors
        decoded = (ref.image_id for ref in trained if ref.image_id not in errors)
        numbers = {image_id: number for number, image_id in enumerate(decoded)}
        self.num_numbered = len(numbers)
        self.bank_number = np.array([numbers.get(ref.image_id, NO_NUMBER) for ref in refs], np.int64)

    @property
    def num_bytes(self) -> int:
        """Bytes of pictures that are kept."""
        return self._cache.num_bytes

    def jpeg(self, number: int, longest_px: int) -> bytes:
        """A scene with a longer side of at most `longest_px`.

        Raises:
            DecodeError: its file cannot be read or decoded. PartsError: its pixels in the bank are damaged.
        """
        return self._cache.get((number, longest_px), lambda: self._encoded(number, longest_px))

    def crop(self, number: int, box_xyxy: Sequence[int], native_hw: tuple[int, int]) -> bytes:
        """An object as a small JPEG picture: its box with some of its surroundings, from the scene's picture.

        Raises:
            DecodeError: its file cannot be read or decoded. PartsError: its pixels in the bank are damaged.
        """
        return self._cache.get((number, *box_xyxy), lambda: self._cropped(number, box_xyxy, native_hw))

    def _cropped(self, number: int, box_xyxy: Sequence[int], native_hw: tuple[int, int]) -> bytes:
        with open_image(self.jpeg(number, PICTURE_PX)) as image:
            scale = np.array([image.width / native_hw[1], image.height / native_hw[0]] * 2)
            x0, y0, x1, y1 = (padded_boxes(np.array([box_xyxy]), OBJECT_PADDING, *native_hw)[0] * scale).tolist()
            left, top = math.floor(x0), math.floor(y0)
            box = left, top, max(math.ceil(x1), left + 1), max(math.ceil(y1), top + 1)
            return _as_jpeg(np.asarray(image.crop(box)), OBJECT_PX)

    def source(self, number: int, max_side: int | None) -> "SceneBank | OneImageBank":
        """What views of a scene are cropped from: the bank, or the scene alone, decoded as a bank would hold it.

        Raises:
            DecodeError: its file cannot be read or decoded.
        """
        if self._bank is not None:
            return self._bank
        with self._last_lock:
            if self._last is None or self._last[0] != number or self._last[1].max_side != max_side:
                self._last = None  # two of hundreds of megapixels are never held
                self._last = number, OneImageBank(load_scene(self._refs[number]).pixels, max_side)
            return self._last[1]

    def _encoded(self, number: int, longest_px: int) -> bytes:
        if self._bank is not None and self.bank_number[number] != NO_NUMBER:
            image = int(self.bank_number[number])
            shapes = level_shapes(*(int(side) for side in self._bank.bank_hw[image]))
            level = max((k for k, shape in enumerate(shapes) if max(shape) >= longest_px), default=0)
            return _as_jpeg(self._bank.level(image, level), longest_px)
        with self._decoding:
            return _as_jpeg(decoded_small(self._refs[number], longest_px), longest_px)


class OneImageBank:
    """One scene as a raw bank holds it, in memory: whichever number is asked for, it is that one."""

    codec = "raw"

    def __init__(self, pixels: UInt8[np.ndarray, "h w 3"], max_side: int | None):
        levels = make_pyramid(pixels, max_side)
        self.max_side = max_side
        self.native_hw, self.bank_hw = _Same(pixels.shape[:2]), _Same(levels[0].shape[:2])
        self._data = np.frombuffer(encode(levels, "raw"), np.uint8)

    def reader(self, image: int) -> LevelReader:
        """Access to its pixels."""
        height, width = (int(side) for side in self.bank_hw[image])
        return LevelReader(self._data, height, width)

    def damaged(self, image: int, why: object) -> PartsError:
        """The error for pixels that cannot be read."""
        return PartsError(f"the decoded scene cannot be cropped: {why}")


class _Same:
    """A table whose rows are all the same."""

    def __init__(self, hw: tuple[int, ...]):
        self._row = np.array(hw, np.int64)

    def __getitem__(self, image: int) -> Int[np.ndarray, "2"]:
        return self._row


def decoded_small(ref: SceneRef, longest_px: int) -> UInt8[np.ndarray, "h w 3"]:
    """A scene with a longer side of at least `longest_px`, if it has that: a JPEG is decoded at a part of its size.

    Raises:
        DecodeError: its file cannot be read or decoded.
    """
    encoded = read_image(ref)
    if encoded.startswith(JPEG_START):
        try:
            with open_image(encoded) as image:
                if image.width * image.height <= MAX_IMAGE_PX:
                    image.draft("RGB", (longest_px, longest_px))
                    return upright_rgb(image)
        except Exception as error:  # as in samclr.scenes.decode: decoders raise anything on broken bytes
            raise DecodeError(f"cannot decode: {type(error).__name__}: {error}") from error
    return decode_rgb(encoded)


def _as_jpeg(pixels: UInt8[np.ndarray, "h w 3"], longest_px: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=86)
    return encoded.getvalue()
