"""A share of the machine's memory that its processes take in turn for what needs much of it at once.

It is counted in units, each a lock file: what a process holds is free again when it ends, however it ends.
"""

import getpass
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from samclr.storage.files import amount_of, safe_name
from samclr.storage.locks import locked

UNIT = 1 << 29  # bytes
SHARE = 0.6  # of the machine's memory
POLL_S = 0.05


class TooLargeError(Exception):
    """More than the share was asked for."""


@contextmanager
def memory_share(num_bytes: int) -> Iterator[None]:
    """Hold so much of the share for the block; waits for other processes. Less than a unit is not counted.

    Raises:
        TooLargeError: it is more than the whole share.
    """
    needed, all_units = math.floor(num_bytes / UNIT), math.floor(SHARE * machine_memory() / UNIT)
    if needed > all_units:
        raise TooLargeError(f"about {amount_of(num_bytes)} of memory, here at most {amount_of(all_units * UNIT)}")
    if needed == 0:
        yield
        return
    with ExitStack() as held:
        with locked(_folder() / "turn.lock"):  # one waits for all its units at a time, so none waits for ever
            units = iter(range(all_units))
            while needed:
                if (unit := next(units, None)) is None:
                    time.sleep(POLL_S)
                    units = iter(range(all_units))
                elif held.enter_context(locked(_folder() / f"{unit}.lock", wait=False)):
                    needed -= 1
        yield


def machine_memory() -> int:
    """Bytes that this process may have at most: the machine's memory, or its container's limit (Linux, cgroup 2)."""
    limits = [psutil.virtual_memory().total]
    root = Path("/sys/fs/cgroup")
    try:
        own = root / Path("/proc/self/cgroup").read_text("utf-8").strip().rpartition(":")[2].lstrip("/")
        for place in (own, *own.parents):
            if place.is_relative_to(root) and (file := place / "memory.max").exists():
                limits += [int(text) for text in [file.read_text("utf-8").strip()] if text.isdigit()]
    except OSError:  # no such system
        pass
    return min(limits)


def _folder() -> Path:
    """On this machine's own disk, for this user."""
    user = str(os.getuid()) if hasattr(os, "getuid") else safe_name(getpass.getuser())
    return Path(tempfile.gettempdir()) / f"samclr-memory-{user}"
