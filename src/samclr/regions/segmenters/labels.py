"""Ground truth as a segmenter: the connected pieces of a label map, the upper bound for mask quality."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int
from skimage.measure import label as connected_pieces

from samclr.datasets.label_maps import (
    LabelError,
    ValuesHeld,
    check_label_folder,
    label_of_stem,
    read_label_regions,
    say_turned,
)
from samclr.errors import ScenesError, UsageError
from samclr.log import option_of
from samclr.regions.records import ImageRegions, SegmentError, regions_of_scene
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.felzenszwalb import regions_of_partition
from samclr.regions.segmenters.labels_spec import LabelsConfig
from samclr.scenes.decode import DecodeError, Header, Scene
from samclr.scenes.refs import LabelFile, SceneRef

VALUE = "label_value_"  # before a value of label maps, in a tally


class LabelsSegmenter(Segmenter):
    """Every 8-connected piece of one label is a region; pieces of ignored labels and of negative values are none."""

    scenes_per_call = 1

    def __init__(self, segmenter: str, options: LabelsConfig):
        self.options = options
        self.held = ValuesHeld(options.ignore_label)

    @classmethod
    def check(cls, segmenter: str, options: LabelsConfig, refs: Sequence[SceneRef]) -> None:
        """Raises ScenesError for a missing or ambiguous folder, UsageError where no scene has a label map."""
        if options.labels is not None:
            if not options.labels.is_dir():
                raise ScenesError(f"no such folder of label maps: {options.labels}")
            check_label_folder(options.labels, refs)
        elif all(ref.label is None for ref in refs):
            raise UsageError(
                f"the segmenter labels needs ground-truth label maps, and these scenes have none: "
                f"add {option_of('labels')} DIR"
            )

    def take_counts(self) -> dict[str, float]:
        """The values that label maps held, where some are to be ignored."""
        counts = {f"{VALUE}{value}": float(count) for value, count in self.held.counts.items()}
        self.held.counts.clear()
        return counts

    @classmethod
    def say_counted(cls, options: LabelsConfig, counts: Mapping[str, float]) -> None:
        """Values to ignore that no label map held."""
        values = {int(name.removeprefix(VALUE)): int(n) for name, n in counts.items() if name.startswith(VALUE)}
        ValuesHeld(options.ignore_label, values).say_missing()

    def complete(self, ref: SceneRef, scene: Scene) -> Scene:
        """With its label map; without, where there is none."""
        height, width = scene.pixels.shape[:2]
        if Header(height=height, width=width, orientation=scene.orientation).is_turned_unseen:
            say_turned()
        return replace(scene, label_map=read_label_map(ref, self.options.labels, (height, width)))

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
        if self.held.ignored:
            self.held.add(np.unique(labels[labels >= 0]))
        kept = np.where(np.isin(labels, self.options.ignore_label) | (labels < 0), -1, labels)
        pieces = connected_pieces(kept, background=-1, connectivity=2)
        return regions_of_scene(scene, regions_of_partition(pieces, first=1))


def read_label_map(ref: SceneRef, labels: Path | None, image_hw: tuple[int, int]) -> Int[np.ndarray, "h w"] | None:
    """The label map with the image's relative stem in `labels`, else the data set's own; None if there is none."""
    label = ref.label
    try:
        if labels is not None:
            found = label_of_stem(labels, ref.image_id)
            label = None if found is None else LabelFile(path=str(found), rule="values")
        return None if label is None else read_label_regions(label, image_hw)
    except LabelError as error:
        raise DecodeError(str(error)) from error
