"""Ground truth as a segmenter: the connected pieces of a label map, the upper bound for mask quality."""

import numpy as np
from skimage.measure import label as connected_pieces

from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.segmenters.felzenszwalb import regions_of_partition
from samclr.scenes.decode import Scene


class LabelsSegmenter:
    """Every 8-connected piece of one label is a region; pieces of ignored labels and of negative values are none."""

    scenes_per_call = 1

    def __init__(self, *, ignore_label: tuple[int, ...]):
        self.ignore_label = ignore_label

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """See Segmenter. A scene without a label map, or with one of another size, gives a SegmentError."""
        return [self._segment_one(scene) for scene in scenes]

    def _segment_one(self, scene: Scene) -> ImageRegions | SegmentError:
        height, width = scene.pixels.shape[:2]
        labels = scene.label_map
        if labels is None:
            return SegmentError(image_id=scene.image_id, message="no label map for this image")
        if labels.shape != (height, width):
            return SegmentError(
                image_id=scene.image_id,
                message=f"the label map is {labels.shape[1]}x{labels.shape[0]} px, the image {width}x{height} px",
            )
        kept = np.where(np.isin(labels, self.ignore_label) | (labels < 0), -1, labels)
        pieces = connected_pieces(kept, background=-1, connectivity=2)
        return ImageRegions(
            image_id=scene.image_id,
            content_hash=scene.content_hash,
            height=height,
            width=width,
            regions=regions_of_partition(pieces, first=1),
        )
