"""COCO's and SA-1B's JSON files read into entries, one an image; oddities become an entry's error or a note."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from samclr.errors import PartsError, RegionError, name_some
from samclr.regions.annotations import TwiceDict, as_object, is_length, mask_size, packed, short, unpacked
from samclr.regions.placing import Size
from samclr.scenes.fill import Note
from samclr.storage.files import regular

MAX_BYTES = 4 << 30  # of JSON read at once
USED_KEYS = {
    *("images", "annotations", "image", "id", "image_id", "file_name", "height", "width", "segmentation", "size"),
    *("counts", "iscrowd", "predicted_iou", "score", "stability_score", "point_coords", "segments_info"),
}
BOUND = f"split it into files of less than {MAX_BYTES >> 30} GiB and make a store of each"
CHANGED = "its JSON file was changed during the import; import it again into another folder"


@dataclass(kw_only=True, slots=True)
class Entry:
    """What a file says of one image.

    size: height and width in px, where stated, or deduced from a run-length mask. fault: why its row is an error.
    file, digest: of SA-1B's, the image's own file, which is read when its annotations are asked for; kept: of COCO's.
    """

    name: str
    size: Size | None = None
    kept: list[Any] = field(default_factory=list)
    fault: str | None = None
    file: Path | None = None
    digest: bytes = b""

    def annotations(self) -> list[Any]:
        """All there are. Raises RegionError if the image's own file is not what it was."""
        if self.file is None:
            return [unpacked(annotation) for annotation in self.kept]
        now = hashlib.sha256()
        try:
            parsed = _load(self.file, now)
        except PartsError as error:
            raise RegionError(str(error)) from None
        if now.digest() != self.digest:
            raise RegionError(CHANGED)
        return [unpacked(annotation) for annotation in parsed["annotations"]]


@dataclass(kw_only=True)
class Source:
    """All entries by name, a hash over the bytes read, and what could not be assigned to an entry."""

    entries: dict[str, Entry]
    digest: str
    notes: list[Note]


def read_source(source: Path) -> Source:
    """Read a COCO JSON file, an SA-1B JSON file, or a folder of those.

    Raises:
        PartsError: it is neither, has a file of over MAX_BYTES, or names an image twice.
    """
    if source.is_dir():
        return _read_folder(source)
    whole = hashlib.sha256()
    parsed, digest = _load(source, whole), whole.hexdigest()[:16]
    if "image" in parsed and "images" not in parsed:
        try:
            entry = _sa1b_entry(parsed, source, whole.digest())
        except RegionError as error:
            raise PartsError(f"{source} is not SA-1B JSON: {error}") from None
        return Source(entries={entry.name: entry}, digest=digest, notes=[])
    if not isinstance(parsed.get("images"), list) or not isinstance(parsed.get("annotations"), list):
        raise PartsError(f"{source} is not COCO JSON: expected an object with the lists images and annotations")
    entries, notes = _coco_entries(parsed["images"], parsed["annotations"], source)
    return Source(entries=entries, digest=digest, notes=notes)


def read_coco(file: Path, more: Set[str]) -> tuple[Source, Any]:
    """A COCO JSON file with its `categories`, as they stand; annotations have the keys `more` beside those of masks.

    Raises:
        PartsError: it is not such a file, has over MAX_BYTES, or names an image twice.
    """
    whole = hashlib.sha256()
    parsed = _load(file, whole, keys=USED_KEYS | {"categories"} | more)
    if not isinstance(parsed.get("images"), list) or not isinstance(parsed.get("annotations"), list):
        raise PartsError(f"{file} is not COCO JSON: expected an object with the lists images and annotations")
    entries, notes = _coco_entries(parsed["images"], parsed["annotations"], file)
    return Source(entries=entries, digest=whole.hexdigest()[:16], notes=notes), parsed.get("categories")


