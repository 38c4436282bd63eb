"""Label maps: how their files are read, for regions (`--segmenter labels`) and for dense evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from samclr.datasets.catalogue import DATASETS
from samclr.datasets.mat_files import SUFFIX as MAT_SUFFIX
from samclr.datasets.mat_files import MatError, read_mat
from samclr.errors import FilesError, ScenesError, name_some
from samclr.log import option_of, say, say_once
from samclr.scenes.decode import ORIENTATION, ORIENTATIONS
from samclr.scenes.images import MAX_IMAGE_PX, open_image
from samclr.scenes.refs import LabelFile, SceneRef, relative_id, stem_of, walk
from samclr.storage.files import confined

AS_THEY_STAND = "values"  # the rule of label maps in a folder that belongs to no known set
NO_REGION = -1
MOST_NAMED = 12  # values of a label map that are remembered, to be named
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
ID_MODES = ("1", "L", "P", "I;16", "I;16L", "I;16B", "I")
FOUND_INSTEAD = {"F": "floating-point numbers", "RGB": "3 channels (RGB)", "RGBA": "4 channels (RGBA)"}
EXACT_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")  # a file's name may say .png while it is a JPEG
SPREAD = {"L;2": 85, "L;2R": 85, "L;4": 17, "L;4R": 17}  # greys of 2 and 4 bits, which Pillow spreads to 0 to 255
LOSSY_TIFFS = ("jpeg", "tiff_jpeg", "webp")
PHOTOMETRIC, NUM_SAMPLES, SAMPLE_FORMAT = 262, 277, 339  # a TIFF's tags
WHITE_IS_ZERO, SIGNED = 0, 2  # values of the first and of the last


class LabelError(ValueError):
    """A label map that cannot be used; the text becomes a row's status or an error's message."""


class ValuesHeld:
    """Which of the values that are to be ignored label maps hold, and some of the others, to name.

    counts: in how many maps a value was seen.
    """

    def __init__(self, ignored: Iterable[int], counts: Mapping[int, int] | None = None):
        self.ignored = frozenset(ignored)
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, values: Int[np.ndarray, " v"]) -> None:
        """Count a map's distinct values, in their order: the ignored ones and the first of the others."""
        named = values[np.isin(values, list(self.ignored))].tolist()
        for value in {*named, *values[:MOST_NAMED].tolist()}:
            self.counts[value] = self.counts.get(value, 0) + 1

    def say_missing(self) -> None:
        """Say which ignored values no map held, and what they hold instead; of no map at all, nothing is said."""
        missing = sorted(self.ignored - self.counts.keys())
        if missing and self.counts:
            held = name_some([str(value) for value in sorted(self.counts)], MOST_NAMED)
            say(
                f"no label map that was read holds {name_some([str(value) for value in missing])} "
                f"({option_of('ignore_label')}); they hold {held}"
            )


def read_label_regions(label: LabelFile, image_hw: tuple[int, int] | None) -> Int[np.ndarray, "h w"]:
    """Integers that differ between touching regions, NO_REGION where there is none. Raises LabelError."""
    if label.rule == AS_THEY_STAND:
        return np.asarray(read_values(Path(label.path), image_hw))
    kind = DATASETS[label.rule].kind(label.kind)
    values = read_values(Path(label.path), image_hw, kind.label_channels)
    if kind.regions_of is not None:
        return kind.regions_of(values)
    return np.where(np.isin(values, kind.void), NO_REGION, values)


def read_values(path: Path, image_hw: tuple[int, int] | None, num_channels: int = 1) -> Any:
    """A label file's ids as they stand, int64 [h w], or [h w 3] for three channels: palette indices, 1 to 32 bits; or
    the label map of a MATLAB file.

    An image's type and size are looked at in the header, before any pixel is decoded. image_hw: rows and columns of the
    upright image; None where it is not known.

    Raises:
        LabelError: the file is broken, holds no ids, or is of another size than its image.
    """
    if path.suffix == MAT_SUFFIX and num_channels == 1:
        return _of_mat(path, image_hw)
    try:
        with open_image(path) as image:
            _check_header(image, path.name, image_hw, num_channels)
            spread, signed = SPREAD.get(_raw_mode(image), 1), image.mode == "L" and _tag(image, SAMPLE_FORMAT) == SIGNED
            _check_orientation(image, path.name)
            pixels = np.asarray(image)
            values = (pixels.view(np.int8) if signed else pixels).astype(np.int64) // spread
    except LabelError:
        raise
    except FileNotFoundError:
        raise LabelError(f"cannot decode label map {path.name}: no such file") from None
    except Exception as error:  # as in decode: Pillow raises anything on broken bytes
        raise LabelError(f"cannot decode label map {path.name}: {type(error).__name__}: {error}") from error
    _check_values(values, path.name)
    return values


