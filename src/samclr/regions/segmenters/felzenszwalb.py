"""Felzenszwalb and Huttenlocher's graph segmentation (IJCV 2004), by scikit-image."""

import numpy as np
from jaxtyping import Int
from skimage.segmentation import felzenszwalb

from samclr.processes.memory_share import TooLargeError, memory_share
from samclr.regions.records import ImageRegions, Region, SegmentError, region_from_strip, regions_of_scene
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.felzenszwalb_spec import FelzenszwalbConfig
from samclr.scenes.decode import Scene

BYTES_PER_PX = 350  # that scikit-image takes at its peak: measured on photos of 1 to 12 megapixels


class FelzenszwalbSegmenter(Segmenter):
    """Cuts a scene into pieces of even colour: needs no model, no labels, no GPU."""

    scenes_per_call = 1

    def __init__(self, segmenter: str, options: FelzenszwalbConfig):
        self.options = options

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """See Segmenter. Every piece of the partition is a region."""
        return [self._segment_one(scene) for scene in scenes]

    def _segment_one(self, scene: Scene) -> ImageRegions | SegmentError:
        own = self.options
        height, width = scene.pixels.shape[:2]
        try:
            with memory_share(BYTES_PER_PX * height * width):
                pieces = felzenszwalb(scene.pixels, scale=own.scale, sigma=own.sigma, min_size=own.min_size)
                return regions_of_scene(scene, regions_of_partition(pieces, first=0))
        except TooLargeError as error:
            needs = f"felzenszwalb at {width}x{height} px would take {error}"
            message = f"{needs}; make the image smaller, or name another segmenter"
            return SegmentError(image_id=scene.image_id, message=message)


def regions_of_partition(pieces: Int[np.ndarray, "h w"], first: int) -> tuple[Region, ...]:
    """One region for each number from `first` on that occurs in an integer map."""
    from scipy.ndimage import find_objects

    regions = []
    for number, slices in enumerate(find_objects(pieces + 1 - first), start=first):
        if slices is not None:
            rows, columns = slices
            strip = np.zeros((len(pieces), columns.stop - columns.start), bool)
            strip[rows] = pieces[slices] == number
            regions.append(region_from_strip(strip, columns.start, pieces.shape[1]))
    return tuple(regions)