def _read_folder(folder: Path) -> Source:
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise PartsError(f"no .json file under {folder}; expected a COCO file, or SA-1B's one file per image")
    digest, odd, first_fault = hashlib.sha256(), [], ""
    entries: dict[str, Entry] = {}
    for file in files:
        try:
            own = hashlib.sha256()
            entry = _sa1b_entry(_load(file, digest, own), file, own.digest())
        except (RegionError, NotJsonError) as error:
            odd.append(str(file.relative_to(folder)))
            first_fault = first_fault or str(error)
            continue
        if entry.name in entries:
            raise PartsError(
                f"{entries[entry.name].file} and {file} share the file_name {short(entry.name)}; make each one unique"
            )
        entries[entry.name] = entry
    if not entries:
        raise PartsError(f"none of the {len(files)} .json files under {folder} is SA-1B's: {first_fault}")
    notes = [
        Note.of(
            "malformed_files",
            f"files that are not SA-1B JSON, left out; the first: {first_fault}",
            odd,
            is_failure=True,
        )
    ]
    return Source(entries=entries, digest=digest.hexdigest()[:16], notes=notes)


class NotJsonError(PartsError):
    """A file that cannot be read as a JSON object."""


def _load(file: Path, *digests: Any, keys: Set[str] = USED_KEYS) -> dict[str, Any]:
    """A file's JSON object; the bytes read go into the digests. Raises NotJsonError, or PartsError for too many."""
    try:
        if regular(file).stat().st_size > MAX_BYTES:
            raise PartsError(f"{file} has more than {MAX_BYTES >> 30} GiB of JSON; {BOUND}")
        content = file.read_bytes()
    except OSError as error:
        raise NotJsonError(
            f"cannot read {file} ({error.strerror or error}); expected a COCO JSON file or a folder of SA-1B's"
        ) from None
    for digest in digests:
        digest.update(content)
    try:
        text = content.decode(json.detect_encoding(content), "surrogatepass")
        del content  # of a large file there is one copy at a time
        parsed = unpacked(_loads(text, keys))
    except (ValueError, RecursionError) as error:
        raise NotJsonError(f"{file} is not JSON ({error})") from None
    except MemoryError:
        raise PartsError(f"{file} needs more memory than there is; {BOUND}") from None
    if not isinstance(parsed, dict):
        raise NotJsonError(f"{file} holds a {type(parsed).__name__}; expected an object")
    if isinstance(parsed, TwiceDict):
        raise NotJsonError(f"{file} has the key {short(parsed.twice)} twice; expected it once")
    return parsed


def _loads(text: str, keys: Set[str]) -> Any:
    used = partial(_used, keys)
    try:
        return json.loads(text, object_pairs_hook=used)
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError | UnicodeError):
            raise
        # A number of more digits than Python turns into an int is too large for any field: the field says so.
        return json.loads(text, object_pairs_hook=used, parse_int=lambda digits: int(digits[:4000]))


def _used(keys: Set[str], pairs: list[tuple[str, Any]]) -> dict[str, Any] | bytes:
    """A JSON object's used keys alone, an annotation packed, which keeps large files small in memory.

    Keys that stand twice are marked.
    """
    found = {key: value for key, value in pairs if key in keys}
    if len(found) < len(pairs) and len(found) < sum(key in keys for key, _ in pairs):
        marked = TwiceDict(found)
        marked.twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return marked
    return packed(found) if "segmentation" in found and "file_name" not in found else found


def _sa1b_entry(parsed: dict[str, Any], file: Path, digest: bytes) -> Entry:
    """Raises RegionError if the file does not name its image."""
    if "image" not in parsed:
        raise RegionError("expected an object with image (file_name ...) and annotations")
    image = as_object(parsed["image"], "image")
    entry = _entry(image)
    entry.file, entry.digest = file, digest
    if not isinstance(parsed.get("annotations"), list):
        entry.fault = entry.fault or f"its annotations are {short(parsed.get('annotations'))}; expected a list"
    return entry


