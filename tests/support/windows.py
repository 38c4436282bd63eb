"""What Windows and macOS do otherwise than Linux, played by patches: read the list before trusting a test with them."""

import builtins
import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

from samclr.storage import files

# Names that Python lacks on Windows and that a program might use.
MISSING_OF_OS = (
    *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "chown", "fchmod", "fchown", "fork", "forkpty", "geteuid", "getgid"),
    *("getpgid", "getuid", "killpg", "mkfifo", "posix_fadvise", "posix_fallocate", "pread", "pwrite"),
    *("sched_getaffinity", "sched_setaffinity", "setsid", "sync"),
)
MISSING_OF_SIGNAL = ("SIGALRM", "SIGBUS", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "setitimer")
MISSING_MODULES = ("fcntl", "grp", "pwd", "resource", "termios")


class HeldError(PermissionError):
    """As Windows raises it for a file that a process has open."""

    winerror = 32


def play_windows(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Take away what Windows lacks, and refuse what it refuses: to sync a file that is open for reading, and to move
    or remove what this process has open or mapped. Returns `refused`, the paths that were.
    """
    played = SimpleNamespace(refused=[])
    access, replace, unlink, sync = fcntl.fcntl, os.replace, os.unlink, os.fsync
    plain = builtins.__import__

    def held(path: object) -> bool:
        real = os.path.realpath(os.fspath(path))  # type: ignore[call-overload]
        found = any(one == real or one.startswith(f"{real}/") for one in open_files())
        if found:
            played.refused.append(Path(real))
        return found

    def replace_unheld(source: object, target: object, **named: object) -> None:
        if held(source) or held(target):
            raise HeldError(errno.EACCES, "The process cannot access the file", str(target))
        replace(source, target, **named)

    def unlink_unheld(path: object, **named: object) -> None:
        if "dir_fd" not in named and held(path):
            raise HeldError(errno.EACCES, "The process cannot access the file", str(path))
        unlink(path, **named)

    def sync_for_writing(number: int) -> None:
        if access(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        sync(number)

    def imported(name: str, *given: object, **named: object) -> object:
        caller = given[0] if given else None
        if name in MISSING_MODULES and isinstance(caller, dict) and str(caller.get("__name__")).startswith("samclr"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return plain(name, *given, **named)

    monkeypatch.setattr(os, "replace", replace_unheld)
    monkeypatch.setattr(os, "rename", replace_unheld)
    monkeypatch.setattr(os, "unlink", unlink_unheld)
    monkeypatch.setattr(os, "remove", unlink_unheld)
    monkeypatch.setattr(os, "fsync", sync_for_writing)
    monkeypatch.setattr(shutil.rmtree, "avoids_symlink_attacks", False, raising=False)
    monkeypatch.setattr(builtins, "__import__", imported)
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    monkeypatch.setattr(files, "BUSY_S", 0.1)
    for module, names in ((os, MISSING_OF_OS), (signal, MISSING_OF_SIGNAL)):
        for name in names:
            monkeypatch.delattr(module, name, raising=False)
    return played


def open_files() -> Iterator[str]:
    """The files that this process has open or mapped."""
    for number in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # that of the listing
            continue
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    yield from (line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count(" /"))


def faults_of_names(folder: Path) -> list[str]:
    """Files and folders below one that Windows would not take, or that share a name where case does not count."""
    faults, seen = [], {}
    for path in sorted(folder.rglob("*")):
        relative = PureWindowsPath(path.relative_to(folder).as_posix())
        if relative.parts != path.relative_to(folder).parts or relative.drive or relative.is_reserved():
            faults.append(f"{relative}: Windows reads this path otherwise")
        faults += [f"{relative}: {part!r} is no name there" for part in relative.parts if not files.is_portable(part)]
        key = str(relative).casefold()
        if key in seen:
            faults.append(f"{relative} and {seen[key]} differ in capitals alone")
        seen[key] = relative
        if len(str(relative)) > 150:  # of 260 that a path may have
            faults.append(f"{relative} has {len(str(relative))} letters")
    return faults
