"""Where masks made for one picture are on the photo as samclr reads it: scaled or turned only as the user states."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from samclr.errors import RegionError
from samclr.scenes.decode import Header

# Of an EXIF orientation: whether rows and columns are swapped, and then rows and columns run backwards.
TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
Size = tuple[int, int]  # height, width


@dataclass(frozen=True, kw_only=True)
class Photo:
    """The photo that masks are placed on, and what the user states about the picture they were made for.

    Attributes:
        height, width: in px, after EXIF rotation.
        orientation: of the photo's EXIF, 1 to 8.
        rescale: masks of another size with the same aspect were made for a scaled copy.
        exif: all masks were made for the photo before its EXIF rotation.
    """

    height: int
    width: int
    orientation: int = 1
    rescale: bool = False
    exif: bool = False

    @property
    def stored_size(self) -> Size:
        """Height and width before the EXIF rotation."""
        return (self.width, self.height) if TURNS[self.orientation][0] else (self.height, self.width)

    @property
    def drawn_size(self) -> Size:
        """Height and width that masks must have, unless they are scaled."""
        return self.stored_size if self.exif else (self.height, self.width)

    @property
    def is_turned_unseen(self) -> bool:
        """Whether a mask for the stored photo would have the upright one's size, so that sizes tell nothing."""
        return Header(height=self.height, width=self.width, orientation=self.orientation).is_turned_unseen

    def check(self, size: Size, what: str) -> None:
        """Raise RegionError naming both sizes unless masks of `size` fit `drawn_size`, scaled if that is stated."""
        if size == self.drawn_size or (self.rescale and _same_aspect(size, self.drawn_size)):
            return
        height, width = self.drawn_size
        named = f"{what} is {size[1]}x{size[0]} px, the photo {width}x{height}"
        if self.exif and self.stored_size != (self.height, self.width):
            raise RegionError(
                f"{named} before its EXIF rotation; "
                + ("leave --exif out" if size == (self.height, self.width) else "expected masks made for that size")
            )
        if size == self.stored_size:
            raise RegionError(f"{named} after its EXIF rotation; add --exif if masks were made for the unrotated photo")
        hint = "add --rescale if masks were made for a scaled copy" if _same_aspect(size, self.drawn_size) else ""
        raise RegionError(f"{named}; {hint or 'expected masks made for this photo'}")

    def scaled(self, mask: Bool[np.ndarray, "a b"]) -> Bool[np.ndarray, "h w"]:
        """A mask at `drawn_size`: each pixel takes the one under its centre."""
        height, width = self.drawn_size
        rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
        columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
        return mask[rows[:, None], columns]

    def turned(self, mask: Bool[np.ndarray, "a b"]) -> Bool[np.ndarray, "h w"]:
        """A mask of `drawn_size` on the upright photo."""
        if not self.is_to_turn:
            return mask
        swapped, rows_back, columns_back = TURNS[self.orientation]
        upright = mask.T if swapped else mask
        return upright[:: -1 if rows_back else 1, :: -1 if columns_back else 1]

    @property
    def is_to_turn(self) -> bool:
        return self.exif and self.orientation != 1

    def point(self, x: float, y: float, size: Size) -> tuple[float, float]:
        """A point of a picture of `size` on the upright photo; the picture's edges lie at 0 and its size."""
        height, width = self.drawn_size
        if size != self.drawn_size:
            x, y = x * width / size[1], y * height / size[0]
        if not self.is_to_turn:
            return x, y
        swapped, rows_back, columns_back = TURNS[self.orientation]
        x, y = (y, x) if swapped else (x, y)
        return self.width - x if columns_back else x, self.height - y if rows_back else y


def _same_aspect(one: Size, other: Size) -> bool:
    """Whether one size is the other scaled by one factor and then rounded, in either way, to whole pixels."""
    return abs(one[1] * other[0] - one[0] * other[1]) < max(*one, *other)
