"""Images in tar shards of the WebDataset layout, read where they lie: a shard is indexed once and never unpacked.

A member's name is KEY.EXTENSION. The key ends at the first dot in the file's name after which no number follows:
`22.05.png` has the key 22.05, `a.seg.png` the key a and the extension .seg.png. Members of one key are one sample. Its
image is the member whose whole extension is an image's, in the order of IMAGE_SUFFIXES (`KEY.jpg` before `KEY.png`,
which may be its labels); where it has none, all that end so (`KEY.left.jpg` and so on). Of members of one name the last
counts, as when a tar is unpacked. Archives that follow one another in a file (`cat a.tar b.tar`) are all read.
Whatever is named like an image and is not taken is counted in `TarIndex.passed_over`; hidden members are not looked at.
"""

import os
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from samclr.scenes.refs import image_suffixes, is_image_like, portable
from samclr.scenes.remote import as_uri, open_remote
from samclr.scenes.tar_members import BLOCK, TarReader
from samclr.storage.files import regular

MAX_MEMBER_BYTES = 1 << 32  # as of a file
_Member = tuple[int, str, tuple[int, int]]  # rank, name, (first byte, length)


@dataclass(frozen=True, kw_only=True)
class TarIndex:
    """The images of one shard.

    Attributes:
        names, spans: of each image, and (first byte, length).
        passed_over: how many members that look like images were not taken, by the reason.
        fault: what is wrong with the shard, if anything.
    """

    names: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    passed_over: tuple[tuple[str, int], ...] = ()
    fault: str | None = None


@lru_cache(maxsize=64)
def index_tar(path: str, mtime_ns: int) -> TarIndex:
    """Find the images of a shard. `mtime_ns` is part of the cache's key only."""
    by_name: dict[str, _Member] = {}
    passed_over: Counter[str] = Counter()
    fault = None
    try:
        with _open(path) as file:
            reader = TarReader(file)
            for member in reader:
                name = portable(member.name).removeprefix("./")
                if not is_image_like(name):
                    continue
                rank = _rank(name)
                if rank is None or member.kind is not None:
                    passed_over[member.kind or f"{PurePosixPath(name).suffix.lower()} files"] += 1
                    continue
                place = "/".join(part for part in name.split("/") if part not in ("", "."))  # a//b is a/b
                passed_over["replaced by a later one of the same name"] += place in by_name
                by_name[place] = rank, name, member.span
            passed_over["blocks after the end mark that are not a tar"] += -(-reader.bytes_after_end // BLOCK)
    except (OSError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
    samples: dict[str, list[_Member]] = {}
    for member_found in by_name.values():
        samples.setdefault(_key(member_found[1]), []).append(member_found)
    chosen = [image for members in samples.values() for image in _images_of(members, passed_over)]
    return TarIndex(
        names=tuple(name for _, name, _ in chosen),
        spans=tuple(span for *_, span in chosen),
        passed_over=tuple(sorted((+passed_over).items())),
        fault=fault,
    )


def _images_of(members: list[_Member], passed_over: "Counter[str]") -> list[_Member]:
    best = min(members, key=lambda member: member[0])
    if best[0] >= len(image_suffixes()):
        return members
    for _, name, _ in members:
        if name != best[1]:
            passed_over[f"{_split(name)[1]} beside the image of their sample"] += 1
    return [best]


def read_span(path: str, span: tuple[int, int]) -> bytes:
    """Bytes of a file from the first on. Raises ValueError if the file ends before."""
    first, length = span
    if length > MAX_MEMBER_BYTES:
        raise ValueError(f"the member has {length:,} bytes, over the limit of {MAX_MEMBER_BYTES:,}")
    with _open(path) as file:
        missing = first + length - file.seek(0, os.SEEK_END)
        if missing > 0:
            raise ValueError(f"the file ends {missing} bytes before the image does")
        file.seek(first)
        return bytes(file.read(length))


def damaged_tar(path: str, row: int, mtime_ns: int) -> bytes:
    """Raises ValueError with what is wrong with a shard: listed in place of the images that cannot be found in it."""
    fault = index_tar(path, mtime_ns).fault
    raise ValueError(f"the shard is damaged, images after number {row} are lost ({fault})")


def _open(path: str) -> Any:
    return open(regular(path), "rb") if as_uri(path) is None else open_remote(path)


def _split(name: str) -> tuple[str, str]:
    """Key, without its folder, and extension in lower case."""
    parts = PurePosixPath(name).name.split(".")
    first = next((k for k in range(1, len(parts)) if not parts[k][:1].isdigit()), len(parts))
    return ".".join(parts[:first]), "".join(f".{part}" for part in parts[first:]).lower()


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(_split(name)[0] or path.name))


def _rank(name: str) -> int | None:
    """0 and so on for a plain image extension, in the order of `image_suffixes`; their number for another one."""
    suffixes, extension = image_suffixes(), _split(name)[1]
    if extension in suffixes:
        return suffixes.index(extension)
    return len(suffixes) if extension.endswith(suffixes) else None
