"""Felzenszwalb and Huttenlocher's graph segmentation (IJCV 2004), by scikit-image."""

import numpy as np
from jaxtyping import Int
from skimage.segmentation import felzenszwalb

from samclr.regions.records import ImageRegions, Region, SegmentError, regions_of_scene
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.felzenszwalb_spec import FelzenszwalbConfig
from samclr.scenes.decode import Scene


class FelzenszwalbSegmenter(Segmenter):
    """Cuts a scene into pieces of even colour: needs no model, no labels, no GPU."""

    scenes_per_call = 1

    def __init__(self, segmenter: str, options: FelzenszwalbConfig):
        self.options = options

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """See Segmenter. Every piece of the partition is a region."""
        return [self._segment_one(scene) for scene in scenes]

    def _segment_one(self, scene: Scene) -> ImageRegions:
        own = self.options
        pieces = felzenszwalb(scene.pixels, scale=own.scale, sigma=own.sigma, min_size=own.min_size)
        return regions_of_scene(scene, regions_of_partition(pieces, first=0))


def regions_of_partition(pieces: Int[np.ndarray, "h w"], first: int) -> tuple[Region, ...]:
    """One region for each number from `first` on that occurs in an integer map."""
    from scipy.ndimage import find_objects

    from samclr.regions.records import region_from_mask

    regions = []
    for number, slices in enumerate(find_objects(pieces + 1 - first), start=first):
        if slices is not None:
            mask = np.zeros(pieces.shape, bool)
            mask[slices] = pieces[slices] == number
            regions.append(region_from_mask(mask))
    return tuple(regions)
