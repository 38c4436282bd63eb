"""A grid of boxes as a segmenter."""

import numpy as np

from samclr.regions.records import ImageRegions, Region, SegmentError, region_from_mask
from samclr.regions.segmenters.base import Segmenter
from samclr.scenes.decode import Scene
from samclr_example.tiles_spec import TilesConfig


class TilesSegmenter(Segmenter):
    """Every box of the grid is a region; those at the right and at the bottom may be smaller."""

    def __init__(self, segmenter: str, options: TilesConfig):
        self.tile_px = options.tile_px

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """See Segmenter."""
        return [self._of_one(scene) for scene in scenes]

    def _of_one(self, scene: Scene) -> ImageRegions:
        height, width = scene.pixels.shape[:2]
        corners = [(y, x) for y in range(0, height, self.tile_px) for x in range(0, width, self.tile_px)]
        return ImageRegions(
            image_id=scene.image_id,
            content_hash=scene.content_hash,
            height=height,
            width=width,
            regions=tuple(self._region(height, width, y, x) for y, x in corners),
        )

    def _region(self, height: int, width: int, y: int, x: int) -> Region:
        mask = np.zeros((height, width), bool)
        mask[y : y + self.tile_px, x : x + self.tile_px] = True
        return region_from_mask(mask)
