"""Scenes read and decoded by threads while the work on those before goes on."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from samclr.processes.stopping import stop_requested
from samclr.scenes.decode import Scene
from samclr.scenes.refs import SceneRef, file_stamp

SCENES_PER_CALL = 8
PIXELS_PER_CALL = 16_000_000  # at most this many wait decoded for the work, and as many are being read
READERS = 2
Row = dict[str, Any]


def unread_row(ref: SceneRef) -> Row:
    """What a part says of an image that is not read yet.

    The stamp is taken before the bytes: a file replaced in between is noticed by the next run.
    """
    file_size, mtime_ns = file_stamp(ref)
    row = {"image_id": ref.image_id, "content_hash": "", "height": 0, "width": 0}
    return row | {"file_size": file_size, "mtime_ns": mtime_ns}


def read_ahead(
    refs: list[SceneRef], read: Callable[[SceneRef], tuple[Row, Scene | None]]
) -> Iterator[tuple[Row, Scene | None]]:
    """What `read` gives of each, in the order of refs: a row, and its scene if it could be read.

    Few large or several small ones are read ahead.
    """
    with ThreadPoolExecutor(READERS) as readers:
        coming: deque[Future[tuple[Row, Scene | None]]] = deque()
        ahead = READERS
        for ref in refs:
            coming.append(readers.submit(read, ref))
            while len(coming) > ahead:
                row, scene = coming.popleft().result()
                if scene is not None:
                    ahead = min(max(1, PIXELS_PER_CALL // (scene.pixels.size // 3)), SCENES_PER_CALL)
                yield row, scene
        while coming:
            yield coming.popleft().result()


def work_through(
    refs: list[SceneRef],
    read: Callable[[SceneRef], tuple[Row, Scene | None]],
    work: Callable[[list[tuple[Row, Scene]]], None],
    most: int,
) -> list[Row]:
    """Rows of all images, or of those that were done when the process was told to stop.

    read: gives an image's row, and its scene if it could be read; called by threads, ahead of the work.
    work: completes the rows of at most `most` scenes, or of fewer that are large.
    """
    rows: list[Row] = []
    waiting: list[tuple[Row, Scene]] = []
    for row, scene in read_ahead(refs, read):
        if stop_requested():
            break
        rows.append(row)
        if scene is not None:
            waiting.append((row, scene))
        if len(waiting) == most or sum(s.pixels.size // 3 for _, s in waiting) >= PIXELS_PER_CALL:
            work(waiting)
            waiting = []
    if stop_requested():
        undone = {row["image_id"] for row, _ in waiting}
        rows, waiting = [row for row in rows if row["image_id"] not in undone], []
    work(waiting)
    return rows
