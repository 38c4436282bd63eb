"""Ctrl-C and SIGTERM: long jobs end after the current image or step, keep what is done, and say so."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from samclr.log import say

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@runtime_checkable
class Flag(Protocol):
    """An event of threading or multiprocessing."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class Stopped(KeyboardInterrupt):
    """A signal ended a job early; what it had done is kept. `status` is the exit status a shell expects."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.status = 128 + number


class _State:
    flag: Flag | None = None
    number: int = signal.SIGTERM


def stop_requested() -> bool:
    """Whether this process, or the one that started it, was told to stop: work asks between two images."""
    return _State.flag is not None and _State.flag.is_set()


@contextmanager
def signals_held() -> Iterator[None]:
    """A process that is started in the block meets no signal before it calls `follow`; this one meets them after it.

    Ctrl-C, `timeout` and `scancel` tell a whole group of processes, also those that still import.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow(flag: Flag) -> None:
    """In a worker process: stop when the parent's flag says so. Signals, which may reach it too, are left to the
    parent."""
    _State.flag = flag
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stopped(message: str) -> Stopped:
    """The exception for a job that ended early by the last signal."""
    return Stopped(message, _State.number)


def stop_status() -> int:
    """The exit status of a command that the last signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + _State.number


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block with `Stopped`, wherever it is, so that files in the making are removed.

    Long jobs inside, which stop between two images or steps, have `stop_signals`. Outside the main thread, where Python
    handles no signals, it does nothing.
    """

    def on_signal(number: int, _: Any) -> None:
        raise Stopped("stopped by SIGTERM; rerun the same command to resume", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: set by no Python code


@contextmanager
def stop_signals(flag: Flag | None = None, remark: str = "") -> Iterator[Flag]:
    """A flag that SIGTERM and Ctrl-C set, with a remark at the first; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python handles no signals, nothing sets it.
    """
    flag = threading.Event() if flag is None else flag

    def on_signal(number: int, _: Any) -> None:
        if flag.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        _State.number = number
        if remark and not flag.is_set():
            say(remark)
        flag.set()

    outer, _State.flag = _State.flag, flag
    try:
        if threading.current_thread() is not threading.main_thread():
            yield flag
            return
        before = {number: signal.signal(number, on_signal) for number in SIGNALS}
        try:
            yield flag
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    finally:
        _State.flag = outer
