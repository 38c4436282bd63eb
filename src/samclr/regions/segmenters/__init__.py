"""Segmenters: from a batch of scenes to a batch of regions. One seam, any maker of masks."""

from typing import Protocol, runtime_checkable

from samclr.config import SegmenterConfig
from samclr.errors import UsageError
from samclr.regions.records import ImageRegions, SegmentError
from samclr.scenes.decode import Scene


@runtime_checkable
class Segmenter(Protocol):
    """Finds the regions of a batch of scenes."""

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """One answer a scene, in the order given; a scene that cannot be segmented gives a SegmentError."""
        ...


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """Make the segmenter. Raises UsageError for an unknown name or a missing setting."""
    from samclr.regions.segmenters.felzenszwalb import FelzenszwalbSegmenter
    from samclr.regions.segmenters.labels import LabelsSegmenter

    if config.segmenter == "felzenszwalb":
        return FelzenszwalbSegmenter(scale=config.scale, sigma=config.sigma, min_size=config.min_size)
    if config.segmenter == "labels":
        if config.labels is None:
            raise UsageError("the segmenter labels needs ground-truth label maps: add --labels DIR")
        return LabelsSegmenter(ignore_label=config.ignore_label)
    raise UsageError(f"no segmenter {config.segmenter!r}; choose felzenszwalb or labels")
