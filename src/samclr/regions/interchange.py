"""Regions in and out: COCO JSON (one file a data set) and SA-1B's JSON (one file an image).

What is read from elsewhere is checked before it is decoded: pycocotools writes outside its memory on run lengths
that do not fit their image.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pycocotools import mask as coco_mask

from samclr.errors import PartsError, RegionError, name_some
from samclr.fill import FillOptions, FillReport, fill
from samclr.parts import OK, PartsFolder
from samclr.regions.matching import match_names
from samclr.regions.records import ImageRegions, Region, check_rle
from samclr.regions.store import KIND, STORE_SCHEMA, iterate_rows, read_regions, regions_to_row
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.refs import stem_of
from samclr.scenes.sources import SceneRef, file_stamp
from samclr.storage.files import confined, replacing, write_text
from samclr.terminal import say

Annotation = dict[str, Any]
MAX_FLOAT32 = 3.4e38
MAX_REACH = 3  # a polygon may leave its image by as many times its longer side
MAX_POINTS = 1_000_000  # of one annotation


# ---- out ----


def export_coco(store: PartsFolder, path: Path) -> tuple[int, int]:
    """Write one COCO JSON file; returns the numbers of images and regions. Images that failed are left out.

    Scores stand beside COCO's own keys as SA-1B names them: predicted_iou, stability_score, point_coords.
    """
    num_images = num_regions = 0
    images: list[dict[str, Any]] = []
    with replacing(path) as out:
        info = {"description": "regions by samclr", "maker": store.maker}
        out.write(f'{{"info": {json.dumps(info)}, "licenses": [], "categories": [{{"id": 1, "name": "region"}}],\n')
        out.write('"annotations": [\n')
        for found in _images(store):
            num_images += 1
            images.append({"id": num_images, "file_name": found.image_id, "height": found.height, "width": found.width})
            for annotation in _annotations(found):
                num_regions += 1
                row = {"id": num_regions, "image_id": num_images, "category_id": 1, "iscrowd": 0, **annotation}
                out.write((",\n" if num_regions > 1 else "") + json.dumps(row))
        out.write("\n],\n")
        _write_list(out, "images", images)
        out.write("}\n")
    return num_images, num_regions


def export_sa1b(store: PartsFolder, folder: Path) -> tuple[int, int]:
    """Write one JSON file an image, named after it as SA-1B's are; returns the numbers of images and regions.

    Raises:
        PartsError: two images would share a file, as a.jpg and a.png do, here or where case does not count.
        FilesError: an image's id leads out of the folder.
    """
    names: dict[str, str] = {}
    num_regions = 0
    for number, found in enumerate(_images(store), start=1):
        path = confined(folder, stem_of(found.image_id))
        path = path.with_name(path.name + ".json")
        key = unicodedata.normalize("NFC", path.as_posix()).casefold()
        if key in names:
            raise PartsError(f"{names[key]} and {found.image_id} would share {path}; use --layout coco")
        names[key] = found.image_id
        annotations = [{"id": num_regions + k, **a} for k, a in enumerate(_annotations(found), start=1)]
        num_regions += len(annotations)
        image = {"image_id": number, "file_name": found.image_id, "height": found.height, "width": found.width}
        write_text(path, json.dumps({"image": image, "annotations": annotations}))
    return len(names), num_regions


def _images(store: PartsFolder) -> Iterator[ImageRegions]:
    for row in iterate_rows(store):
        found = read_regions(row)
        if isinstance(found, ImageRegions):
            yield found
        elif row["status"] == OK:
            say(f"left out, for its row is damaged: {found.message}")


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


# ---- in ----


def import_regions(source: Path, refs: Sequence[SceneRef], store_path: Path) -> FillReport:
    """Make a store of masks from elsewhere: every scene gets a row, one without annotations an empty one.

    An image whose annotations are malformed gets an error row that names the annotation.

    Raises:
        PartsError: the file is no COCO or SA-1B JSON, or names no image of the scenes.
    """
    by_name, digest = _read_source(source)
    wanted = _match(by_name, refs, source)
    maker = {"segmenter": "import", "source": source.name, "sha256": digest}
    store = PartsFolder.create_or_open(store_path, KIND, maker, len(refs))
    return fill(store, refs, ImportWork(annotations=wanted), FillOptions(), f"importing {source.name}")


@dataclass(frozen=True, kw_only=True)
class ImportWork:
    """Makes the rows of one part from annotations by image_id."""

    annotations: dict[str, list[Annotation]]

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        return pa.Table.from_pylist([self._row(ref) for ref in refs], schema=STORE_SCHEMA)

    def _row(self, ref: SceneRef) -> dict[str, Any]:
        file_size, mtime_ns = file_stamp(ref)
        row: dict[str, Any] = {"image_id": ref.image_id, "content_hash": "", "height": 0, "width": 0, "regions": []}
        row |= {"file_size": file_size, "mtime_ns": mtime_ns, "segment_s": 0.0}
        try:
            scene = load_scene(ref)
            height, width = scene.pixels.shape[:2]
            row |= {"content_hash": scene.content_hash, "height": height, "width": width}
            regions = [
                read_annotation(annotation, height, width, f"annotation {annotation.get('id', number)}")
                for number, annotation in enumerate(self.annotations.get(ref.image_id, []))
            ]
        except (DecodeError, RegionError) as error:
            return row | {"status": str(error)}
        found = ImageRegions(
            image_id=ref.image_id,
            content_hash=scene.content_hash,
            height=height,
            width=width,
            regions=tuple(region for region in regions if region is not None),
        )
        return row | regions_to_row(found)


def read_annotation(annotation: Annotation, height: int, width: int, where: str) -> Region | None:
    """A COCO or SA-1B annotation as a Region; None for an empty mask. Raises RegionError if it is malformed."""
    rle = _rle_of(annotation.get("segmentation"), height, width, where)
    area_px = int(coco_mask.area({"size": [height, width], "counts": rle}))
    if area_px == 0:
        return None
    x, y, w, h = (int(v) for v in coco_mask.toBbox({"size": [height, width], "counts": rle}))
    return Region(
        box_xyxy=(x, y, x + w, y + h),
        area_px=area_px,
        rle=rle,
        predicted_iou=_number(annotation, ("predicted_iou", "score"), where),
        stability_score=_number(annotation, ("stability_score",), where),
        point_xy=_point(annotation, where),
    )


def _rle_of(segmentation: Any, height: int, width: int, where: str) -> bytes:
    if isinstance(segmentation, list):
        polygons = segmentation
        flat = all(
            isinstance(polygon, list)
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(_is_number(v) for v in polygon)
            for polygon in polygons
        )
        if not polygons or not flat:
            raise RegionError(f"{where}: malformed polygon: expected lists of at least three x, y pairs")
        largest = max(abs(v) for polygon in polygons for v in polygon)
        if largest > MAX_REACH * max(height, width):  # pycocotools overflows far out, and takes memory by length
            raise RegionError(
                f"{where}: malformed polygon: the coordinate {largest:.6g} lies far outside {width}x{height} px"
            )
        if sum(map(len, polygons)) > 2 * MAX_POINTS:
            raise RegionError(f"{where}: malformed polygon: over {MAX_POINTS:,} points")
        merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return bytes(merged["counts"])
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise RegionError(f"{where}: malformed RLE: expected polygons, or an object with size and counts")
    if segmentation.get("size") != [height, width]:
        raise RegionError(
            f"{where}: its mask is {segmentation.get('size')} (height, width), the image [{height}, {width}]"
        )
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(type(c) is int and 0 <= c <= height * width for c in counts) or sum(counts) != height * width:
            raise RegionError(f"{where}: malformed RLE: its runs do not add up to {width}x{height} px")
        return bytes(coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"])
    try:
        rle = counts.encode("ascii")
    except (UnicodeEncodeError, AttributeError):
        raise RegionError(f"{where}: malformed RLE: counts are no text") from None
    check_rle(rle, height, width, where)
    return rle


def _number(annotation: Annotation, names: Sequence[str], where: str) -> float | None:
    for name in names:
        value = annotation.get(name)
        if value is not None:
            if not _is_number(value):
                raise RegionError(f"{where}: {name} is {_short(value)}; expected a finite number")
            return float(value)
    return None


def _point(annotation: Annotation, where: str) -> tuple[float, float] | None:
    points = annotation.get("point_coords")
    if points is None or points == []:
        return None
    first = points[0] if isinstance(points, list) else None
    if not isinstance(first, list) or len(first) != 2 or not all(map(_is_number, first)):
        raise RegionError(f"{where}: point_coords is {_short(points)}; expected [[x, y]]")
    return float(first[0]), float(first[1])


def _is_number(value: Any) -> bool:
    """Whether it is a number that float32 holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_FLOAT32 < value < MAX_FLOAT32


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > MAX_FLOAT32:  # Python refuses to print very long ones
        return "beyond float32"
    text = repr(value) if not isinstance(value, list | dict) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _read_source(source: Path) -> tuple[dict[str, list[Annotation]], str]:
    """Annotations by file name, and a hash over what was read."""
    if source.is_dir():
        files = sorted(source.rglob("*.json"))
        if not files:
            raise PartsError(f"no .json file under {source}; expected a COCO file, or SA-1B's one file an image")
        digest, by_name = hashlib.sha256(), {}
        for file in files:
            content = file.read_bytes()
            digest.update(content)
            parsed = _parse(content, file)
            if not isinstance(parsed.get("image"), dict) or "file_name" not in parsed["image"]:
                raise PartsError(
                    f"{file} is no SA-1B JSON: expected an object with image (file_name ...) and annotations"
                )
            by_name[str(parsed["image"]["file_name"])] = list(parsed.get("annotations", []))
        return by_name, digest.hexdigest()[:16]
    try:
        content = source.read_bytes()
    except OSError as error:
        raise PartsError(
            f"cannot read {source} ({error.strerror}); expected a COCO JSON file or a folder of SA-1B's"
        ) from None
    parsed = _parse(content, source)
    digest_text = hashlib.sha256(content).hexdigest()[:16]
    if isinstance(parsed.get("image"), dict):
        return {str(parsed["image"].get("file_name")): list(parsed.get("annotations", []))}, digest_text
    if not isinstance(parsed.get("images"), list) or not isinstance(parsed.get("annotations"), list):
        raise PartsError(f"{source} is no COCO JSON: expected an object with images and annotations")
    try:
        _refuse_twins([image["id"] for image in parsed["images"]], "image id", source)
        _refuse_twins([str(image["file_name"]) for image in parsed["images"]], "file_name", source)
        names = {image["id"]: str(image["file_name"]) for image in parsed["images"]}
        by_name = {name: [] for name in names.values()}
        for annotation in parsed["annotations"]:
            by_name[names[annotation["image_id"]]].append(annotation)
    except (KeyError, TypeError) as error:
        raise PartsError(f"{source} is no sound COCO JSON: {error} is missing, or names no image of the file") from None
    return by_name, digest_text


