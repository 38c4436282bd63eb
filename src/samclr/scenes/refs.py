"""Where one image is: a file, or a place in a file that holds many. And the walk that finds such files."""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from samclr.log import say_once

IMAGE_SUFFIXES = (  # in this order of preference where one sample of a tar has several images
    *(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"),
    *(".jfif", ".jpe", ".mpo", ".apng", ".gif", ".avif", ".dib", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"),
)
PLUGIN_SUFFIXES = {  # and the module that reads them
    **dict.fromkeys((".heic", ".heif", ".hif"), "pillow_heif"),
    ".jxl": "pillow_jxl",
}
# What else is an image, or holds some; none of it is read, all of it is counted.
OTHER_IMAGE_SUFFIXES = (
    *(".svg", ".eps", ".ps", ".pdf", ".psd", ".xcf", ".ai", ".ico", ".icns", ".tga", ".pcx", ".dds", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".raw", ".jpx", ".jpf", ".jxr", ".bpg"),
    *(".fits", ".fit", ".fts", ".wmf", ".emf", ".dcm", ".nii", ".qoi", ".sgi", ".ras", ".xbm", ".xpm", ".pfm", ".flif"),
)
_ALL_SUFFIXES = (*IMAGE_SUFFIXES, *PLUGIN_SUFFIXES, *OTHER_IMAGE_SUFFIXES)
ROWS_KEPT_TOGETHER = 256  # neighbouring rows of one file share a bucket, so that a Parquet row group is read few times


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFile:
    """The label map of one image, or a file with the masks of many.

    Attributes:
        rule: the data set by whose rule it is read, or `values`.
        kind: which of that set's kinds of labels it is; "" of sets with one.
        index: of a file of many images, where this one's masks are, once that was looked up.
    """

    path: str
    rule: str
    kind: str = ""
    index: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)  # there may be millions
class SceneRef:
    """Where one image is. `row` is set for one of many in a file (Parquet, tar, array), else the path is the image.

    `span` is the first byte and the length of an image that lies encoded in its file, as in a tar. `stamp` is that of
    `file_stamp` where listing told it, as it does for object storage; else the file is asked. `label` is the data
    set's own label map; `other_labels` are those of further kinds, where it has several.
    """

    image_id: str
    path: str
    row: int | None = None
    span: tuple[int, int] | None = None
    stamp: tuple[int, int] | None = None
    label: LabelFile | None = None
    column: str | None = None
    other_labels: tuple[LabelFile, ...] = ()

    @property
    def locality_key(self) -> str:
        """Images with equal keys are best read by one process. It is the same however the file's path is typed."""
        file = self.image_id.rpartition("#")[0]
        return self.image_id if self.row is None or not file else f"{file}#{self.row // ROWS_KEPT_TOGETHER}"


def file_stamp(ref: SceneRef) -> tuple[int, int]:
    """Size in bytes and modification time in ns of the file; (0, 0) when it cannot be looked at."""
    if ref.stamp is not None:
        return ref.stamp
    try:
        stat = os.stat(ref.path)
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


@cache
def image_suffixes() -> tuple[str, ...]:
    """What the names of images end in that can be read here: IMAGE_SUFFIXES, and those of the plugins installed."""
    installed = (suffix for suffix, module in PLUGIN_SUFFIXES.items() if importlib.util.find_spec(module) is not None)
    return (*IMAGE_SUFFIXES, *installed)


def is_image_like(name: str) -> bool:
    """Whether a file's name is an image's, of a kind that is read or not; hidden files are none."""
    return name.lower().endswith(_ALL_SUFFIXES) and not is_hidden(name)


def is_hidden(relative: str) -> bool:
    """Whether a file below a source is hidden, or lies in a folder that is, as `walk` leaves them out."""
    return any(part.startswith(".") and part not in (".", "..") for part in relative.split("/"))


def walk(
    source: Path, suffixes: tuple[str, ...], unreadable: list[str], others: list[str] | None = None
) -> Iterator[str]:
    """Files below `source` whose lower-case name ends so, hidden ones left out.

    Notes folders that cannot be listed in `unreadable`, and the names of all other files in `others`. Says which
    links lead to a folder that was listed before.
    """
    visited: set[str] = set()
    faults: list[OSError] = []
    for folder, sub_folders, files in os.walk(source, followlinks=True, onerror=faults.append):
        real = os.path.realpath(folder)
        if real in visited:  # a link, maybe back to a folder above
            say_once(f"{folder} is a link to a folder that was listed before: it is not listed again")
            sub_folders.clear()
            continue
        visited.add(real)
        sub_folders[:] = sorted(name for name in sub_folders if not name.startswith("."))
        for file in sorted(files):
            if file.startswith("."):
                continue
            if file.lower().endswith(suffixes):
                yield os.path.join(folder, file)
            elif others is not None:
                others.append(file)
    unreadable += [os.fsdecode(fault.filename) for fault in faults]


def relative_id(path: str, source: Path) -> str:
    """The path below the source, as `walk` finds it there, with slashes, the same on every machine."""
    relative = "." if path == str(source) else path.removeprefix(os.path.join(source, ""))
    return portable(relative.replace(os.sep, "/"))


def stem_of(image_id: str) -> str:
    """An image's id without its image suffix: `cam/1.5.jpg` -> `cam/1.5`; `set.parquet#3` has none and stays."""
    known = (*IMAGE_SUFFIXES, *PLUGIN_SUFFIXES)
    suffix = next((suffix for suffix in known if image_id.lower().endswith(suffix)), "")
    return image_id[: len(image_id) - len(suffix)]


def portable(name: str) -> str:
    """A file name that is not valid UTF-8 keeps its odd bytes as visible escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
