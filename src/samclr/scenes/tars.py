"""Images in tar shards of the WebDataset layout, read where they lie: a shard is indexed once and never unpacked.

Members with one name up to the first dot are one sample. Its image is the member whose whole extension is an image's
(`KEY.jpg` before `KEY.png`, which may be its labels); where it has none, all that end so (`KEY.left.jpg` and so on).
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import IO, Any

from samclr.scenes.refs import IMAGE_SUFFIXES
from samclr.scenes.remote import as_uri, open_remote

BLOCK = 512
_Member = tuple[int, str, tuple[int, int]]  # rank, name, (first byte, length)


@dataclass(frozen=True, kw_only=True)
class TarIndex:
    """The images of one shard: names, and (first byte, length) of each; what is wrong with the shard, if anything."""

    names: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    fault: str | None = None


@lru_cache(maxsize=64)
def index_tar(path: str, mtime_ns: int) -> TarIndex:
    """Find the images of a shard. `mtime_ns` is part of the cache's key only."""
    samples: dict[str, list[_Member]] = {}
    fault = None
    try:
        with _open(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in _members(tar, file):
                rank = _rank(member.name)
                if member.isfile() and rank is not None:
                    found = rank, member.name, (member.offset_data, member.size)
                    samples.setdefault(_key(member.name), []).append(found)
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        fault = f"{type(error).__name__}: {error}"
    chosen = [image for members in samples.values() for image in _images_of(members)]
    return TarIndex(names=tuple(name for _, name, _ in chosen), spans=tuple(span for *_, span in chosen), fault=fault)


def _images_of(members: list[_Member]) -> list[_Member]:
    best = min(members, key=lambda member: member[0])
    return [best] if best[0] < len(IMAGE_SUFFIXES) else members


def read_span(path: str, span: tuple[int, int]) -> bytes:
    """Bytes of a file from the first on. Raises ValueError if the file ends before."""
    first, length = span
    with _open(path) as file:
        file.seek(first)
        found = file.read(length)
    if len(found) < length:
        raise ValueError(f"the file ends {length - len(found)} bytes before the image does")
    return bytes(found)


def damaged_tar(path: str, row: int, mtime_ns: int) -> bytes:
    """Raises ValueError with what is wrong with a shard: listed in place of the images that cannot be found in it."""
    fault = index_tar(path, mtime_ns).fault
    raise ValueError(f"the shard is damaged, images after number {row} are lost ({fault})")


def _members(tar: tarfile.TarFile, file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """All members; unlike tarfile alone it takes neither a damaged header nor a cut between members for the end."""
    yield from tar
    file.seek(tar.offset)
    rest = file.read(BLOCK)
    if not rest:
        raise ValueError("it ends without an end mark, as a file does that was not copied whole")
    if rest.strip(b"\0"):
        raise ValueError(f"no header where one should be, at byte {tar.offset:,}")


def _open(path: str) -> Any:
    return open(path, "rb") if as_uri(path) is None else open_remote(path)


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".")[0] or path.name))


def _rank(name: str) -> int | None:
    """0 and so on for a plain image extension, in the order of IMAGE_SUFFIXES; a number over all for another one."""
    base = PurePosixPath(name).name.lower()
    if base.startswith("."):
        return None
    extension = base[base.find(".") :] if "." in base else ""
    if extension in IMAGE_SUFFIXES:
        return IMAGE_SUFFIXES.index(extension)
    return len(IMAGE_SUFFIXES) if extension.endswith(IMAGE_SUFFIXES) else None