def _refuse_twins(values: list[Any], what: str, source: Path) -> None:
    twice = [str(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        raise PartsError(f"{source} has several images with one {what}: {name_some(twice)}; make each one unique")


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PartsError(f"{path} is no JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise PartsError(f"{path} holds a {type(parsed).__name__}; expected an object")
    return parsed


def _match(by_name: dict[str, list[Annotation]], refs: Sequence[SceneRef], source: Path) -> dict[str, list[Annotation]]:
    """Annotations by image_id, by the whole path; says what was loosened and what has no partner."""
    found = match_names(by_name, [ref.image_id for ref in refs])
    if not found.scene_of:
        raise PartsError(
            f"none of the {len(by_name)} images of {source} is among the scenes, as {name_some(sorted(by_name))}; "
            f"expected file names relative to --scenes"
        )
    for kind, count in found.loosened.items():
        say(f"{count} of {len(by_name)} images matched only with {kind}")
    lonely = sorted({ref.image_id for ref in refs} - set(found.scene_of.values()))
    for names, what in (
        (found.unmatched, f"images of {source.name} have no scene"),
        (found.ambiguous, f"images of {source.name} share their scene with others, or fit several, and are left out"),
        (lonely, "scenes have no image in the file and get no regions"),
    ):
        if names:
            say(f"{len(names)} {what}: {name_some(sorted(names))}")
    return {scene: by_name[name] for name, scene in found.scene_of.items()}
