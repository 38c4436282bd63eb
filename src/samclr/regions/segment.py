"""The job `samclr segment`: run a segmenter over all scenes and fill a region store."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from samclr.config.segmenters import SegmenterConfig, segmenter_spec
from samclr.errors import PartsError
from samclr.log import tell
from samclr.processes.stopping import stop_requested
from samclr.regions.records import SegmentError
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.create import build_segmenter, maker_of, segmenter_class
from samclr.regions.store import KIND, STORE_SCHEMA, regions_to_row
from samclr.scenes.decode import DecodeError, Scene, load_scene
from samclr.scenes.fill import MORE_PAGES, FillOptions, FillReport, Tally, add_tally, fill
from samclr.scenes.refs import SceneRef, file_stamp
from samclr.storage.parts import PartsFolder

SCENES_PER_CALL = 8
PIXELS_PER_CALL = 16_000_000  # at most this many wait decoded for the segmenter, and as many are being read
READERS = 2
Row = dict[str, Any]


def segment_scenes(
    refs: Sequence[SceneRef], config: SegmenterConfig, store_path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """Give every scene a row in the store. Safe to kill and to run twice at a time; see fill."""
    store = open_for_segmenting(config, store_path, refs, in_this_process=options.num_workers == 1)
    report = fill(store, refs, SegmentWork(config=config), options, f"segmenting with {config.segmenter}")
    segmenter_class(config).say_counted(config.options, report.tally)
    return store, report


def open_for_segmenting(
    config: SegmenterConfig, store_path: Path, refs: Sequence[SceneRef], in_this_process: bool
) -> PartsFolder:
    """Make or open the store. A wrong setting, a missing model or a store of another maker is refused here."""
    kind = segmenter_class(config)
    kind.check(config.segmenter, config.options, refs)
    if in_this_process:
        _segmenter(config)
    else:
        kind(config.segmenter, kind.for_trial(config.options))
    maker = maker_of(config)
    if (store_path / "manifest.json").exists():
        why = kind.why_other(PartsFolder(store_path, KIND).maker, maker)
        if why:
            raise PartsError(f"{store_path} {why}")
    tell(f"segmenter: {told(config)}")
    return PartsFolder.create_or_open(store_path, KIND, maker, len(refs))


def told(config: SegmenterConfig) -> str:
    """The segmenter and why it is this one: felzenszwalb (the default: needs no model and no GPU ...)."""
    spec = segmenter_spec(config.segmenter)
    if spec.names:  # one of a family, which was asked for
        return f"{config.segmenter} on {spec.device(config.options)}"
    why = ["the default"] if config.segmenter == SegmenterConfig.segmenter else []
    why += [spec.summary] if spec.summary else []
    return f"{config.segmenter} ({': '.join(why)})" if why else config.segmenter


@lru_cache(maxsize=1)
def _segmenter(config: SegmenterConfig) -> Segmenter:
    """One loaded segmenter a process."""
    return build_segmenter(config)


@dataclass(kw_only=True)
class SegmentWork:
    """Makes the rows of one part of a region store: reads ahead while the segmenter works."""

    config: SegmenterConfig
    tally: Tally = field(default_factory=dict)

    @property
    def segmenter(self) -> Segmenter:
        return _segmenter(self.config)

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        most = self.segmenter.scenes_per_call  # loads it, before any reading thread asks for it
        rows: list[Row] = []
        waiting: list[tuple[Row, Scene]] = []
        for row, scene in self._read_ahead(refs):
            if stop_requested():
                break
            rows.append(row)
            if scene is not None:
                waiting.append((row, scene))
            if len(waiting) == most or sum(s.pixels.size // 3 for _, s in waiting) >= PIXELS_PER_CALL:
                self._segment(waiting)
                waiting = []
        if stop_requested():
            undone = {row["image_id"] for row, _ in waiting}
            rows, waiting = [row for row in rows if row["image_id"] not in undone], []
        self._segment(waiting)
        return pa.Table.from_pylist(rows, schema=STORE_SCHEMA)

    def _read_ahead(self, refs: list[SceneRef]) -> Iterator[tuple[Row, Scene | None]]:
        """Rows in the order of refs, with their scene if it could be read. Few large or several small ones ahead."""
        with ThreadPoolExecutor(READERS) as readers:
            coming: deque[Future[tuple[Row, Scene | None]]] = deque()
            ahead = READERS
            for ref in refs:
                coming.append(readers.submit(self._read, ref))
                while len(coming) > ahead:
                    row, scene = coming.popleft().result()
                    if scene is not None:
                        ahead = min(max(1, PIXELS_PER_CALL // (scene.pixels.size // 3)), SCENES_PER_CALL)
                    yield row, scene
            while coming:
                yield coming.popleft().result()

    def _read(self, ref: SceneRef) -> tuple[Row, Scene | None]:
        # The stamp is taken before the bytes: a file replaced in between is noticed by the next run.
        file_size, mtime_ns = file_stamp(ref)
        row: Row = {"image_id": ref.image_id, "content_hash": "", "height": 0, "width": 0, "regions": []}
        row |= {"file_size": file_size, "mtime_ns": mtime_ns}
        try:
            scene = self.segmenter.complete(ref, load_scene(ref))
            height, width = scene.pixels.shape[:2]
            row |= {"content_hash": scene.content_hash, "height": height, "width": width}
        except DecodeError as error:
            row["status"] = str(error)
            return row, None
        return row, scene

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
