"""Segmenters: from a batch of scenes to a batch of regions. One seam, any maker of masks."""

from typing import Any, Protocol, runtime_checkable

from samclr.config.segmenters import SegmenterConfig
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.sam.catalogue import is_sam
from samclr.scenes.decode import Scene


@runtime_checkable
class Segmenter(Protocol):
    """Finds the regions of a batch of scenes.

    `scenes_per_call`, if it has one, is how many at a time make it quicker; a job that is told to stop ends after them.
    """

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """One answer a scene, in the order given; a scene that cannot be segmented gives a SegmentError."""
        ...


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """Make the segmenter; a SAM is loaded. Raises UsageError for a model or device that is not there."""
    if is_sam(config.segmenter):
        from samclr.regions.segmenters.sam import SamSegmenter

        return SamSegmenter(config)
    if config.segmenter == "labels":
        from samclr.regions.segmenters.labels import LabelsSegmenter

        return LabelsSegmenter(ignore_label=config.ignore_label)
    from samclr.regions.segmenters.felzenszwalb import FelzenszwalbSegmenter

    return FelzenszwalbSegmenter(scale=config.scale, sigma=config.sigma, min_size=config.min_size)


def maker_of(config: SegmenterConfig) -> dict[str, Any]:
    """What a store's manifest says of its maker: the settings and, for a SAM, its weights' hash and precision."""
    if not is_sam(config.segmenter):
        return config.maker()
    from samclr.regions.segmenters.sam import sam_maker

    return config.maker() | sam_maker(config)


def default_workers(config: SegmenterConfig) -> int | None:
    """Processes that suit the segmenter: for a SAM one a GPU, or one that uses all cores; else None, one a core."""
    if not is_sam(config.segmenter):
        return None
    import os

    import torch

    if "LOCAL_RANK" in os.environ or not torch.cuda.is_available() or config.compute.device not in ("auto", "cuda"):
        return 1
    return torch.cuda.device_count()
