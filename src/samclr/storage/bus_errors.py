"""A sentence instead of a bare SIGBUS, the signal of a mapped file that was cut, or whose disk fails, while it is read.

Python cannot handle this signal (the faulting instruction would run again for ever), so the handler is compiled: it
writes the sentence and ends the process with status 1. Systems without the signal, such as Windows, raise errors.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KEPT: list[Any] = []  # what the handler refers to must not be freed


@contextmanager
def bus_error_is_said(bank: Path) -> Iterator[None]:
    """While the block runs, a bus error ends the process with a sentence that names the bank, and status 1."""
    if not hasattr(signal, "SIGBUS"):
        yield
        return
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    text = (
        f"samclr: error: a mapped file was cut, or its disk failed, while it was read (SIGBUS): probably of the bank "
        f"{bank}; run samclr pack --verify on the same scenes with --bank {bank} to rebuild it, then rerun the same "
        f"command, which resumes from the last checkpoint\n"
    )
    before = libc.signal(signal.SIGBUS, _handler(libc, os.fsencode(text)))
    try:
        yield
    finally:
        libc.signal(signal.SIGBUS, before)


def _handler(libc: Any, text: bytes) -> int:
    """Address of a compiled function of the signal's number that writes `text` to stderr and ends the process."""
    from numba import cfunc, types

    write, leave = libc.write, libc._exit
    write.restype, write.argtypes = ctypes.c_ssize_t, (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    leave.restype, leave.argtypes = ctypes.c_int, (ctypes.c_int,)
    buffer = ctypes.create_string_buffer(text)
    address, length = ctypes.addressof(buffer), len(text)

    # A lambda: the tests' import hook wraps functions in what cannot be compiled.
    handler = cfunc(types.int64(types.int32))(lambda number: write(2, address, length) + leave(1))
    _KEPT.extend((buffer, handler))
    found: Any = handler.address
    return int(found)
