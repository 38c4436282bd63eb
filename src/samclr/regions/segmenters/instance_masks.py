"""An image's masks from a file of many: single annotations of COCO's JSON, or the mask files that a table names."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samclr.datasets.annotation_index import category_of, kind_of, mask_paths, place_of
from samclr.datasets.label_maps import LabelError, ValuesHeld, read_values
from samclr.errors import RegionError, name_some
from samclr.log import option_of, say
from samclr.regions.annotations import BOXES, CROWDS, EMPTY, PARTS, read_annotation
from samclr.regions.placing import Photo
from samclr.regions.records import region_from_mask
from samclr.scenes.decode import DecodeError, Scene
from samclr.scenes.fill import Tally, add_tally
from samclr.scenes.refs import LabelFile

SKIPPED = {  # of a tally, and what is said at the end
    BOXES: "{:,} annotations without a mask gave no region",
    CROWDS: "{:,} crowds (iscrowd 1) gave no region; {crowds} takes them as well",
    EMPTY: "{:,} annotations with an empty mask or without an area gave no region",
    PARTS: "{:,} polygons without an area were left out of masks of several",
}


@dataclass(kw_only=True)
class MasksRead:
    """Reads masks, in several threads, and counts what gave none. held: ids of categories, and those to leave out."""

    held: ValuesHeld
    crowds: bool
    skipped: Tally = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, label: LabelFile, scene: Scene) -> tuple[bytes, ...]:
        """COCO's run lengths of a scene's masks, in the file's order.

        Raises:
            DecodeError: the file does not name the scene or was changed, or an annotation is malformed or of another
                size than the scene.
        """
        height, width = scene.pixels.shape[:2]
        photo = Photo(height=height, width=width, orientation=scene.orientation)
        if not label.index:
            raise DecodeError(f"{Path(label.path).name} does not name this image")
        try:
            return self._of_files(label, photo) if kind_of(label).mask_files else self._of_json(label, photo)
        except (RegionError, LabelError) as error:
            raise DecodeError(str(error)) from None

    def _of_json(self, label: LabelFile, photo: Photo) -> tuple[bytes, ...]:
        place, skipped = place_of(label.index), Tally()
        if place.size is not None:
            photo.check(place.size, f"its entry in {Path(label.path).name}")
        regions, categories = [], []
        for value in _annotations(Path(label.path), place.stamp, place.spans):
            category = category_of(value)
            categories += [] if category is None else [category]
            if category in self.held.ignored:
                continue
            value = value | {"iscrowd": 0} if self.crowds and value.get("iscrowd") == 1 else value
            name = f"annotation {value.get('id')}"
            regions.append(read_annotation(value, photo, place.size or photo.drawn_size, name, skipped))
        with self.lock:
            add_tally(self.skipped, skipped)
            if self.held.ignored:
                self.held.add(np.unique(np.array(categories, np.int64)))
        return tuple(region.rle for region in regions if region is not None)

    def _of_files(self, label: LabelFile, photo: Photo) -> tuple[bytes, ...]:
        """Each file is a mask where it is not 0, and may be of another size with the photo's aspect."""
        photo = Photo(height=photo.height, width=photo.width, orientation=photo.orientation, rescale=True)
        masks = []
        for path in mask_paths(label.index):
            mask = np.asarray(read_values(path, None)) > 0
            photo.check(mask.shape, f"the mask {path.name}")
            masks.append(photo.scaled(mask))
        with self.lock:
            add_tally(self.skipped, {EMPTY: float(sum(not mask.any() for mask in masks))})
        return tuple(region_from_mask(mask).rle for mask in masks if mask.any())

    def take_skipped(self) -> Tally:
        """What was skipped since the last call."""
        with self.lock:
            skipped, self.skipped = self.skipped, {}
        return {name: value for name, value in skipped.items() if value}


def say_skipped(counts: Mapping[str, float]) -> None:
    """Say how many annotations gave no region, and why."""
    for name, text in SKIPPED.items():
        if counts.get(name):
            say(text.format(int(counts[name]), crowds=option_of("crowds")))


def _annotations(path: Path, stamp: tuple[int, int], spans: tuple[tuple[int, int], ...]) -> list[dict[str, Any]]:
    """An image's annotations, parsed. Raises RegionError if the file is not what it was when it was looked up."""
    found = []
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != stamp:
                raise RegionError(f"{path.name} was changed since this job began; run it again")
            for offset, length in spans:
                file.seek(offset)
                found.append(json.loads(file.read(length)))
    except (OSError, ValueError) as error:
        raise RegionError(f"cannot read {path.name}: {error}") from None
    if odd := [str(one)[:40] for one in found if not isinstance(one, dict)]:
        raise RegionError(f"{path.name} has annotations that are not objects: {name_some(odd)}")
    return found
