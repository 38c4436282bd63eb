"""`samclr segment --engine ray`: the same store, filled by actors of a Ray cluster.

Actors read images (from a shared folder or object storage) and segment them; the driver alone writes the store, so
the store may lie on its own disk. A killed actor's part is redone by a new one; a row that exists already is not
written twice.
"""

import pickle
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from samclr.config.segmenters import SegmenterConfig
from samclr.errors import PartsError
from samclr.log import name_options, options_are_named
from samclr.processes.ray_cluster import ClusterWatch, join_cluster
from samclr.processes.stopping import stop_requested, stop_signals
from samclr.regions.segment import SegmentWork, open_for_segmenting
from samclr.regions.segmenters.create import segmenter_class
from samclr.scenes.fill import (
    STOPPING,
    FillOptions,
    FillReport,
    Tally,
    add_tally,
    by_bucket,
    check_stopped,
    finish_report,
    missing_rows,
    progress_bar,
    tally_note,
    unfinished_buckets,
)
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder

NO_COMPANION = Path()
WAIT_S, AFTER_DEATH_S = 1.0, 1.0
MAX_DEATHS = 3  # of actors at one part; a cluster may lose any number over a long job


def segment_scenes_on_ray(
    refs: Sequence[SceneRef], config: SegmenterConfig, store_path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """As segment_scenes. `options.num_workers` is the number of actors; each takes one GPU where the cluster has some.

    Joins the cluster of RAY_ADDRESS, or starts Ray on this machine.

    Raises:
        UsageError: Ray is not installed, or its cluster cannot be joined.
        PartsError: the cluster is lost, or actors die repeatedly at one part.
        Stopped: a signal ended it; what was done is kept.
    """
    ray = join_cluster()
    store = open_for_segmenting(config, store_path, refs, in_this_process=False)
    start, report = time.monotonic(), FillReport(num_images=len(refs))
    buckets = by_bucket(store, refs)
    tasks: list[dict[str, Any]] = []
    num_todo = 0
    for bucket, members in unfinished_buckets(store, buckets, options).items():
        todo, changed = missing_rows(store, bucket, members, options)
        report.changed += changed
        num_todo += len(todo)
        for first in range(0, len(todo), store.part_rows):
            tasks.append({"bucket": bucket, "refs": pickle.dumps(todo[first : first + store.part_rows])})
    with progress_bar() as progress, stop_signals(remark=STOPPING) as stop:
        bar = progress.add_task(f"segmenting with {config.segmenter} on Ray", total=len(refs), note="")
        progress.advance(bar, len(refs) - num_todo)
        for bucket, rows, tally in _results(ray, tasks, config, options.num_workers):
            new = _publish(store, bucket, rows, buckets[bucket], options)
            report.num_new += new
            add_tally(report.tally, tally)
            progress.update(bar, advance=len(rows), note=tally_note(report.tally, report.num_new, start))
        check_stopped(stop, report, store)
    report.wall_s = time.monotonic() - start
    finish_report(report, store, refs)
    segmenter_class(config).say_counted(config.options, report.tally)
    return store, report


def _results(ray: Any, tasks: list[dict[str, Any]], config: SegmenterConfig, num_actors: int) -> Any:
    """(bucket, rows, tally) of each task as it ends. The task of an actor that died goes to a new one."""
    num_gpus = 1 if ray.cluster_resources().get("GPU", 0) > 0 else 0
    remote = ray.remote(num_cpus=1, num_gpus=num_gpus)(SegmentActor)
    watch = ClusterWatch(ray)
    waiting = deque(tasks)
    running: dict[Any, tuple[Any, dict[str, Any]]] = {}

    def give(actor: Any) -> None:
        if waiting:
            task = waiting.popleft()
            running[actor.segment.remote(task["refs"])] = actor, task

    for _ in range(min(num_actors, len(tasks))):
        give(remote.remote(config, options_are_named()))
    while running and not stop_requested():
        ready, _ = ray.wait(list(running), num_returns=1, timeout=WAIT_S)
        watch.check()
        if not ready:
            continue
        (done,) = ready
        actor, task = running.pop(done)
        try:
            rows, tally = ray.get(done)
        except ray.exceptions.RayError as error:
            time.sleep(AFTER_DEATH_S)  # where all die at once, the cluster is going
            watch.check()
            task["deaths"] = task.get("deaths", 0) + 1
            if task["deaths"] == MAX_DEATHS:
                raise PartsError(
                    f"{MAX_DEATHS} actors died at one part of bucket {task['bucket']}, the last one with: "
                    f"{_first_line(error)}; what was done is kept"
                ) from None
            waiting.appendleft(task)
            give(remote.remote(config, options_are_named()))
            continue
        give(actor)
        yield task["bucket"], pa.ipc.open_stream(rows).read_all(), tally


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


class SegmentActor:
    """One process of the cluster, with one loaded segmenter."""

    def __init__(self, config: SegmenterConfig, with_options: bool = False):
        name_options(with_options)
        self.work = SegmentWork(config=config)

    def segment(self, refs: bytes) -> tuple[bytes, Tally]:
        """Make the rows of one part, as Arrow bytes, and what the work reports."""
        rows = self.work(pickle.loads(refs), NO_COMPANION)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        tally = dict(self.work.tally)
        self.work.tally.clear()
        return sink.getvalue().to_pybytes(), tally


def _publish(store: PartsFolder, bucket: int, rows: pa.Table, members: list[SceneRef], options: FillOptions) -> int:
    """Add a part, without rows that another run has added meanwhile; returns how many were new."""
    while True:
        with store.lock(bucket) as locked:
            if locked:
                store.remove_leftovers(bucket)
                wanted = {ref.image_id for ref in missing_rows(store, bucket, members, options)[0]}
                keep = rows.filter(pa.array([image_id in wanted for image_id in rows["image_id"].to_pylist()]))
                if len(keep):
                    store.publish(bucket, lambda companion, keep=keep: keep)  # type: ignore[misc]
                return len(keep)
        time.sleep(0.5)
