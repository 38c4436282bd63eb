"""A grid of boxes as a segmenter: settings."""

from dataclasses import dataclass

from samclr.config.segmenters import SegmenterSpec
from samclr.config.serialise import Count, Settings


@dataclass(frozen=True, kw_only=True)
class TilesConfig(Settings):
    """Settings of a grid of boxes.

    Attributes:
        tile_px: side of a box.
    """

    tile_px: Count = 32


SPEC = SegmenterSpec(
    name="tiles", summary="a grid of boxes", config=TilesConfig, build="samclr_example.tiles:TilesSegmenter"
)
