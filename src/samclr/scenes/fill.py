"""Fill a folder of parts from a list of images, in any number of processes.

Pack and segment are this job with different work: find what is missing, do it part by part, notice replaced
files, count failures.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from samclr.errors import ScenesError, name_some
from samclr.log import option_of, options_are_named, say
from samclr.processes.stopping import Flag, stop_requested, stop_signals, stopped
from samclr.processes.workers import shared_flag, worker_processes
from samclr.scenes.buckets import by_bucket
from samclr.scenes.decode import pages_text
from samclr.scenes.outdated import drop_outdated
from samclr.scenes.progress import shown_progress
from samclr.scenes.refs import SceneRef
from samclr.scenes.replaced import ITS_LABEL, ITS_REGIONS, STAMP_COLUMNS, Row, has_same_stamps, replaced
from samclr.storage.parts import OK, PartsFolder, command_of

BUSY_WAIT_S = 0.5
MORE_PAGES = "more_pages"  # in a tally: images of several pages or frames
Tally = dict[str, float]
IN_PYTHON = {"samclr segment": "samclr.segment", "samclr embed": "samclr.embed"}
STOPPING = "stopping after the current images; press Ctrl-C again to stop at once"


@runtime_checkable
class Work(Protocol):
    """Makes the rows of one part. Must survive pickling, and turn every image's error into that row's status.

    Work that takes long for an image asks `stop_requested` between two, and returns the rows it has when told to stop.

    A `tally` (a Tally), if it has one, is emptied after each part, added up over all processes, and reported.
    """

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table: ...


@runtime_checkable
class HealingWork(Work, Protocol):
    """Work that rebuilds damaged parts, as it needs nothing but the images."""

    part_columns: tuple[str, ...]

    def fault_of(self, path: Path, rows: pa.Table) -> str | None:
        """What is wrong with the companion of a part, given its `part_columns`, if anything is."""
        ...


@dataclass(frozen=True, kw_only=True)
class FillOptions:
    """How to treat rows that exist already.

    is_last: the caller does nothing after it, so that a signal which comes when all rows are there ends nothing.
    """

    retry_errors: bool = False
    replace_changed: bool = False
    num_workers: int = 1
    is_last: bool = False


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that was counted: what, how many, and the names, where there are any.

    key: its name in JSON. is_failure: whether it ends a job with status 1 under --strict.
    """

    key: str
    text: str
    count: int
    names: list[str] = field(default_factory=list)
    is_failure: bool = False

    @classmethod
    def of(cls, key: str, text: str, names: list[str], is_failure: bool = False) -> "Note":
        """A note that counts its names."""
        return cls(key=key, text=text, count=len(names), names=names, is_failure=is_failure)

    def line(self) -> str:
        """As a person reads it, with the first names."""
        return f"{self.text}: {self.count:,}" + (f" ({name_some(self.names)})" if self.names else "")


@dataclass(kw_only=True)
class FillReport:
    """What one `fill` did, and the state of all its images afterwards.

    is_in_vain: every image that mattered failed, though others may have an empty row.
    """

    num_images: int = 0
    num_new: int = 0
    wall_s: float = 0.0
    changed: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    healed: dict[Path, str] = field(default_factory=dict)  # damaged parts that were made anew, and their faults
    tally: Tally = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    is_in_vain: bool = False


@dataclass(kw_only=True)
class _BucketResult:
    busy: bool = False
    is_whole: bool = False  # no image of the bucket lacks its row
    num_new: int = 0
    changed: list[str] = field(default_factory=list)
    healed: dict[Path, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=dict)


def fill(folder: PartsFolder, refs: Sequence[SceneRef], work: Work, options: FillOptions, title: str) -> FillReport:
    """Make the missing rows and return when every image has one, also those another process is making.

    Ctrl-C and SIGTERM end it after the image in hand of each process; a second Ctrl-C at once.

    Raises:
        ScenesError: files were replaced since their rows were made (all other rows are made first).
        Stopped: a signal ended it; what was done is kept.
    """
    start = time.monotonic()
    report = FillReport(num_images=len(refs))
    buckets = by_bucket(folder, refs, isinstance(work, HealingWork))
    unfinished = unfinished_buckets(folder, buckets, options, work)
    parallel = options.num_workers > 1 and len(unfinished) > 1
    num_left = len(unfinished)
    flag = shared_flag() if parallel else None
    with shown_progress(title, len(refs)) as advance, stop_signals(flag, STOPPING) as stop:
        advance(len(refs) - sum(map(len, unfinished.values())), "")
        run = partial(_run_in_processes, stop) if parallel else _run_here
        for bucket, result in run(folder.path, folder.kind, unfinished, work, options):
            report.num_new += result.num_new
            report.changed += result.changed
            report.healed |= result.healed
            add_tally(report.tally, result.tally)
            num_left -= result.is_whole
            advance(len(buckets[bucket]), tally_note(report.tally, report.num_new, start))
        if num_left or not options.is_last:
            check_stopped(stop, report, folder)
    drop_outdated(folder, work)
    report.wall_s = time.monotonic() - start
    finish_report(report, folder, refs)
    return report


