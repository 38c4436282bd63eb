"""Locks between processes, by the `filelock` library, so that they work on Windows too.

A lock is a small file that stays; who holds it, holds it until its process ends, however it ends. On a network file
system locks work where the system offers them (NFS 4, Lustre with -o flock, SMB); where it does not, the error says so.
"""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from samclr.errors import FilesError
from samclr.storage.files import read_json, room_for, write_json

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path` for the block, made with its folder if missing; yields whether this process has it.

    wait: wait until it is free; else yield False at once while another process, or another part of this one, has it.

    Raises:
        FilesError: the file system offers no locks.
    """
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
    try:
        with room_for(path):
            lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        raise FilesError(
            f"the file system of {path} does not support locks ({error}); mount it with them (NFS 4, Lustre -o flock), "
            f"or name a place on a local disk"
        ) from None
    try:
        yield True
    finally:
        lock.release()


def who_holds(path: Path) -> str:
    """Who holds a lock, as far as its neighbour `NAME.holder.json` tells: " (process 7 on host since ...)", or ""."""
    try:
        holder = read_json(_holder(path), {})
        return f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (FilesError, OSError, KeyError):
        return ""


def note_holder(path: Path) -> None:
    """Say beside a lock that this process holds it."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    write_json(_holder(path), {"pid": os.getpid(), "host": socket.gethostname(), "since": since})


def _holder(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder.json")
