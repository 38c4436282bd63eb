"""How far a folder of parts is filled: a bar on a terminal, elsewhere a line now and then."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from samclr.log import printable, remarks_are_shown, tell

EVERY_S = 30.0  # between two lines
Advance = Callable[[int, str], None]


@contextmanager
def shown_progress(title: str, total: int) -> Iterator[Advance]:
    """Yields what is told of images: how many more are done, and a note of what the work reports.

    The command line alone shows it. Lines come also while one image takes long.
    """
    if not remarks_are_shown():
        yield lambda num, note: None
    elif sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(printable(title), total=total, note="")
            yield lambda num, note: bar.update(task, advance=num, note=note)
    else:
        with _lines(title, total) as advance:
            yield advance


@contextmanager
def _lines(title: str, total: int) -> Iterator[Advance]:
    done, last_note, start, ended = 0, "", time.monotonic(), threading.Event()

    def advance(num: int, note: str) -> None:
        nonlocal done, last_note
        done, last_note = done + num, note

    def tell_on() -> None:
        while not ended.wait(EVERY_S):
            note = f", {last_note}" if last_note else ""
            tell(f"{title}: {done:,} of {total:,} images after {time.monotonic() - start:.0f} s{note}")

    thread = threading.Thread(target=tell_on, daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        ended.set()
        thread.join()


def _bar() -> Any:
    """rich's Progress over images done and to come."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
