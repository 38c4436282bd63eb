"""Regions in: masks from COCO or SA-1B JSON become a region store, or a count and a name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from samclr.errors import PartsError, RegionError, name_some
from samclr.log import option_of
from samclr.processes.stopping import stop_requested
from samclr.regions.annotation_files import Entry, Source, deduced_size, read_source
from samclr.regions.annotations import BOXES, CROWDS, EMPTY, PARTS, read_annotation, short
from samclr.regions.matching import match_names, shared_folder
from samclr.regions.placing import Photo
from samclr.regions.records import ImageRegions, regions_of_scene
from samclr.regions.store import KIND, STORE_SCHEMA, regions_to_row
from samclr.scenes.decode import DecodeError, Scene, load_scene
from samclr.scenes.fill import FillOptions, FillReport, Note, Tally, fill
from samclr.scenes.refs import SceneRef, file_stamp
from samclr.storage.parts import MANIFEST, PartsFolder

UNCHECKED, TURNED, KEPT = "unchecked", "turned", "kept"
COUNTED = {  # names in the tally, and what is said of them
    BOXES: "skipped annotations that are boxes without a mask",
    CROWDS: "skipped annotations of crowds (iscrowd 1)",
    EMPTY: "skipped annotations with an empty mask or without an area",
    PARTS: "polygons without an area, left out of masks of several",
    UNCHECKED: "images without width and height in the file, taken as annotated at the photo's size",
    TURNED: "photos whose EXIF rotation does not show in their size, masks taken as made for the upright photo "
    "({exif} takes them as made for the unrotated one)",
}


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the user states about the masks.

    rescale: those of another size with the photo's aspect were made for a scaled copy. exif: all were made for the
    photos before their EXIF rotation. strip_prefix: folders that the file's names have before the scenes' own;
    add_prefix: those that the scenes' have before the file's.
    """

    rescale: bool = False
    exif: bool = False
    strip_prefix: str = ""
    add_prefix: str = ""


def import_regions(
    source: Path,
    refs: Sequence[SceneRef],
    store_path: Path,
    options: ImportOptions | None = None,
    replace_changed: bool = False,
    retry_errors: bool = False,
) -> FillReport:
    """Make a store of masks from elsewhere: every scene gets a row, one without annotations an empty one.

    An image whose annotations are malformed, or made for another size, gets an error row that names the annotation.
    What was matched loosely, left out or skipped is counted in the report's notes.

    replace_changed: redo the rows of images whose file was replaced, instead of stopping.
    retry_errors: try images again that failed before.

    Raises:
        ScenesError: files were replaced since their rows were made.
        PartsError: the file is not COCO or SA-1B JSON, has twins, or names no image of the scenes.
    """
    options = options or ImportOptions()
    read = read_source(source)
    wanted, notes = _match(read, refs, source, options)
    maker: dict[str, Any] = {"segmenter": "import", "source": source.name, "sha256": read.digest}
    maker |= {name: value for name, value in vars(options).items() if value}  # none in stores of older versions
    if (store_path / MANIFEST).exists():
        then = PartsFolder(store_path, KIND).maker
        maker["source"] = then.get("source", source.name)  # the same masks by another name
    store = PartsFolder.create_or_open(store_path, KIND, maker, len(refs))
    work = ImportWork(entries=wanted, options=options)
    fill_options = FillOptions(replace_changed=replace_changed, retry_errors=retry_errors)
    report = fill(store, refs, work, fill_options, f"importing {source.name}")
    counts = {name: int(report.tally.get(name, 0)) for name in COUNTED}
    report.notes = [note for note in (*read.notes, *notes) if note.count]
    report.notes += [
        Note(key=name, text=COUNTED[name].format(exif=option_of("exif")), count=count)
        for name, count in counts.items()
        if count
    ]
    skipped = sum(counts[name] for name in (BOXES, CROWDS, EMPTY))
    report.is_in_vain = wanted.keys() <= report.errors.keys()
    if skipped and not report.tally.get(KEPT) and not _has_regions(store):
        report.notes.append(Note(key="no_region", text="annotations, of which none gave a region", count=skipped))
        report.is_in_vain = True
    return report


def _has_regions(store: PartsFolder) -> bool:
    """Whether any row has a region, those of earlier imports too."""
    return any(any(rows["regions"].to_pylist()) for _, rows in store.parts(["regions"]))


