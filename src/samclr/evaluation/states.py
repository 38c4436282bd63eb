"""States of work that takes long, kept in the cache: killed and started again, it goes on after what was saved last."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from samclr.log import say
from samclr.processes.stopping import stop_requested, stop_signals, stopped
from samclr.storage.checksums import seal, without_seal
from samclr.storage.files import remove_leftovers, replacing_path

SAVE_EVERY_S = 60.0
STOPPED = "stopped; rerun the same command to resume"


class Keeper:
    """Keeps where work stands: now and then, at its end, and, if `kept` made it, when it is told to stop."""

    def __init__(self, path: Path | None, stops: bool = False):
        self._path, self._stops, self._last_saved = path, stops, time.monotonic()

    def keep(self, state: Callable[[], dict[str, Any] | None], *, is_whole: bool = False) -> None:
        """Call it after each step, and as often as one likes between two. state: as of now; None saves nothing.

        Raises:
            Stopped: by SIGTERM or Ctrl-C; the state is saved.
        """
        if self._path is None:
            return
        is_told = self._stops and stop_requested()
        if is_whole or is_told or time.monotonic() - self._last_saved > SAVE_EVERY_S:
            found = state()
            if found is not None:
                save_state(self._path, found)
            self._last_saved = time.monotonic()
        if is_told:
            raise stopped(STOPPED)


@contextmanager
def kept(path: Path | None) -> Iterator[Keeper]:
    """Work whose state is kept in a file; meanwhile signals wait for its keeper, and end no step in between.

    None: nothing is kept, and signals do what they did.
    """
    with nullcontext() if path is None else stop_signals():
        yield Keeper(path, stops=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state in one move: a kill leaves the old one or the new one."""
    with replacing_path(path) as beside:
        content = io.BytesIO()
        torch.save(state, content)  # which says nothing of a full disk
        beside.write_bytes(content.getbuffer())
        seal(beside)


def load_state(path: Path) -> dict[str, Any] | None:
    """What was saved; None if there is nothing, or something damaged: that is reported, and the protocol runs again."""
    remove_leftovers(path.parent)
    if not path.exists():
        return None
    content = without_seal(path.read_bytes())
    if content is None:
        say(f"{path} in the cache is damaged; the protocol runs again")
        return None
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
