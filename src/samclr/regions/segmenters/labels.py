"""Ground truth as a segmenter, the upper bound for mask quality: the connected pieces of a label map, or the masks of a
file of instances as they were annotated, which may overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from skimage.measure import label as connected_pieces

from samclr.datasets.annotation_index import all_labels, indexed, is_shared, kind_of, label_of_kind
from samclr.datasets.catalogue import DATASETS
from samclr.datasets.label_maps import (
    AS_THEY_STAND,
    LabelError,
    ValuesHeld,
    check_label_folder,
    label_of_stem,
    read_label_regions,
    say_turned,
)
from samclr.errors import ScenesError, UsageError, name_some, one_of
from samclr.log import option_of, say, tell
from samclr.regions.records import ImageRegions, SegmentError, region_from_rle, regions_of_scene
from samclr.regions.score import MAX_SEGMENTS
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.felzenszwalb import regions_of_partition
from samclr.regions.segmenters.instance_masks import MasksRead, say_skipped
from samclr.regions.segmenters.labels_spec import LABEL_RULE, LabelsConfig
from samclr.scenes.decode import DecodeError, Header, Scene
from samclr.scenes.refs import LabelFile, SceneRef

VALUE = "label_value_"  # before a value of label maps, in a tally


class LabelsSegmenter(Segmenter):
    """Every 8-connected piece of one label is a region; pieces of ignored labels and of negative values are none.

    Of instances, each annotation is one, in however many pieces.
    """

    scenes_per_call = 1

    def __init__(self, segmenter: str, options: LabelsConfig):
        self.options = options
        self.held = ValuesHeld(options.ignore_label)
        self.masks = MasksRead(held=self.held, crowds=options.crowds)

    @classmethod
    def check(cls, segmenter: str, options: LabelsConfig, refs: Sequence[SceneRef]) -> None:
        """Raises ScenesError for a missing or ambiguous folder, UsageError where no scene has a label map, or a setting
        has no effect on those that they have."""
        own = [] if options.labels is not None else [label_of_kind(ref, options.annotations) for ref in refs]
        if options.labels is not None:
            if options.annotations is not None:
                raise UsageError(
                    f"{option_of('annotations')} is for a data set's own labels; leave it out, or {option_of('labels')}"
                )
            if not options.labels.is_dir():
                raise ScenesError(f"no such folder of label maps: {options.labels}")
            check_label_folder(options.labels, refs)
        elif all(label is None for label in own):
            kinds = sorted({label.kind for ref in refs for label in all_labels(ref) if label.kind})
            those = f" of the kind {options.annotations}" if options.annotations else ""
            others = f"{option_of('annotations')} {' or '.join(kinds)}, or " if kinds else ""
            raise UsageError(
                f"the segmenter labels needs ground-truth label maps, and these scenes have none{those}: "
                f"add {others}{option_of('labels')} DIR"
            )
        shared = (label for label in own if label is not None and is_shared(label))
        if options.crowds and all(kind_of(label).form != "instances" for label in shared):
            raise UsageError(
                f"{option_of('crowds')} has no effect here: it is for annotations in a JSON of instances (COCO's), and "
                f"these labels are others; leave it out"
            )

    @classmethod
    def label_of(cls, options: LabelsConfig, ref: SceneRef) -> LabelFile | None:
        """The label map with the image's relative stem in the folder, else the data set's own; None if there is none.

        Raises LabelError for two label maps.
        """
        if options.labels is None:
            return ref.label
        found = label_of_stem(options.labels, ref.image_id)
        return None if found is None else LabelFile(path=str(found), rule=AS_THEY_STAND)

    @classmethod
    def settled(cls, options: LabelsConfig, refs: Sequence[SceneRef]) -> LabelsConfig:
        """With the kind of the data set's own labels, where it has several and none was asked for."""
        kinds = {ref.label.kind for ref in refs if ref.label is not None}
        kind = kinds.pop() if options.labels is None and options.annotations is None and len(kinds) == 1 else ""
        return replace(options, annotations=kind) if kind else options

    @classmethod
    def prepared(cls, options: LabelsConfig, refs: Sequence[SceneRef]) -> Sequence[SceneRef]:
        """With the labels that are asked for alone, and where in a file of many images each one's masks are."""
        if options.labels is not None:
            return refs
        chosen = [replace(ref, label=label_of_kind(ref, options.annotations), other_labels=()) for ref in refs]
        _say_unlabelled(chosen)
        for label in dict.fromkeys(ref.label for ref in chosen if ref.label is not None and is_shared(ref.label)):
            tell(f"regions are the {label.kind} of {label.path}, as they were annotated")
        for rule, kind in dict.fromkeys((one.rule, one.kind) for ref in chosen if (one := ref.label) and one.kind):
            if DATASETS[rule].kind(kind).form == "map":
                tell(f"regions are the pieces of {rule}'s {kind} maps")
        return indexed(chosen)

    @classmethod
    def notes(cls, options: LabelsConfig, refs: Sequence[SceneRef]) -> dict[str, Any]:
        """By which set's rule its own label maps are read, where it is one."""
        own = [] if options.labels is not None else [label_of_kind(ref, options.annotations) for ref in refs]
        rules = {(label.rule, label.kind) for label in own if label is not None and not is_shared(label)}
        if len(rules) != 1:
            return {}
        ((rule, kind),) = rules
        return {LABEL_RULE: {"set": rule, "kind": kind}}

    def take_counts(self) -> dict[str, float]:
        """The values that label maps held, where some are to be ignored."""
        counts = {f"{VALUE}{value}": float(count) for value, count in self.held.counts.items()}
        self.held.counts.clear()
        return counts | self.masks.take_skipped()

    @classmethod
    def say_counted(cls, options: LabelsConfig, counts: Mapping[str, float]) -> None:
        """Values to ignore that no label map held, and annotations that gave no region."""
        values = {int(name.removeprefix(VALUE)): int(n) for name, n in counts.items() if name.startswith(VALUE)}
        ValuesHeld(options.ignore_label, values).say_missing()
        say_skipped(counts)

    def complete(self, ref: SceneRef, scene: Scene) -> Scene:
        """With its label map or its masks; without, where there is none."""
        height, width = scene.pixels.shape[:2]
        if Header(height=height, width=width, orientation=scene.orientation).is_turned_unseen:
            say_turned()
        try:
            label = self.label_of(self.options, ref)
            if label is not None and is_shared(label):
                return replace(scene, label_masks=self.masks.read(label, scene))
            label_map = None if label is None else read_label_regions(label, (height, width))
        except LabelError as error:
            raise DecodeError(str(error)) from error
        return replace(scene, label_map=label_map)

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """See Segmenter. A scene without a label map, or with one of another size, gives a SegmentError."""
        return [self._segment_one(scene) for scene in scenes]

    def _segment_one(self, scene: Scene) -> ImageRegions | SegmentError:
        height, width = scene.pixels.shape[:2]
        labels = scene.label_map
        if scene.label_masks is not None:
            return regions_of_scene(scene, (region_from_rle(rle, height, width) for rle in scene.label_masks))
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
        if (num_pieces := int(pieces.max(initial=0))) > MAX_SEGMENTS:
            return SegmentError(
                image_id=scene.image_id,
                message=f"the label map has {num_pieces:,} pieces; expected at most {MAX_SEGMENTS:,}: is it a picture?",
            )
        return regions_of_scene(scene, regions_of_partition(pieces, first=1))


def _say_unlabelled(refs: Sequence[SceneRef]) -> None:
    """Say once how many images will fail for want of a label, and which splits have one for each in the release."""
    without = [ref.image_id for ref in refs if ref.label is None]
    if not without:
        return
    sets = [DATASETS[rule] for rule in dict.fromkeys(ref.label.rule for ref in refs if ref.label is not None)]
    whole = [
        f"{one.name}:{split.name}@ROOT" for one in sets for split in one.splits if split.labelled and split.required
    ]
    say(
        f"{len(without):,} of {len(refs):,} images have no label map in their data set, and fail: {name_some(without)}"
        + (f"; in the release, all have one in {one_of(whole)}" if whole else "")
    )
