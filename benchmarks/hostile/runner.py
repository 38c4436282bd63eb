"""Commands of samclr, each in a forked process, and what became of them: quick, since samclr is imported once.

A command that serves a page is asked to end once it has told its address.
"""

import io
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

HANG_S = 60
MEMORY_BYTES = 12 << 30
MOST_TEXT = 200_000  # characters; the help of pretrain has 29,000
BAD_WORDS = ("unexpected", "Traceback (most recent call last)")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to. status: negative for a signal, None for a hang."""

    words: tuple[str, ...]
    status: int | None
    text: str

    @property
    def fault(self) -> str | None:
        """`hang`, `crash` or `unexpected`; None when it ended as a command should."""
        if self.status is None:
            return "hang"
        if self.status < 0 or self.status not in (0, 1, 2):
            return "crash"
        return "unexpected" if any(word in self.text for word in BAD_WORDS) else None


def samclr(*words: object, cache: Path, hang_s: float = HANG_S) -> Outcome:
    """Run `samclr WORDS` with a cache of its own, at most `hang_s` seconds and 12 GB."""
    given = tuple(map(str, words))
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _child(given, cache, writer)
    os.close(writer)
    text, status = _wait(process, reader, hang_s)
    return Outcome(words=given, status=status, text=text)


class _Told(io.StringIO):
    """Standard output; an address in it means that the command waits for readers."""

    serves = False

    def write(self, text: str) -> int:
        if text.startswith("http://"):
            self.serves = True
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return super().write(text)


def _child(words: Sequence[str], cache: Path, writer: int) -> None:
    from samclr.cli.main import main

    os.setsid()
    os.environ["SAMCLR_CACHE"] = str(cache)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(writer, 2)
    out, status = _Told(), 0
    try:
        with redirect_stdout(out), redirect_stderr(os.fdopen(os.dup(writer), "w", errors="backslashreplace")):
            try:
                main(list(words))
            except SystemExit as end:
                status = int(end.code or 0) if not isinstance(end.code, str) else 1
                status = 0 if out.serves and status == 128 + signal.SIGTERM else status
            finally:
                print(out.getvalue(), file=sys.stderr, flush=True)
    except BaseException:
        import traceback

        os.write(writer, traceback.format_exc().encode())
        status = 1
    os._exit(status)


def _wait(process: int, reader: int, hang_s: float) -> tuple[str, int | None]:
    os.set_blocking(reader, False)
    chunks, end, status = [], time.monotonic() + hang_s, None
    while True:
        chunks += _read(reader)
        done, code = os.waitpid(process, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
        if time.monotonic() > end:
            break
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    if status is None:
        os.waitpid(process, 0)
    chunks += _read(reader)
    os.close(reader)
    return b"".join(chunks).decode(errors="replace")[-MOST_TEXT:], status


def _read(reader: int) -> list[bytes]:
    chunks = []
    while True:
        try:
            chunk = os.read(reader, 1 << 16)
        except BlockingIOError:
            return chunks
        if not chunk:
            return chunks
        chunks.append(chunk)
