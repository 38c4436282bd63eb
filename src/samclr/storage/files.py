"""Files that appear whole or not at all, names from data that stay inside their folder, and JSON.

Every final file of samclr is written beside its name and renamed. What a killed process left in a folder is removed
by the next process that writes to it, or reads a cache there.
"""

import errno
import itertools
import json
import os
import re
import shutil
import socket
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from samclr.config.cache import cache_folder
from samclr.errors import FilesError
from samclr.storage.checksums import checksum_of_json

CHECKSUM = "checksum"  # the key of a sealed JSON file
LEFTOVER_AGE_S = 86_400.0  # what another machine's process left is removed when it has not grown for a day
LISTED_A_CALL = 100
CLOCK_S = 3600.0  # by so much a network disk's clock may be behind
_COUNTER = itertools.count()
_LEFTOVER = re.compile(r".+\.([0-9a-f]{8})-(\d+)-\d+\.tmp")
_CALLS_TO_COME: dict[Path, int] = {}  # before a folder is listed again
ON_WINDOWS = os.name == "nt"
BUSY_S = 5.0  # for which a file that another process has open is waited for, where the system does not let it go
_BUSY = (5, 32, 33)  # Windows' numbers: access denied, sharing violation, lock violation
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path, mode: str = "w", needed_bytes: int | None = None) -> Iterator[IO[Any]]:
    """A file to write that takes the place of `path` when the block ends without an error, bytes on the disk first.

    mode: "w" for UTF-8 text, "wb" for bytes.

    Raises:
        FilesError: the disk is full, or the folder cannot be written to.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with replacing_path(path, needed_bytes) as beside, open(beside, mode, **text) as handle:  # type: ignore[call-overload]
        yield handle


@contextmanager
def replacing_path(path: Path, needed_bytes: int | None = None) -> Iterator[Path]:
    """As `replacing`, for libraries that open the file themselves, or make a folder: yields the name to write to.

    The folder of `path` is made if missing. A folder at `path` is replaced only by a folder, and a device, a pipe or
    a socket by nothing.

    Raises:
        FilesError: the disk is full, `path` does not name a file, or something other than a file or folder is there.
    """
    _refuse_irreplaceable(path)
    beside = path.with_name(f"{path.name}.{own_mark()}.tmp")
    with room_for(path, needed_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        try:
            yield beside
            if beside.is_dir():
                if path.exists() and not path.is_dir():
                    raise FilesError(f"{path} is not a folder; expected a folder or a new name")
                _replace_folder(beside, path)
            elif path.is_dir():
                raise FilesError(f"{path} is a folder; expected the name of a file to write")
            else:
                put_in_place(beside, path)
        finally:
            remove_at(beside)


class BusyError(FilesError):
    """Another process has a file open, and the system, Windows, does not let it be replaced or removed."""


def put_in_place(beside: Path, path: Path) -> None:
    """Rename a file over another once its bytes are on the disk.

    Raises:
        BusyError: on Windows, another process has had `path` open for BUSY_S.
    """
    _sync(beside)
    _move(beside, path, path)


def _move(source: Path, target: Path, held: Path) -> None:
    """Rename. Windows moves nothing that a process has open or mapped: short looks at `held` are waited for."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if not _is_busy(error):
                raise
            if time.monotonic() > deadline:
                raise BusyError(
                    f"{held} is open in another program, and Windows does not let it be replaced; "
                    f"close that program, or wait until it has ended, and run the same command again"
                ) from None
        time.sleep(0.02)


