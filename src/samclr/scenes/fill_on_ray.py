"""`--engine ray`: the same folder of parts, filled by actors of a Ray cluster.

Actors read images (from a shared folder or object storage) and make their rows; the driver alone writes the folder, so
it may lie on the driver's own disk. A killed actor's part is redone by a new one; a row that exists already is not
written twice.
"""

import pickle
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from samclr.errors import PartsError
from samclr.log import name_options, options_are_named
from samclr.processes.ray_cluster import ClusterWatch, has_gpus
from samclr.processes.stopping import stop_requested, stop_signals
from samclr.scenes.buckets import by_bucket
from samclr.scenes.fill import (
    STOPPING,
    FillOptions,
    FillReport,
    HealingWork,
    Tally,
    Work,
    add_tally,
    check_stopped,
    discard_damaged,
    finish_report,
    missing_rows,
    tally_note,
    unfinished_buckets,
)
from samclr.scenes.outdated import CompanionWork, drop_outdated
from samclr.scenes.progress import shown_progress
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder

WAIT_S, AFTER_DEATH_S = 1.0, 1.0
MAX_DEATHS = 3  # of actors at one part; a cluster may lose any number over a long job


def fill_on_ray(
    ray: Any, folder: PartsFolder, refs: Sequence[SceneRef], work: Work, options: FillOptions, title: str
) -> FillReport:
    """As `fill`. `options.num_workers` is the number of actors; each takes one GPU where the cluster has some.

    ray: what `join_cluster` gives.

    Raises:
        PartsError: the cluster is lost, or actors die repeatedly at one part.
        Stopped: a signal ended it; what was done is kept.
    """
    start, report = time.monotonic(), FillReport(num_images=len(refs))
    buckets = by_bucket(folder, refs, isinstance(work, HealingWork))
    tasks: list[dict[str, Any]] = []
    num_todo = 0
    for bucket, members in unfinished_buckets(folder, buckets, options, work).items():
        with folder.lock(bucket) as locked:
            if locked:
                report.healed |= discard_damaged(folder, bucket, work)
        todo, changed = missing_rows(folder, bucket, members, options, work)
        report.changed += changed
        num_todo += len(todo)
        for first in range(0, len(todo), folder.part_rows):
            tasks.append({"bucket": bucket, "refs": pickle.dumps(todo[first : first + folder.part_rows])})
    with shown_progress(f"{title} on Ray", len(refs)) as advance, stop_signals(remark=STOPPING) as stop:
        advance(len(refs) - num_todo, "")
        for bucket, made in _results(ray, tasks, work, options.num_workers):
            report.num_new += _publish(folder, bucket, made, buckets[bucket], work, options)
            add_tally(report.tally, made.tally)
            num_todo -= len(made.rows)
            advance(len(made.rows), tally_note(report.tally, report.num_new, start))
        if num_todo or not options.is_last:
            check_stopped(stop, report, folder)
    drop_outdated(folder, work)
    report.wall_s = time.monotonic() - start
    finish_report(report, folder, refs)
    return report


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What an actor made of one part: rows, the bytes of a companion, if it has one, and what the work reports."""

    rows: pa.Table
    companion: bytes | None
    tally: Tally


def _results(ray: Any, tasks: list[dict[str, Any]], work: Work, num_actors: int) -> Iterator[tuple[int, _Made]]:
    """Bucket and result of each task as it ends. The task of an actor that died goes to a new one."""
    remote = ray.remote(num_cpus=1, num_gpus=int(has_gpus(ray)))(WorkActor)
    watch = ClusterWatch(ray)
    waiting = deque(tasks)
    running: dict[Any, tuple[Any, dict[str, Any]]] = {}

    def give(actor: Any) -> None:
        if waiting:
            task = waiting.popleft()
            running[actor.make.remote(task["refs"])] = actor, task

    for _ in range(min(num_actors, len(tasks))):
        give(remote.remote(work, options_are_named()))
    while running and not stop_requested():
        ready, _ = ray.wait(list(running), num_returns=1, timeout=WAIT_S)
        watch.check()
        if not ready:
            continue
        (done,) = ready
        actor, task = running.pop(done)
        try:
            rows, companion, tally = ray.get(done)
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
            give(remote.remote(work, options_are_named()))
            continue
        give(actor)
        yield task["bucket"], _Made(rows=pa.ipc.open_stream(rows).read_all(), companion=companion, tally=tally)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


class WorkActor:
    """One process of the cluster, with what the work loads once."""

    def __init__(self, work: Work, with_options: bool = False):
        name_options(with_options)
        self.work = work

    def make(self, refs: bytes) -> tuple[bytes, bytes | None, Tally]:
        """Make the rows of one part, as Arrow bytes, its companion, and what the work reports."""
        with TemporaryDirectory() as folder:
            companion = Path(folder) / "companion"
            rows = self.work(pickle.loads(refs), companion)
            content = companion.read_bytes() if companion.exists() else None
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        tally: Tally = getattr(self.work, "tally", {})
        reported = dict(tally)
        tally.clear()
        return sink.getvalue().to_pybytes(), content, reported


def _publish(
    folder: PartsFolder, bucket: int, made: _Made, members: list[SceneRef], work: Work, options: FillOptions
) -> int:
    """Add a part, without rows that another run has added meanwhile; returns how many were new."""
    while True:
        with folder.lock(bucket) as locked:
            if locked:
                folder.remove_leftovers(bucket)
                wanted = {ref.image_id for ref in missing_rows(folder, bucket, members, options, work)[0]}
                is_new = [image_id in wanted for image_id in made.rows["image_id"].to_pylist()]
                keep = made.rows.filter(pa.array(is_new, pa.bool_()))

                def make_part(companion: Path, keep: pa.Table = keep) -> pa.Table:
                    if made.companion is not None:
                        companion.write_bytes(made.companion)
                        if len(keep) < len(made.rows) and isinstance(work, CompanionWork):
                            work.keep_only(companion, set(keep["image_id"].to_pylist()))
                    return keep

                return folder.publish(bucket, make_part) if len(keep) else 0
        time.sleep(0.5)
