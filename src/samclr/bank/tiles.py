"""The bank's compressed form: JPEG tiles, of which a crop decodes those that it touches.

Levels 0 and 2 of the pyramid are stored, cut into tiles of TILE_PX; levels 1 and 3 come from them by decoding at half
size (the scaled inverse DCT), so that no crop works at over twice the resolution of its level.
An image's bytes: uint32 ends of all tiles, level 0 before level 2, row by row; then the tiles.
"""

import io
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

TILE_PX = 256
QUALITY = 90  # chroma at half size, as cameras write it
STORED_LEVELS = (0, 2)
BLOCK_PX = 16  # of a JPEG with halved chroma; edges are filled up to it, and halve without a rest


def _padded(length: int, level: int) -> int:
    """Pixels on one axis of a stored level, filled up to whole blocks."""
    return math.ceil(math.ceil(length / 2**level) / BLOCK_PX) * BLOCK_PX


def _num_tiles(height: int, width: int, level: int) -> tuple[int, int]:
    """Rows and columns of tiles of a stored level."""
    return math.ceil(_padded(height, level) / TILE_PX), math.ceil(_padded(width, level) / TILE_PX)


def encode_tiles(levels: list[UInt8[np.ndarray, "_ _ 3"]]) -> bytes:
    """The bytes of an image, from its pyramid."""
    height, width = levels[0].shape[:2]
    tiles = []
    for level in STORED_LEVELS:
        pixels = levels[level]
        fill = (_padded(height, level) - len(pixels), _padded(width, level) - pixels.shape[1])
        image = Image.fromarray(np.pad(pixels, ((0, fill[0]), (0, fill[1]), (0, 0)), mode="edge"))
        rows, columns = _num_tiles(height, width, level)
        for y, x in np.ndindex(rows, columns):
            left, top = x * TILE_PX, y * TILE_PX
            box = left, top, min(left + TILE_PX, image.width), min(top + TILE_PX, image.height)
            encoded = io.BytesIO()
            image.crop(box).save(encoded, "JPEG", quality=QUALITY, subsampling="4:2:0", optimize=True)
            tiles.append(encoded.getvalue())
    ends = np.cumsum([len(tile) for tile in tiles], dtype=np.uint32)
    return ends.tobytes() + b"".join(tiles)


class TileReader:
    """Windows of one image. Tiles decoded for one window are kept for the next."""

    def __init__(self, data: UInt8[np.ndarray, "_"], height: int, width: int):
        """`data` begins with the image's bytes and may go on after them. Raises ValueError if it ends too soon."""
        self._hw = height, width
        self._grids = [_num_tiles(height, width, level) for level in STORED_LEVELS]
        num_tiles = sum(rows * columns for rows, columns in self._grids)
        table_bytes = num_tiles * 4
        if len(data) < table_bytes:
            raise ValueError("the file is too short")
        self._ends = np.frombuffer(data[:table_bytes], np.uint32)
        self._tiles = data[table_bytes:]
        self._decoded: dict[tuple[int, int], UInt8[np.ndarray, "_ _ 3"]] = {}

    def window(self, level: int, x0: int, y0: int, x1: int, y1: int) -> tuple[UInt8[np.ndarray, "_ _ 3"], int, int]:
        """Pixels of a level that hold the box, as far as there are any, and the column and row at which they begin.

        Raises:
            OSError, SyntaxError, ValueError: a tile is damaged.
        """
        side = TILE_PX >> (level % 2)
        height, width = (math.ceil(length / 2**level) for length in self._hw)
        rows = range(y0 // side, math.ceil(min(y1, height) / side))
        columns = range(x0 // side, math.ceil(min(x1, width) / side))
        lines = [np.concatenate([self._tile(level, y, x) for x in columns], 1) for y in rows]
        return np.concatenate(lines), columns[0] * side, rows[0] * side

    def _tile(self, level: int, y: int, x: int) -> UInt8[np.ndarray, "_ _ 3"]:
        stored = STORED_LEVELS.index(level - level % 2)
        number = y * self._grids[stored][1] + x + (self._grids[0][0] * self._grids[0][1] if stored else 0)
        tile = self._decoded.get((level, number))
        if tile is None:
            start, end = (int(self._ends[number - 1]) if number else 0), int(self._ends[number])
            image = JpegImageFile(io.BytesIO(self._tiles[start:end].tobytes()))
            if level % 2:
                image.draft("RGB", (image.width // 2, image.height // 2))
            tile = self._decoded[level, number] = np.asarray(image)
        return tile