def remove_if_free(path: Path) -> bool:
    """Remove a file that is of no more use; whether it is gone. One that Windows holds for its reader stays."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError as error:
        if not _is_busy(error):
            raise
        return False
    return True


def _is_busy(error: OSError) -> bool:
    return getattr(error, "winerror", None) in _BUSY


def _refuse_irreplaceable(path: Path) -> None:
    """Root could rename a file over /dev/null, and the machine would be without it."""
    if not path.name:
        raise FilesError(f"{path} is a folder; expected the name of a file to write")
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing there, or said when it is written
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FilesError(f"{path} is {_kind(mode)}, which is never overwritten; expected a file or a new name")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file in one move."""
    with replacing(path, "wb", len(content)) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file in one move."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, *, sealed: bool = False, indent: int | None = 1) -> None:
    """Write a JSON file in one move.

    sealed: add a key `checksum` to this object, by which `read_json` sees that any of its values changed.
    indent: None for one line, for what has many numbers.
    """
    if sealed:
        value = {key: item for key, item in value.items() if key != CHECKSUM}
        value |= {CHECKSUM: checksum_of_json(value)}
    write_text(path, json.dumps(value, indent=indent) + "\n")


def read_json(path: Path, missing: Any, remedy: str = "restore or remove it") -> Any:
    """A JSON file's value, without its checksum, or `missing` if there is no such file.

    Raises:
        FilesError: it is damaged, or holds no object where `missing` is one. `remedy` says what to do then.
    """
    try:
        value = json.loads(regular(path).read_bytes())
    except FileNotFoundError:
        return missing
    except (ValueError, RecursionError) as error:
        raise FilesError(f"{path} is damaged: {error}; {remedy}") from None
    if isinstance(missing, dict) and not isinstance(value, dict):
        raise FilesError(f"{path} is damaged: it holds a {type(value).__name__}, expected an object; {remedy}")
    if isinstance(value, dict) and not unseal(value):
        raise FilesError(
            f"{path} is damaged, or was changed by hand: its checksum does not fit; {remedy}, "
            f"or, if you changed it on purpose, delete its entry {CHECKSUM!r}"
        )
    return value


def unseal(value: dict[str, Any]) -> bool:
    """Take its checksum off an object; whether it is right. One without, of an older version, is taken as it is."""
    if CHECKSUM in value:
        return bool(value.pop(CHECKSUM) == checksum_of_json(value, parsed=True))
    return not any(len(key) == len(CHECKSUM) and sum(map(str.__ne__, key, CHECKSUM)) == 1 for key in value)


def is_sealed(path: Path) -> bool:
    """Whether a JSON file has a checksum; those of older versions have none."""
    return path.exists() and f'"{CHECKSUM}": '.encode() in path.read_bytes()


def regular(path: Path | str) -> Path:
    """The path, if it leads to a file that ends: reading a pipe, a socket or a device would wait for ever.

    Raises:
        OSError: there is no such file, or it is of another kind.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return Path(path)
    raise OSError(f"{path} is {_kind(mode)}; expected a regular file")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


@contextmanager
def room_for(path: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn "disk full" inside the block into one sentence with the path, the need where it is known, and what is free;
    and "permission denied" for `path` into one with the path, and not that of a temporary file, and what to do.

    Raises:
        FilesError: the disk that holds `path` is full, or it may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(path, error, needed_bytes) from None
        if error.errno in NOT_ALLOWED and not _is_busy(error) and _is_of(path, error.filename):
            raise not_allowed(path, error.strerror or str(error)) from None
        raise


def take_room(path: Path) -> None:
    """Take the disk's room for a file that is written through a map: there a full disk would be a bus error."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def not_allowed(path: Path, why: str) -> FilesError:
    """The error for a file that may not be written."""
    in_cache = path.absolute().is_relative_to(cache_folder().absolute())
    remedy = "set $SAMCLR_CACHE to a folder" if in_cache else "name a place"
    return FilesError(f"cannot write {path} ({why}); {remedy} that you may write to")


def refuse_unwritable(path: Path) -> None:
    """Raise FilesError, before any work, if a file cannot be made or replaced in its folder, which is there."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise not_allowed(path, "its folder is read-only")


def _is_of(path: Path, named: Any) -> bool:
    """Whether an error's file is `path`, one beside it that takes its place, or a folder above it."""
    if not isinstance(named, str):
        return False
    found = Path(named)
    return found in (path, *path.parents) or (found.parent == path.parent and found.name.startswith(f"{path.name}."))