def finish_report(report: FillReport, folder: PartsFolder, refs: Sequence[SceneRef]) -> None:
    """Add the images that failed, and say how many have more pages.

    Raises ScenesError if files were replaced since their rows were made.
    """
    if report.changed:
        kinds = {ITS_LABEL: "images or their labels", ITS_REGIONS: "images or their regions"}
        what = next((kind for its, kind in kinds.items() if any(one.endswith(its) for one in report.changed)), "images")
        raise ScenesError(
            f"{len(report.changed)} {what} were replaced since {folder.path} was made: "
            f"{name_some(sorted(report.changed))}; {redo_text(folder)} to redo their rows, or restore the files"
        )
    if more_pages := int(report.tally.get(MORE_PAGES, 0)):
        say(pages_text(more_pages))
    errors: dict[str, str] = {}
    for _, rows in folder.parts(["image_id", "status"]):
        for image_id, status in zip(rows["image_id"].to_pylist(), rows["status"].to_pylist(), strict=True):
            if status != OK:
                errors[image_id] = status
            elif errors:  # tried again
                errors.pop(image_id, None)
    wanted = {ref.image_id for ref in refs} if errors else set()
    report.errors = {image_id: status for image_id, status in sorted(errors.items()) if image_id in wanted}
    report.is_in_vain = len(report.errors) == report.num_images > 0


def redo_text(folder: PartsFolder) -> str:
    """What redoes the rows of a folder whose files were replaced: the command that made it, or its Python function."""
    command = command_of(folder.kind)
    if folder.kind == "region store":
        command = "samclr regions import" if folder.maker.get("segmenter") == "import" else "samclr segment"
    if options_are_named() or command not in IN_PYTHON:
        return f"run {command} with --replace-changed"
    return f"call {IN_PYTHON[command]} with replace_changed=True"


def add_tally(into: Tally, more: Tally) -> None:
    """Add up name by name."""
    for name, value in more.items():
        into[name] = into.get(name, 0.0) + value


def tally_text(report: FillReport) -> str:
    """The last line of the progress bar, which stays."""
    return tally_note(report.tally, report.num_new, time.monotonic() - report.wall_s)


def tally_note(tally: Tally, num_new: int, start: float) -> str:
    """Images and regions a second, masks an image, and the stages' shares of the time, as far as they are known."""
    wall_s = max(time.monotonic() - start, 1e-3)
    note = f"{num_new / wall_s:.1f} images/s"
    if "regions" in tally:
        note += f", {tally['regions'] / wall_s:.1f} regions/s"
    if tally.get("images") and "masks" in tally:
        note += f", {tally['masks'] / tally['images']:.1f} masks/image"
    stages = {name.removeprefix("stage_"): value for name, value in tally.items() if name.startswith("stage_")}
    total = max(sum(stages.values()), 1e-9)
    return note + "".join(f", {name} {value / total:.0%}" for name, value in stages.items())


def check_stopped(stop: Flag, report: FillReport, folder: PartsFolder) -> None:
    """Raise Stopped if a signal ended the job."""
    if stop.is_set():
        kept = "1 new image is" if report.num_new == 1 else f"{report.num_new} new images are"
        raise stopped(f"stopped: {kept} kept in {folder.path}; rerun the same command to do the rest")


def _run_here(
    path: Path, kind: str, buckets: dict[int, list[SceneRef]], work: Work, options: FillOptions
) -> Iterator[tuple[int, _BucketResult]]:
    """Yield (bucket, result) as they end; buckets locked by another process are asked for again."""
    waiting = list(buckets)
    while waiting and not stop_requested():
        busy = []
        for bucket in waiting:
            result = _fill_bucket(path, kind, bucket, buckets[bucket], work, options)
            if result.busy:
                busy.append(bucket)
            else:
                yield bucket, result
        waiting = busy
        time.sleep(BUSY_WAIT_S if busy else 0)


def _run_in_processes(
    stop: Flag, path: Path, kind: str, buckets: dict[int, list[SceneRef]], work: Work, options: FillOptions
) -> Iterator[tuple[int, _BucketResult]]:
    """As _run_here, in several processes, which end after the image in hand when `stop` is set."""
    waiting = list(buckets)
    with worker_processes(
        min(options.num_workers, len(buckets)), stop, f"filling {path}", option_of("workers")
    ) as pool:
        while waiting and not stop.is_set():
            running: dict[Future[_BucketResult], int] = {
                pool.submit(_fill_bucket, path, kind, bucket, buckets[bucket], work, options): bucket
                for bucket in waiting
            }
            waiting = []
            for future in as_completed(running):
                result = future.result()
                if result.busy:
                    waiting.append(running[future])
                else:
                    yield running[future], result
            time.sleep(BUSY_WAIT_S if waiting else 0)


