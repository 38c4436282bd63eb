"""Regions out: COCO JSON (one file a data set) and SA-1B's JSON (one file an image)."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from samclr.errors import FilesError, PartsError, name_some
from samclr.log import option_of, say
from samclr.regions.records import ImageRegions
from samclr.regions.scene_check import SceneCheck
from samclr.regions.store import damaged_text, iterate_rows, read_regions
from samclr.scenes.refs import SceneRef, stem_of
from samclr.storage.files import confined, replacing, replacing_path, safe_name
from samclr.storage.parts import OK, PartsFolder

Annotation = dict[str, Any]


def export_coco(store: PartsFolder, path: Path, refs: Sequence[SceneRef] | None = None) -> tuple[int, int]:
    """Write one COCO JSON file; returns the numbers of images and regions. Images that failed are left out.

    refs: the scenes; rows that are not of the scene's file as it is now are left out, counted and named.

    Scores stand beside COCO's own keys as SA-1B names them: predicted_iou, stability_score, point_coords.
    """
    num_images = num_regions = 0
    images: list[dict[str, Any]] = []
    with replacing(path) as out:
        info = {"description": "regions by samclr", "maker": store.maker}
        out.write(f'{{"info": {json.dumps(info)}, "licenses": [], "categories": [{{"id": 1, "name": "region"}}],\n')
        out.write('"annotations": [\n')
        outside = []
        for found in _images(store, refs):
            num_images += 1
            if leads_out(found.image_id):
                outside.append(found.image_id)
            images.append({"id": num_images, "file_name": found.image_id, "height": found.height, "width": found.width})
            for annotation in _annotations(found):
                num_regions += 1
                row = {"id": num_regions, "image_id": num_images, "category_id": 1, "iscrowd": 0, **annotation}
                out.write((",\n" if num_regions > 1 else "") + json.dumps(row))
        out.write("\n],\n")
        _write_list(out, "images", images)
        out.write("}\n")
    if outside:
        say(
            f"{len(outside)} image ids of the region store {store.path} lead out of their folder and are in {path} "
            f"as they are: {name_some(outside)}; rename the scenes before you open images by these ids"
        )
    return num_images, num_regions


def export_sa1b(store: PartsFolder, folder: Path, refs: Sequence[SceneRef] | None = None) -> tuple[int, int]:
    """Write one JSON file per image, named after it as SA-1B's are; returns the numbers of images and regions.

    The folder appears whole or not at all. An id that would lead out of it, as one from a foreign tar may, gives a
    safe name, which is reported. refs: as in `export_coco`.

    Raises:
        PartsError: two images would share a file, as a.jpg and a.png do, here or where case does not count; or the
            folder holds something: files of an earlier export would be taken for this one's.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise PartsError(f"{folder} holds files already; name a new or empty folder with {option_of('out')}")
    names: dict[str, str] = {}
    num_regions = 0
    with replacing_path(folder.resolve()) as beside:
        beside.mkdir()
        for number, found in enumerate(_images(store, refs), start=1):
            name = _json_name(folder, found.image_id)
            key = unicodedata.normalize("NFC", name.as_posix()).casefold()
            if key in names:
                shared = f"{names[key]} and {found.image_id} would share {folder / name}"
                raise PartsError(f"{shared}; use {option_of('layout')} coco")
            names[key] = found.image_id
            annotations = [{"id": num_regions + k, **a} for k, a in enumerate(_annotations(found), start=1)]
            num_regions += len(annotations)
            image = {"image_id": number, "file_name": found.image_id, "height": found.height, "width": found.width}
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"image": image, "annotations": annotations}), "utf-8")
    return len(names), num_regions


def _json_name(folder: Path, image_id: str) -> Path:
    """The file's path inside the folder."""
    stem = stem_of(image_id)
    if leads_out(stem):
        stem = safe_name(image_id)
        say(f"the name {image_id!r} leads out of {folder}: written as {stem}.json")
    name = confined(Path(), stem)
    return name.with_name(name.name + ".json")


def leads_out(image_id: str) -> bool:
    """Whether an id is not a path inside a folder, as one from a foreign tar may be."""
    try:
        confined(Path(), image_id)
    except FilesError:
        return True
    return False


def _images(store: PartsFolder, refs: Sequence[SceneRef] | None) -> Iterator[ImageRegions]:
    damaged, check = [], SceneCheck.of(refs)
    for row in iterate_rows(store):
        found = read_regions(row)
        if isinstance(found, ImageRegions):
            if not check.fault(found):
                yield found
        elif row["status"] == OK:
            damaged.append(found.message)
    if damaged:
        say(damaged_text(store, damaged, "left out"))
    check.tell(store, "left out")


def _annotations(found: ImageRegions) -> Iterator[Annotation]:
    for region in found.regions:
        x0, y0, x1, y1 = region.box_xyxy
        annotation: Annotation = {
            "segmentation": {"size": [found.height, found.width], "counts": region.rle.decode("ascii")},
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": region.area_px,
        }
        if region.predicted_iou is not None:
            annotation["predicted_iou"] = region.predicted_iou
        if region.stability_score is not None:
            annotation["stability_score"] = region.stability_score
        if region.point_xy is not None:
            annotation["point_coords"] = [list(region.point_xy)]
        yield annotation


def _write_list(out: IO[Any], name: str, rows: Sequence[Any]) -> None:
    out.write(f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]")
