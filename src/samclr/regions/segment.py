"""The job `samclr segment`: run a segmenter over all scenes and fill a region store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from samclr.config.segmenters import SegmenterConfig, segmenter_spec
from samclr.datasets.annotation_index import hash_of, stamp_of
from samclr.datasets.label_maps import LabelError
from samclr.errors import PartsError
from samclr.log import tell
from samclr.regions.records import SegmentError
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.create import build_segmenter, maker_of, segmenter_class
from samclr.regions.store import KIND, STORE_SCHEMA, regions_to_row
from samclr.scenes.decode import DecodeError, Scene, load_scene
from samclr.scenes.fill import MORE_PAGES, FillOptions, FillReport, Tally, add_tally, fill
from samclr.scenes.read_ahead import Row, unread_row, work_through
from samclr.scenes.refs import LabelFile, SceneRef
from samclr.scenes.replaced import ITS_LABEL
from samclr.storage.parts import PartsFolder

DEVICE_ERROR, NO_MEMORY = "CUDA error", "out of memory"  # in what torch raises
MOST_WITHOUT_MEMORY = 4  # images in a row, before any was segmented
KEPT = "finished parts are kept: rerun the same command to do the rest"


def segment_scenes(
    refs: Sequence[SceneRef], config: SegmenterConfig, store_path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """Give every scene a row in the store. Safe to kill and to run twice at a time; see fill."""
    try:
        config = settled(config, refs)
        store = open_for_segmenting(config, store_path, refs, in_this_process=options.num_workers == 1)
        refs = segmenter_class(config).prepared(config.options, refs)
        report = fill(store, refs, SegmentWork(config=config), options, f"segmenting with {config.segmenter}")
        segmenter_class(config).say_counted(config.options, report.tally)
        return store, report
    finally:
        _loaded.cache_clear()  # its memory is free, and the next job loads the model as it is then


def settled(config: SegmenterConfig, refs: Sequence[SceneRef]) -> SegmenterConfig:
    """The segmenter with what its settings leave to the scenes decided by them."""
    options = segmenter_class(config).settled(config.options, refs)
    return SegmenterConfig(segmenter=config.segmenter, options=options)


def open_for_segmenting(
    config: SegmenterConfig, store_path: Path, refs: Sequence[SceneRef], in_this_process: bool
) -> PartsFolder:
    """Make or open the store. A wrong setting, a missing model or a store of another maker is refused here."""
    kind = segmenter_class(config)
    kind.check(config.segmenter, config.options, refs)
    if in_this_process:
        _loaded(config)
    else:
        kind(config.segmenter, kind.for_trial(config.options))
    maker = maker_of(config)
    if (store_path / "manifest.json").exists():
        why = kind.why_other(PartsFolder(store_path, KIND).maker, maker)
        if why:
            raise PartsError(f"{store_path} {why}")
    tell(f"segmenter: {told(config)}")
    return PartsFolder.create_or_open(store_path, KIND, maker, len(refs), kind.notes(config.options, refs))


def told(config: SegmenterConfig) -> str:
    """The segmenter and why it is this one: felzenszwalb (the default: needs no model and no GPU ...)."""
    spec = segmenter_spec(config.segmenter)
    if spec.names:  # one of a family, which was asked for
        return f"{config.segmenter} on {spec.device(config.options)}"
    why = ["the default"] if config.segmenter == SegmenterConfig.segmenter else []
    why += [spec.summary] if spec.summary else []
    return f"{config.segmenter} ({': '.join(why)})" if why else config.segmenter


@dataclass(kw_only=True)
class _Loaded:
    """A process's segmenter, with the last scene that it segmented, or how often it lacked memory before any."""

    segmenter: Segmenter
    done: Scene | None = None
    num_without_memory: int = 0


@lru_cache(maxsize=1)
def _loaded(config: SegmenterConfig) -> _Loaded:
    """One a process and job."""
    return _Loaded(segmenter=build_segmenter(config))