def _fill_bucket(
    path: Path, kind: str, bucket: int, refs: list[SceneRef], work: Work, options: FillOptions
) -> _BucketResult:
    folder = PartsFolder(path, kind)
    if stop_requested():
        return _BucketResult()
    with folder.lock(bucket) as locked:
        if not locked:
            return _BucketResult(busy=True)
        folder.remove_leftovers(bucket)
        healed = discard_damaged(folder, bucket, work)
        todo, changed = missing_rows(folder, bucket, refs, options, work)
        result = _BucketResult(changed=changed, healed=healed)
        for first in range(0, len(todo), folder.part_rows):
            if stop_requested():
                break
            part = todo[first : first + folder.part_rows]
            result.num_new += folder.publish(bucket, lambda companion, part=part: work(part, companion))  # type: ignore[misc]
        result.is_whole = result.num_new == len(todo)
        tally = getattr(work, "tally", None)
        if tally is not None:
            result.tally = dict(tally)
            tally.clear()
        return result


def discard_damaged(folder: PartsFolder, bucket: int, work: Work) -> dict[Path, str]:
    """Remove the damaged parts of a locked bucket that `work` can rebuild, and say what was wrong with each."""
    damaged: dict[Path, str] = {}
    if isinstance(work, HealingWork):
        deque(sound_parts(folder, folder.part_paths(bucket), work, [], damaged), maxlen=0)
    for path in damaged:
        folder.discard(path)
    return damaged


def sound_parts(
    folder: PartsFolder, paths: Sequence[Path], work: Work | None, columns: list[str], damaged: dict[Path, str]
) -> Iterator[pa.Table]:
    """Some columns of each part. Damaged parts are noted instead, if `work` can rebuild them.

    Raises:
        PartsError: a part is damaged that `work` cannot rebuild.
    """
    if not isinstance(work, HealingWork):
        yield from (rows for _, rows in folder.parts(columns, paths))
        return
    wanted = list(dict.fromkeys([*columns, *work.part_columns]))
    for stem, rows in folder.parts(wanted, paths, damaged):
        path = folder.path / f"{stem}.parquet"
        if fault := work.fault_of(path, rows):
            damaged[path] = fault
        else:
            yield rows.select(columns)


def unfinished_buckets(
    folder: PartsFolder, buckets: dict[int, list[SceneRef]], options: FillOptions, work: Work | None = None
) -> dict[int, list[SceneRef]]:
    """The buckets that may have work, or leftovers of a process that was killed.

    Files' stamps alone are compared, in threads, since on a network each is waited for.
    """
    paths, left = folder.paths_by_bucket(), folder.buckets_with_leftovers()
    for bucket in left - buckets.keys():  # of images that are not asked for now
        with folder.lock(bucket) as is_dead:
            if is_dead:
                folder.remove_leftovers(bucket)

    def has_work(bucket: int) -> bool:
        if bucket in left:
            return True
        rows: dict[str, Row] = {}
        damaged: dict[Path, str] = {}
        for part in sound_parts(folder, paths.get(bucket, []), work, [*STAMP_COLUMNS], damaged):
            rows |= {row["image_id"]: row for row in part.to_pylist()}
        if options.retry_errors:
            rows = {image_id: row for image_id, row in rows.items() if row["status"] == OK}
        return bool(damaged) or any(
            ref.image_id not in rows or not has_same_stamps(ref, rows[ref.image_id], work) for ref in buckets[bucket]
        )

    with ThreadPoolExecutor(max(options.num_workers, 1)) as pool:
        found = pool.map(has_work, buckets)
        return {bucket: refs for (bucket, refs), work in zip(buckets.items(), found, strict=True) if work}


def missing_rows(
    folder: PartsFolder, bucket: int, refs: list[SceneRef], options: FillOptions, work: Work
) -> tuple[list[SceneRef], list[str]]:
    """Images of a bucket that need a row, and those of which `replaced` names what was, and that keep their row."""
    todo, changed, names = list[SceneRef](), list[SceneRef](), list[str]()
    rows = {row["image_id"]: row for row in folder.read([*STAMP_COLUMNS, "content_hash"], bucket).to_pylist()}
    for ref in refs:
        row = rows.get(ref.image_id)
        if row is None:
            todo.append(ref)
        elif row["status"] != OK:
            if options.retry_errors or not has_same_stamps(ref, row, work):
                todo.append(ref)
        elif name := replaced(ref, row, work):
            changed.append(ref)
            names.append(name)
    return (todo + changed, []) if options.replace_changed else (todo, names)
