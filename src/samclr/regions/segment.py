"""The job `samclr segment`: run a segmenter over all scenes and fill a region store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from PIL import Image

from samclr.config import SegmenterConfig
from samclr.errors import ScenesError
from samclr.fill import FillOptions, FillReport, fill
from samclr.parts import PartsFolder
from samclr.regions.records import SegmentError
from samclr.regions.segmenters import Segmenter, build_segmenter
from samclr.regions.store import KIND, STORE_SCHEMA, regions_to_row
from samclr.scenes.decode import DecodeError, Scene, load_scene
from samclr.scenes.sources import SceneRef, file_stamp

SCENES_PER_CALL = 8
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


def segment_scenes(
    refs: Sequence[SceneRef], config: SegmenterConfig, store_path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """Give every scene a row in the store. Safe to kill and to run twice at a time; see fill."""
    build_segmenter(config)  # a wrong setting is refused before any work
    if config.labels is not None and not config.labels.is_dir():
        raise ScenesError(f"no such folder of label maps: {config.labels}")
    store = PartsFolder.create_or_open(store_path, KIND, config.maker(), len(refs))
    return store, fill(store, refs, SegmentWork(config=config), options, f"segmenting with {config.segmenter}")


@dataclass(frozen=True, kw_only=True)
class SegmentWork:
    """Makes the rows of one part of a region store."""

    config: SegmenterConfig

    @cached_property
    def segmenter(self) -> Segmenter:
        return build_segmenter(self.config)

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        rows = []
        for first in range(0, len(refs), SCENES_PER_CALL):
            rows += self._segment(refs[first : first + SCENES_PER_CALL])
        return pa.Table.from_pylist(rows, schema=STORE_SCHEMA)

    def _segment(self, refs: list[SceneRef]) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        scenes = []
        for ref in refs:
            # The stamp is taken before the bytes: a file replaced in between is noticed by the next run.
            file_size, mtime_ns = file_stamp(ref)
            row = {"image_id": ref.image_id, "content_hash": "", "height": 0, "width": 0, "regions": []}
            rows[ref.image_id] = row | {"file_size": file_size, "mtime_ns": mtime_ns}
            try:
                scene = load_scene(ref)
                if self.config.labels is not None:
                    scene = replace(scene, label_map=read_label_map(self.config.labels, ref.image_id))
                scenes.append(scene)
                height, width = scene.pixels.shape[:2]
                rows[ref.image_id] |= {"content_hash": scene.content_hash, "height": height, "width": width}
            except DecodeError as error:
                rows[ref.image_id]["status"] = str(error)
        start = time.perf_counter()
        for scene, found in zip(scenes, self._try_segment(scenes), strict=True):
            if isinstance(found, SegmentError):
                rows[scene.image_id]["status"] = found.message
            else:
                rows[scene.image_id] |= regions_to_row(found)
        for scene in scenes:
            rows[scene.image_id]["segment_s"] = (time.perf_counter() - start) / len(scenes)
        return list(rows.values())

    def _try_segment(self, scenes: list[Scene]) -> Sequence[Any]:
        """A segmenter that raises on a batch is asked scene by scene, so that one scene costs one row."""
        if not scenes:
            return []
        try:
            return self.segmenter.segment(scenes)
        except Exception as error:  # any fault of a segmenter is that image's row, never the job's end
            if len(scenes) == 1:
                message = f"segmenter failed: {type(error).__name__}: {error}"
                return [SegmentError(image_id=scenes[0].image_id, message=message)]
            return [answer for scene in scenes for answer in self._try_segment([scene])]


def read_label_map(labels: Path, image_id: str) -> Int[np.ndarray, "h w"] | None:
    """The label map with the image's relative stem, palette indices as they are; None if there is none."""
    stem = (labels / image_id).with_suffix("")
    for suffix in LABEL_SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            try:
                with Image.open(path) as image:
                    label_map = np.asarray(image)
            except Exception as error:  # as in decode: Pillow raises anything on broken bytes
                raise DecodeError(f"cannot decode label map {path.name}: {type(error).__name__}: {error}") from error
            if label_map.ndim != 2:
                raise DecodeError(f"label map {path.name} has {label_map.shape[2]} channels; expected one of label ids")
            return label_map.astype(np.int64)
    return None