@dataclass(kw_only=True)
class SegmentWork:
    """Makes the rows of one part of a region store: reads ahead while the segmenter works."""

    config: SegmenterConfig
    tally: Tally = field(default_factory=dict)
    its_label: str = ITS_LABEL

    @property
    def segmenter(self) -> Segmenter:
        return _loaded(self.config).segmenter

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        most = self.segmenter.scenes_per_call  # loads it, before any reading thread asks for it
        rows = work_through(refs, self._read, self._segment, most)
        return pa.Table.from_pylist(rows, schema=STORE_SCHEMA)

    def _read(self, ref: SceneRef) -> tuple[Row, Scene | None]:
        row: Row = unread_row(ref) | {"regions": [], "label_file": self._label_file(ref)}
        try:
            scene = self.segmenter.complete(ref, load_scene(ref))
            height, width = scene.pixels.shape[:2]
            row |= {"content_hash": scene.content_hash, "height": height, "width": width}
        except DecodeError as error:
            row["status"] = str(error)
            return row, None
        return row, scene

    def label_stamp(self, ref: SceneRef) -> tuple[int, int]:
        """See OfLabels."""
        return stamp_of(self._label(ref))

    def label_hash(self, ref: SceneRef) -> str:
        """See OfLabels."""
        return hash_of(self._label(ref))

    def _label(self, ref: SceneRef) -> LabelFile | None:
        try:
            return segmenter_class(self.config).label_of(self.config.options, ref)
        except LabelError:  # which then is its row's status
            return None

    def _label_file(self, ref: SceneRef) -> Row | None:
        """Taken before the label is read, as the image's stamp is."""
        if (label := self._label(ref)) is None:
            return None
        size, mtime_ns = stamp_of(label)
        return {"hash": hash_of(label), "size": size, "mtime_ns": mtime_ns}

    def _segment(self, waiting: list[tuple[Row, Scene]]) -> None:
        """Put the regions, or why there are none, into the scenes' rows."""
        start = time.perf_counter()
        for (row, scene), found in zip(waiting, self._try_segment([scene for _, scene in waiting]), strict=True):
            if isinstance(found, SegmentError):
                row["status"] = found.message
            else:
                row |= regions_to_row(found)
                add_tally(self.tally, {"images": 1, "masks": len(found.regions)})
                add_tally(self.tally, {MORE_PAGES: float(scene.has_more_pages)})
        wall_s = time.perf_counter() - start
        for row, _ in waiting:
            row["segment_s"] = wall_s / len(waiting)
        add_tally(self.tally, self.segmenter.take_counts())
        add_tally(self.tally, {f"stage_{stage}": seconds for stage, seconds in self.segmenter.take_times().items()})

    def _try_segment(self, scenes: list[Scene]) -> Sequence[Any]:
        """A segmenter that raises on a batch is asked scene by scene, so that one scene costs one row.

        Raises PartsError where the fault is not that scene's: the device is lost, or its memory is taken.
        """
        if not scenes:
            return []
        try:
            answers = self.segmenter.segment(scenes)
        except Exception as error:  # a fault at one image is its row; see _check_alive for those that are not
            if len(scenes) > 1:
                return [answer for scene in scenes for answer in self._try_segment([scene])]
            self._check_alive(scenes[0], error)
            message = f"segmenter failed: {type(error).__name__}: {error}"
            return [SegmentError(image_id=scenes[0].image_id, message=message)]
        for scene, answer in zip(scenes, answers, strict=True):
            if not isinstance(answer, SegmentError):
                _loaded(self.config).done = scene
        return answers

    def _check_alive(self, scene: Scene, error: Exception) -> None:
        """Raise PartsError if the device is lost, or the segmenter fails at the scene that it last segmented, too."""
        own, where = _loaded(self.config), f"{self.config.segmenter} failed at {scene.image_id} ({_short(error)})"
        if DEVICE_ERROR in str(error):
            raise PartsError(f"{where}: the device is lost; {KEPT}") from error
        if own.done is None:
            own.num_without_memory += isinstance(error, MemoryError) or NO_MEMORY in str(error)
            if own.num_without_memory == MOST_WITHOUT_MEMORY:
                raise PartsError(f"{where}, as at all images before; free memory of the device; {KEPT}") from error
            return
        try:
            own.segmenter.segment([own.done])
        except Exception as again:
            raise PartsError(
                f"{where}, and now fails at {own.done.image_id}, which it had segmented ({_short(again)}); {KEPT}"
            ) from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