def _entry(image: dict[str, Any]) -> Entry:
    """Raises RegionError if it has no usable file_name."""
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise RegionError(f"file_name is {short(name)}; expected a text")
    entry, sides = Entry(name=name), (image.get("height"), image.get("width"))
    if all(map(is_length, sides)):
        entry.size = (int(sides[0]), int(sides[1]))  # type: ignore[arg-type]
    elif sides != (None, None):
        entry.fault = f"its height and width in the file are {short(sides[0])} and {short(sides[1])}; expected px"
    return entry


def deduced_size(annotations: list[Any]) -> Size | None:
    """Height and width of the first run-length mask; None if there is none that states a size."""
    for annotation in annotations:
        segmentation = annotation.get("segmentation") if isinstance(annotation, dict) else None
        if isinstance(segmentation, dict):
            try:
                return mask_size(segmentation, "")
            except RegionError:
                continue
    return None


def _refuse_panoptic(annotations: list[Any], source: Path) -> None:
    """Raise PartsError for COCO's panoptic JSON, whose masks are in PNG files beside it."""
    if annotations and all(isinstance(one, dict) and "segments_info" in one for one in map(unpacked, annotations)):
        raise PartsError(
            f"{source} is COCO's panoptic JSON (segments_info): its masks are not in it, but in the PNG files of the "
            f"folder beside it; take them by samclr segment coco:SPLIT@ROOT --segmenter labels --annotations panoptic"
        )


def _coco_entries(images: list[Any], annotations: list[Any], source: Path) -> tuple[dict[str, Entry], list[Note]]:
    _refuse_panoptic(annotations, source)
    by_id: dict[Any, Entry | None] = {}  # None for an image without a usable name
    entries: list[Entry] = []
    ids, odd = [], []
    for number, image in enumerate(map(unpacked, images)):
        try:
            entry: Entry | None = _entry(as_object(image, "it"))
        except RegionError as error:
            odd.append(f"number {number} ({error})")
            entry = None
        image_id = image.get("id") if isinstance(image, dict) else None
        if _is_id(image_id):
            ids.append(image_id)
            by_id[image_id] = entry
        elif entry is not None:
            entry.fault = f"its image id in the file is {short(image_id)}; expected a whole number or a text"
        if entry is not None:
            entries.append(entry)
    _refuse_twins(ids, "image id", source)
    _refuse_twins([entry.name for entry in entries], "file_name", source)
    lost, seen, twice = [], set(), []
    for number, annotation in enumerate(annotations):
        values = found if isinstance(found := unpacked(annotation), dict) else {}
        own_id, image_id = values.get("id"), values.get("image_id")
        if _is_id(own_id):
            twice += [str(own_id)] if own_id in seen else []
            seen.add(own_id)
        if not _is_id(image_id) or image_id not in by_id:
            lost.append(f"{short(own_id)} (image_id {short(image_id)})" if values else f"number {number}")
        elif (entry := by_id[image_id]) is not None:
            entry.kept.append(annotation)
    if ids and annotations and len(lost) == len(annotations):
        raise PartsError(
            f"none of the {len(lost)} annotations of {source} names an image of the file: {name_some(lost)}; "
            f"expected the ids of its images, such as {name_some([short(one) for one in ids], 3)}"
        )
    return {entry.name: entry for entry in entries}, [
        Note.of("malformed_images", f"malformed image entries of {source.name}, left out", odd, is_failure=True),
        Note.of("lost_annotations", "annotations that name no image of the file, left out", lost, is_failure=True),
        Note.of("twin_annotation_ids", "annotations with the id of another one, which is harmless", twice),
    ]


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _refuse_twins(values: Iterable[Any], what: str, source: Path) -> None:
    twice = [str(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        raise PartsError(f"{source} has several images with one {what}: {name_some(twice)}; make each one unique")