def _of_mat(path: Path, image_hw: tuple[int, int] | None) -> Int[np.ndarray, "h w"]:
    try:
        values = read_mat(path)
    except MatError as error:
        raise LabelError(f"cannot read label map {path.name}: {error}") from None
    _check_size(path.name, values.shape, image_hw)
    _check_values(values, path.name)
    return values


def _check_values(values: Any, name: str) -> None:
    if values.min(initial=0) < 0:
        raise LabelError(f"label map {name} has the value {values.min()}; expected ids of 0 to 2147483647")


def _check_size(name: str, size_hw: tuple[int, ...], image_hw: tuple[int, int] | None) -> None:
    if image_hw is not None and size_hw != image_hw:
        raise LabelError(
            f"label map {name} is {size_hw[1]}x{size_hw[0]} px, its image {image_hw[1]}x{image_hw[0]} px; "
            f"they belong to different releases of the data set, or one was resized or turned"
        )


def _check_header(image: Image.Image, name: str, image_hw: tuple[int, int] | None, num_channels: int) -> None:
    width, height = image.size
    _check_size(name, (height, width), image_hw)
    if width * height > MAX_IMAGE_PX:
        raise LabelError(f"label map {name} is {width}x{height} px; at most {MAX_IMAGE_PX:,} px are read")
    if image.mode not in (ID_MODES if num_channels == 1 else ("RGB",)):
        found = FOUND_INSTEAD.get(image.mode, f"{len(image.getbands())} channels ({image.mode})")
        wanted = "one channel of whole numbers (1 to 32 bits, or a palette)" if num_channels == 1 else "3 (RGB)"
        raise LabelError(f"label map {name} has {found}; expected {wanted}")
    if image.format not in EXACT_FORMATS or image.info.get("compression") in LOSSY_TIFFS:
        raise LabelError(f"label map {name} has lossy compression ({image.format}); expected a PNG, TIFF or BMP of ids")
    samples = _tag(image, NUM_SAMPLES) or num_channels
    if samples != num_channels:
        raise LabelError(f"label map {name} has {samples} channels; expected {num_channels}")
    if image.mode == "RGB" and "16" in _raw_mode(image):  # of which Pillow keeps the high bytes
        raise LabelError(f"label map {name} has 16 bits a channel; expected 8")
    if _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:
        raise LabelError(f"label map {name} counts from white (MinIsWhite); expected ids that count from black")
    pages = getattr(image, "n_frames", 1)
    if pages != 1:
        raise LabelError(f"label map {name} has {pages} pages or frames; expected one")


def _check_orientation(image: Image.Image, name: str) -> None:
    """Last of the header, as Pillow decodes a PNG to answer this."""
    orientation = image.getexif().get(ORIENTATION)
    if orientation in ORIENTATIONS[1:]:
        raise LabelError(
            f"label map {name} has the EXIF orientation {orientation}: it is not clear whether its pixels or its image "
            f"are turned; save it upright, without EXIF"
        )


def _raw_mode(image: Image.Image) -> str:
    """How the file stores its values; "" if Pillow does not tell."""
    tiles = getattr(image, "tile", None)
    settings = tiles[0][3] if tiles else ""
    return str(settings[0] if isinstance(settings, tuple) and settings else settings)


def _tag(image: Image.Image, number: int) -> Any:
    """The value of a TIFF's tag, the first of several; None for other formats, or where it is not stated."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) and value else value


def say_turned() -> None:
    """Say, once, how the label maps are read of photos whose EXIF rotation does not show in their size."""
    say_once(
        "photos whose EXIF rotation does not show in their size: their label maps are taken as made for the upright "
        "photo"
    )


def label_of_stem(folder: Path, image_id: str) -> Path | None:
    """The label map in `folder` with an image's relative stem; None if there is none. Raises LabelError for two."""
    try:
        stem = confined(folder, stem_of(image_id))
    except FilesError:  # an id from data that leads out of the folder
        return None
    endings = (*LABEL_SUFFIXES, *(suffix.upper() for suffix in LABEL_SUFFIXES))
    found = [path for ending in endings if (path := stem.with_name(stem.name + ending)).is_file()]
    others = [path for path in found[1:] if not path.samefile(found[0])]  # one file, where case does not count
    if others:
        raise LabelError(f"{image_id} has {1 + len(others)} label maps: {found[0].name}, {others[0].name}; keep one")
    return found[0] if found else None