@dataclass(frozen=True, kw_only=True)
class ImportWork:
    """Makes the rows of one part from entries by image_id."""

    entries: dict[str, Entry]
    options: ImportOptions
    tally: Tally = field(default_factory=dict)

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        rows = []
        for ref in refs:
            if stop_requested():
                break
            rows.append(self._row(ref))
        return pa.Table.from_pylist(rows, schema=STORE_SCHEMA)

    def _row(self, ref: SceneRef) -> dict[str, Any]:
        file_size, mtime_ns = file_stamp(ref)
        row: dict[str, Any] = {"image_id": ref.image_id, "content_hash": "", "height": 0, "width": 0, "regions": []}
        row |= {"file_size": file_size, "mtime_ns": mtime_ns, "segment_s": 0.0}
        try:
            scene = load_scene(ref)
            height, width = scene.pixels.shape[:2]
            row |= {"content_hash": scene.content_hash, "height": height, "width": width}
            return row | regions_to_row(self._regions(scene, self.entries.get(ref.image_id)))
        except (DecodeError, RegionError) as error:
            return row | {"status": str(error)}

    def _regions(self, scene: Scene, entry: Entry | None) -> ImageRegions:
        height, width = scene.pixels.shape[:2]
        photo = Photo(
            height=height,
            width=width,
            orientation=scene.orientation,
            rescale=self.options.rescale,
            exif=self.options.exif,
        )
        found = [] if entry is None else self._read(entry, photo)
        return regions_of_scene(scene, (region for region in found if region is not None))

    def _read(self, entry: Entry, photo: Photo) -> list[Any]:
        if entry.fault is not None:
            raise RegionError(entry.fault)
        annotations = entry.annotations()
        size = entry.size or deduced_size(annotations)
        if size is None:
            self._count(UNCHECKED)
        else:
            photo.check(size, "its entry in the file")
        if photo.is_turned_unseen and not photo.exif:
            self._count(TURNED)
        found = [
            read_annotation(annotation, photo, size or photo.drawn_size, _name(annotation, number), self.tally)
            for number, annotation in enumerate(annotations)
        ]
        self._count(KEPT, sum(region is not None for region in found))
        return found

    def _count(self, what: str, count: int = 1) -> None:
        self.tally[what] = self.tally.get(what, 0) + count


def _name(annotation: Any, number: int) -> str:
    own_id = annotation.get("id") if isinstance(annotation, dict) else None
    return (
        f"annotation {own_id}" if type(own_id) is int else f"annotation {number if own_id is None else short(own_id)}"
    )


def _match(
    read: Source, refs: Sequence[SceneRef], source: Path, options: ImportOptions
) -> tuple[dict[str, Entry], list[Note]]:
    """Entries by image_id, by the whole path, and notes of what was loosened and of what has no match."""
    image_ids = {ref.image_id for ref in refs}
    found = match_names(read.entries, image_ids, options.strip_prefix, options.add_prefix)
    if not found.scene_of:
        shared, above = shared_folder(list(read.entries)), shared_folder(list(image_ids))
        hint = (
            f"; if {shared} is the folder that {option_of('scenes')} names, add {option_of('strip_prefix')} {shared}"
            if shared
            else ""
        )
        if match_names(read.entries, image_ids, options.strip_prefix, above).scene_of:
            hint = f"; if these are the images in {above}, add {option_of('add_prefix')} {above}"
        odd = "".join(f"; {note.line()}" for note in read.notes if note.count)
        raise PartsError(
            f"none of the {len(read.entries)} images of {source} is among the scenes"
            + (f" ({name_some(sorted(read.entries))})" if read.entries else "")
            + f"; expected file names relative to {option_of('scenes')}, as {name_some(sorted(image_ids), 2)}"
            + f"{hint}{odd}"
        )
    lonely = sorted(image_ids - set(found.scene_of.values()))
    notes = [
        Note(key="loosened", text=f"images of {source.name} that match a scene only with {kind}", count=count)
        for kind, count in found.loosened.items()
    ]
    prefix = f"images of {source.name} whose names do not begin with {options.strip_prefix}, matched as they are"
    notes.append(Note.of("without_prefix", prefix, sorted(found.without_prefix)))
    for key, names, what in (
        ("unmatched", found.unmatched, f"images of {source.name} without a scene, left out"),
        (
            "ambiguous",
            found.ambiguous,
            f"images of {source.name} that share their scene with others, or fit several, left out",
        ),
        ("scenes_without_entry", lonely, "scenes that the file does not name, stored without regions"),
    ):
        notes.append(Note.of(key, what, sorted(names), is_failure=True))
    return {scene: read.entries[name] for name, scene in found.scene_of.items()}, notes