def no_room(path: Path, error: OSError, needed_bytes: int | None = None) -> FilesError:
    """The error for a file that the system has no room for."""
    folder = next((p for p in (path, *path.parents) if p.is_dir()), Path("."))
    need = "" if needed_bytes is None else f" of {amount_of(needed_bytes)}"
    return FilesError(
        f"no room for {path}{need}: its disk has {amount_of(shutil.disk_usage(folder).free)} free "
        f"({error.strerror}); free some, or name a place on another disk, and rerun the same command"
    )


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder, whatever it was to become: of this machine at once, of another
    after a day.

    Full folders are listed at some calls alone: for each of a hundred thousand files it would take hours.
    """
    folder = folder.absolute()
    if _CALLS_TO_COME.get(folder, 0) > 0:
        _CALLS_TO_COME[folder] -= 1
        return
    entries = list(folder.glob("*"))
    _CALLS_TO_COME[folder] = len(entries) // LISTED_A_CALL
    for left in entries:
        if _is_dead(left):
            with suppress(PermissionError):  # another user's, in a folder that many share
                remove_at(left)


def confined(folder: Path, name: str) -> Path:
    """The place of a name that comes from data (an image id, a member, a column) below `folder`.

    Raises:
        FilesError: the name is empty, absolute, has a `..` or names a drive: it would lead out of the folder.
    """
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    parts = set(posix.parts) | set(windows.parts)
    if not posix.parts or posix.is_absolute() or windows.drive or windows.root or ".." in parts or "\0" in name:
        raise FilesError(f"the name {name!r} leads out of {folder}; expected a relative path without '..'")
    if ON_WINDOWS and not all(map(is_portable, windows.parts)):  # a colon would open a hidden stream of another file
        raise FilesError(f"the name {name!r} is not one that Windows takes; rename what it belongs to")
    return folder / posix


def is_portable(name: str) -> bool:
    """Whether a file or folder may have this name on Windows, too."""
    printable = all(ord(letter) >= 32 and letter not in '<>:"/\\|?*' for letter in name)
    return printable and name[-1:] not in ("", ".", " ") and _RESERVED.fullmatch(name) is None


def safe_name(text: str) -> str:
    """`text` as one file name that any system takes: letters, digits, dot, dash, underscore; short, never empty.

    A text that had to be changed, or has capitals, gets a checksum, so that two texts never share a name, also where
    case does not count.
    """
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in text)
    if kept == text.lower() and len(text) <= 80 and not text.startswith(".") and is_portable(text):
        return text
    made = f"{kept.strip('.-')[:64] or 'name'}-{zlib.crc32(text.encode('utf-8', 'backslashreplace')):08x}"
    return made if is_portable(made) else f"name-{made}"


def own_mark() -> str:
    """Machine, process and a number: no two files under way share a name."""
    return f"{_machine()}-{os.getpid()}-{next(_COUNTER)}"


@cache
def _machine() -> str:
    """This machine, or container: in others, which may have the same name, numbers mean other processes."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        container = ""
    return f"{zlib.crc32((socket.gethostname() + container).encode()):08x}"


def _is_dead(left: Path) -> bool:
    owner = _LEFTOVER.fullmatch(left.name)
    if owner is None:
        return False
    try:
        written = left.stat().st_mtime
    except OSError:  # renamed or removed meanwhile
        return False
    if owner[1] != _machine():
        return time.time() - written > LEFTOVER_AGE_S
    return not _is_alive(int(owner[2]), written)


def _is_alive(process: int, written: float) -> bool:
    """Whether the process that wrote something then is there still, and not a later one of the same number."""
    import psutil

    try:
        found = psutil.Process(process)
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < written + CLOCK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _replace_folder(beside: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        old = path.with_name(f"{path.name}.old.{own_mark()}.tmp")
        _move(path, old, path)
        _move(beside, path, path)
        remove_at(old)
    else:
        _move(beside, path, path)


def remove_at(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        remove_if_free(path)


def _sync(path: Path) -> None:
    with open(path, "rb+") as handle:
        os.fsync(handle.fileno())


def amount_of(num_bytes: int) -> str:
    """Bytes as a message shows them."""
    if num_bytes < 1e5:
        return f"{num_bytes:,} bytes"
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.2f} MB"