def list_label_maps(folder: Path) -> dict[str, list[Path]]:
    """The label maps below a folder by their relative stem. Raises ScenesError if it cannot be listed."""
    if not folder.is_dir():
        raise ScenesError(f"no such folder of label maps: {folder}")
    unreadable: list[str] = []
    maps: dict[str, list[Path]] = {}
    for path in walk(folder, LABEL_SUFFIXES, unreadable):
        maps.setdefault(stem_of(relative_id(path, folder)), []).append(Path(path))
    if unreadable:
        raise ScenesError(f"cannot list {name_some(unreadable)}")
    return maps


def shared_stems(image_ids: Iterable[str]) -> dict[str, list[str]]:
    """The stems that several images have, with those images."""
    images: dict[str, list[str]] = {}
    for image_id in image_ids:
        images.setdefault(stem_of(image_id), []).append(image_id)
    return {stem: found for stem, found in images.items() if len(found) > 1}


def check_label_folder(folder: Path, refs: Sequence[SceneRef]) -> None:
    """Say which label maps belong to no image. Raises ScenesError where one would serve several images."""
    maps = list_label_maps(folder)
    refuse_shared(folder, maps, shared_stems(ref.image_id for ref in refs))
    known = {stem_of(ref.image_id) for ref in refs}
    stray = [path.name for stem, paths in maps.items() if stem not in known for path in paths]
    if stray:
        say(f"{len(stray):,} label maps in {folder} belong to no image: {name_some(stray)}")


def refuse_shared(folder: Path, maps: Mapping[str, object], shared: Mapping[str, list[str]]) -> None:
    """Raise ScenesError if a label map's stem is that of several images."""
    doubtful = [f"{' and '.join(images)} (stem {stem})" for stem, images in shared.items() if stem in maps]
    if doubtful:
        raise ScenesError(
            f"{len(doubtful)} label maps in {folder} match several images each: {name_some(doubtful)}; "
            f"rename the images so that each has its own stem"
        )


@dataclass(kw_only=True)
class People:
    """Label maps by the stem of their image, each person's; and those that are nobody's, each with the reason.

    Of one image its own stem stands first, then the numbers in their order. strays: of no image that was asked for;
    doubtful: IMAGE_3 where IMAGE_2 is another image, so that it may be a third image's that is missing.
    """

    by_stem: dict[str, list[Path]] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    doubtful: dict[str, str] = field(default_factory=dict)


def match_people(folder: Path, image_ids: Sequence[str]) -> People:
    """IMAGE.png, and IMAGE_1.png, IMAGE_2.png ... where no image has that stem itself, by the relative stem.

    Raises:
        ScenesError: a label map fits several images, or an image has two label maps of one name.
    """
    maps, stems = list_label_maps(folder), {stem_of(image_id) for image_id in image_ids}
    owners = {stem: stem if stem in stems else _numbered(stem)[0] for stem in maps}
    numbered_images = {_numbered(stem)[0] for stem in stems} & stems
    refuse_shared(folder, dict.fromkeys(owners.values()), shared_stems(image_ids))
    people = People()
    for stem, paths in sorted(maps.items(), key=lambda item: _numbered(item[0])):  # an image's own stem comes first
        owner = owners[stem]
        if len(paths) > 1 and owner in stems:
            raise ScenesError(f"{folder} has {len(paths)} label maps of {stem}: {name_some([p.name for p in paths])}")
        if owner not in stems:
            people.strays += [path.name for path in paths]
        elif owner != stem and owner in numbered_images:
            people.doubtful[paths[0].name] = f"of another image, or of {owner}?"
        else:
            people.by_stem.setdefault(owner, []).append(paths[0])
    return people


def _numbered(stem: str) -> tuple[str, int]:
    """IMAGE and 3 of IMAGE_3; an empty text and 0 of other stems."""
    image, _, number = stem.rpartition("_")
    return (image, int(number)) if number.isascii() and number.isdigit() else ("", 0)
