"""Masks from elsewhere: what fits is a region, what does not is an error row, a count or a refusal, never a guess."""

import json
import os
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from support.coco import write_coco

from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError, RegionError
from samclr.regions import annotation_files, annotations, importing
from samclr.regions.annotation_files import read_source
from samclr.regions.importing import ImportOptions, import_regions
from samclr.regions.store import iterate_rows, open_store, row_to_regions, verify_store
from samclr.scenes.decode import DecodeError

HEIGHT, WIDTH = 48, 64
SQUARE = [[4, 4, 20, 4, 20, 20, 4, 20]]
SCALE, EXIF = ImportOptions(rescale=True), ImportOptions(exif=True)


def photo(path, height=HEIGHT, width=WIDTH, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def annotation(number, image_id, segmentation=SQUARE, **more):
    return {"id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "segmentation": segmentation, **more}


class Case:
    """Photos a.png and b.png, and a file that is imported for them."""

    def __init__(self, folder):
        self.folder, self.photos, self.file = folder, folder / "photos", folder / "case.json"
        photo(self.photos / "a.png")
        photo(self.photos / "b.png")

    def images(self, **of_a):
        size = {"height": HEIGHT, "width": WIDTH}
        return [{"id": 1, "file_name": "a.png", **size, **of_a}, {"id": 2, "file_name": "b.png", **size}]

    def run(self, document, options=None):
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.file.write_bytes(text)
        return self.import_(self.file, options)

    def import_(self, source, options=None):
        self.store = self.folder / f"store-{len(list(self.folder.glob('store-*')))}"
        return import_regions(source, list_scenes([self.photos]), self.store, options)

    def found(self):
        store = open_store(self.store)
        assert verify_store(store) == []
        return {row["image_id"]: row_to_regions(row) for row in iterate_rows(store) if row["status"] == "ok"}

    def boxes(self):
        return {name: [r.box_xyxy for r in found.regions] for name, found in self.found().items()}

    def masks(self, name):
        found = self.found()[name]
        return [found.mask(number) for number in range(len(found.regions))]


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def coco(images, rows):
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "x"}]}


def notes(report):
    return {note.key: note.count for note in report.notes}


def test_polygons_and_uncompressed_runs(case):
    runs = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT, 3, HEIGHT * WIDTH - HEIGHT - 3]}
    split = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT, 0, 1, 2, 0, 1, HEIGHT * WIDTH - HEIGHT - 4]}  # rows 1 to 3
    rows = [annotation(1, 1, score=0.5), annotation(2, 1, runs), annotation(3, 1, SQUARE[0]), annotation(4, 1, split)]
    assert case.run(coco(case.images(), rows)).errors == {}
    regions = case.found()["a.png"].regions
    assert [region.box_xyxy for region in regions] == [(4, 4, 20, 20), (1, 0, 2, 3), (4, 4, 20, 20), (1, 1, 2, 4)]
    assert regions[0].area_px == 256
    assert regions[0].predicted_iou == pytest.approx(0.5)
    assert case.boxes()["b.png"] == []


def test_a_mask_of_many_parts_is_their_union(case):
    places = [(x, y) for x in range(2, 60, 4) for y in range(2, 44, 4)]
    parts = [[x, y, x + 3, y, x + 3, y + 2, x, y + 2] for x, y in places]
    case.run(coco(case.images(), [annotation(1, 1, parts)]))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for x, y in places:
        expected[y : y + 2, x : x + 3] = True
    assert (case.masks("a.png")[0] == expected).all()


def test_what_is_no_mask_is_counted_and_costs_no_good_one(case):
    none = [[], None, {}, [4, 4, 20, 20], [[4, 4, 20, 20]]]
    flat = [
        [[4, 4, 20, 4, 12, 4]], [[4, 4, 8, 8, 20, 20]], [[]], [[1, 2]], [[100, 60, 120, 60, 110, 70]],
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
    ]  # fmt: skip
    rows = [annotation(k, 1, segmentation) for k, segmentation in enumerate([*none, *flat])]
    rows += [annotation(50, 1, bbox=[1, 2, 3, 4]), annotation(51, 1, iscrowd=1), annotation(52, 1, iscrowd=True)]
    rows += [annotation(53, 1, [*SQUARE, [30, 30, 31, 31], [1, 1, 2, 2, 3, 3]]), annotation(54, 1, iscrowd=None)]
    rows += [annotation(55, 1, [[4, 4, 20, 20, 20, 4, 4, 20]])]  # a bow-tie has an area, though its signed one is 0
    del rows[1]["segmentation"]
    report = case.run(coco(case.images(), rows))
    assert report.errors == {}
    assert notes(report) == {"boxes": 5, "crowds": 2, "empty": 6, "parts": 2}
    assert case.boxes()["a.png"] == [(4, 4, 20, 20)] * 3 + [(4, 4, 20, 19)]
    assert not any(note.is_failure for note in report.notes)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (lambda h, w: {"size": [h, w], "counts": [h * w - 1]}, "malformed RLE: its runs do not add up"),
        (lambda h, w: {"size": [h, w], "counts": [-5, h * w + 5]}, "malformed RLE: its runs do not add up"),
        (lambda h, w: {"size": [h, w], "counts": "0" * 400}, "malformed RLE: its runs do not add up"),
        (lambda h, w: {"size": [h, w], "counts": "\u00e9"}, "malformed RLE: counts are not text"),
        (lambda h, w: {"size": [h, w], "counts": "~~~~"}, "malformed RLE"),
        (lambda h, w: {"size": [w, h + 1], "counts": [w * (h + 1)]}, "its mask is 49x64 px, the photo 64x48"),
        (lambda h, w: {"size": None, "counts": [h * w]}, "its size is None; expected [height, width]"),
        (lambda h, w: {"size": [10**9, 10**9], "counts": [0, 10**18]}, "its size is [1000000000"),
        (lambda h, w: {"size": [h, True], "counts": [h]}, "its size is [48, true]"),
        (lambda h, w: {"size": [h, w], "counts": 10**11}, "counts are not text"),
        (lambda h, w: [[1, 2, 3]], "malformed polygon"),
        (lambda h, w: [[1, 2, 3, 4, 5, float("nan")]], "malformed polygon"),
        (lambda h, w: [["0", "0", "9", "0", "9", "9"]], "malformed polygon"),
        (lambda h, w: [None], "malformed polygon"),
        (lambda h, w: [[[0, 0], [9, 0], [9, 9]]], "malformed polygon"),
        (lambda h, w: [[0, 0, 1e9, 0, 1e9, 1e9]], "lies far outside"),
        (lambda h, w: [[0, 0, 1e300, 0, 5, 5]], "malformed polygon"),
        (lambda h, w: [[0, 0, 10**400, 0, 5, 5]], "malformed polygon"),
        (lambda h, w: [[0, 0, 9, 0, 9, 9]] * (annotations.MAX_PARTS + 1), "over 10,000 parts"),
        (lambda h, w: [[0, 0, 63, 47] * 50_000], "its outline is 6,300,000 px long"),
        (lambda h, w: "mask", "expected polygons, or an object with size and counts"),
        (lambda h, w: 5, "expected polygons, or an object with size and counts"),
    ],
)
def test_a_malformed_mask_is_its_images_error_row(segmentation, message, case):
    rows = [annotation(1, 1), annotation(2, 1, segmentation(HEIGHT, WIDTH)), annotation(3, 2)]
    report = case.run(coco(case.images(), rows))
    assert list(report.errors) == ["a.png"]
    assert report.errors["a.png"].startswith("annotation 2: ")
    assert message in report.errors["a.png"]
    assert case.boxes() == {"b.png": [(4, 4, 20, 20)]}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("score", "high", "score is 'high'; expected a finite number"),
        ("score", 10**400, "score is beyond float32"),
        ("predicted_iou", float("nan"), "predicted_iou is nan"),
        ("stability_score", [1], "stability_score is [1]"),
        ("iscrowd", "yes", "iscrowd is 'yes'; expected 0 or 1"),
        ("iscrowd", 2, "iscrowd is 2"),
        *(
            ("point_coords", point, "point_coords is")
            for point in ([5, 5], [[]], [[1]], [[None, 1]], 5, "x", [[1e39, 1]], {"x": 1})
        ),
    ],
)
def test_an_odd_field_is_its_images_error_row(field, value, message, case):
    report = case.run(coco(case.images(), [annotation(1, 1, **{field: value}), annotation(2, 2)]))
    assert list(report.errors) == ["a.png"]
    assert message in report.errors["a.png"]


@pytest.mark.parametrize(("field", "value"), [("category_id", [None]), ("area", "x"), ("bbox", {}), ("id", [[]])])
def test_fields_that_say_nothing_about_the_mask_are_left_alone(field, value, case):
    document = coco(case.images(), [annotation(1, 1, **{field: value}), annotation(2, 2)])
    document["categories"] = value
    assert case.run(document).errors == {}
    assert case.boxes()["a.png"] == [(4, 4, 20, 20)]


@pytest.mark.parametrize(
    ("images", "rows", "expected"),
    [
        (lambda images: [None, *images], [annotation(1, 1)], {"malformed_images": 1}),
        (lambda images: [{"id": 9, "file_name": None}, *images], [annotation(1, 9)], {"malformed_images": 1}),
        (lambda images: [{"id": 9}, [1], *images], [], {"malformed_images": 2}),
        (lambda images: images, [annotation(1, 99), annotation(2, [1]), annotation(3, True)], {"lost_annotations": 3}),
        (lambda images: images, [5, None, {}, annotation(3, "1")], {"lost_annotations": 4}),
        (lambda images: images, [annotation(1, 1), annotation(1, 1)], {"twin_annotation_ids": 1}),
    ],
)  # fmt: skip
def test_what_belongs_to_no_image_is_counted_and_named(images, rows, expected, case):
    report = case.run(coco(images(case.images()), [*rows, annotation(77, 2)]))
    assert notes(report) == expected
    assert report.errors == {}
    assert case.boxes()["b.png"] == [(4, 4, 20, 20)]
    assert all(note.names for note in report.notes)
    assert all(note.is_failure == (note.key != "twin_annotation_ids") for note in report.notes)


def test_a_file_whose_annotations_all_name_other_images_is_refused(case):
    rows = [annotation(1, "1"), annotation(2, 99)]
    with pytest.raises(PartsError, match=r"none of the 2 annotations .*1 \(image_id '1'\).*expected .* such as 1, 2$"):
        case.run(coco(case.images(), rows))


@pytest.mark.parametrize("value", [None, [], True, 1.5, {}])
def test_an_image_with_an_odd_id_is_an_error_row(value, case):
    report = case.run(coco(case.images(id=value), [annotation(1, 1), annotation(2, 2)]))
    assert "its image id in the file is" in report.errors["a.png"]
    assert notes(report) == {"lost_annotations": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "holds a list; expected an object"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("{}", "is not COCO JSON: expected an object with the lists images and annotations"),
        ('{"images": [], "annotations": null}', "is not COCO JSON"),
        ('{"images": [{"id": 1}], "annotations": []}', "none of the 0 images .* malformed image entries .*: 1"),
        ('{"images": [], "annotations": [{"image_id": 3}]}', "none of the 0 images"),
        ('{"images": [{"id": 1, "file_name": "zz.png"}], "annotations": []}', r"none of the 1 images of .* \(zz.png\)"),
        ('{"image": [], "annotations": []}', r"image is \[\]; expected an object"),
        ('{"images": [], "images": [], "annotations": []}', "has the key 'images' twice"),
        ('{"images":' + "[" * 200_000, "is not JSON"),
        ('{"images": "\udcff"}', "is not JSON"),
    ],
)
def test_files_that_are_no_coco(content, message, case):
    with pytest.raises(PartsError, match=message):
        case.run(content.encode("utf-8", "surrogateescape"))


def test_twins_are_refused_by_name(case):
    with pytest.raises(PartsError, match="one image id: 2; make"):
        case.run(coco(case.images(id=2), []))
    with pytest.raises(PartsError, match=r"one file_name: b\.png; make"):
        case.run(coco(case.images(file_name="b.png"), []))
    folder = case.folder / "sa1b"
    folder.mkdir()
    for name in ("1.json", "2.json"):
        (folder / name).write_text(json.dumps({"image": {"file_name": "a.png"}, "annotations": []}))
    with pytest.raises(PartsError, match=r"1\.json and .*2\.json share the file_name 'a\.png'"):
        case.import_(folder)


def test_keys_that_stand_twice_and_numbers_without_end(case):
    good = json.dumps(annotation(2, 2))
    images = json.dumps(case.images())
    for row, message in (
        ('{"id": 1, "image_id": 1, "segmentation": [], "segmentation": [[1]]}', "has the key 'segmentation' twice"),
        ('{"id": 1, "image_id": 1, "segmentation": {"size": 1, "size": 2, "counts": []}}', "has the key 'size' twice"),
        ('{"id": 1, "image_id": 1, "segmentation": [[0, 0, 1' + "0" * 5000 + ", 0, 9, 9]]}", "malformed polygon"),
    ):
        report = case.run(f'{{"images": {images}, "annotations": [{row}, {good}]}}'.encode())
        assert list(report.errors) == ["a.png"]
        assert message in report.errors["a.png"]
    twice = images.replace('"id": 1', '"id": 1, "id": 1')
    report = case.run(f'{{"images": {twice}, "annotations": [{good}]}}'.encode())
    assert notes(report) == {"malformed_images": 1, "scenes_without_entry": 1}


def test_a_folder_of_sa1b_loses_no_image_to_another_ones_file(case):
    folder = case.folder / "sa1b"
    folder.mkdir()
    bodies = {
        "a": {"image": {"file_name": "a.png", "height": HEIGHT, "width": WIDTH}, "annotations": None},
        "b": {"image": {"file_name": "b.png", "height": HEIGHT, "width": WIDTH}, "annotations": [annotation(1, 1)]},
        "c": {"image": {"file_name": None}, "annotations": []},
        "d": {"info": "about"},
    }
    for name, body in bodies.items():
        (folder / f"{name}.json").write_text(json.dumps(body))
    (folder / "e.json").write_text("{")
    os.mkfifo(folder / "f.json")
    report = case.import_(folder)
    assert report.errors == {"a.png": "its annotations are None; expected a list"}
    assert [note.names for note in report.notes] == [["c.json", "d.json", "e.json", "f.json"]]
    assert case.boxes() == {"b.png": [(4, 4, 20, 20)]}
    (folder / "a.json").write_text(json.dumps({**bodies["a"], "annotations": [7]}))
    assert "annotation 0 is 7; expected an object" in case.import_(folder).errors["a.png"]


def test_an_image_whose_own_file_changes_meanwhile_is_an_error(case):
    folder = case.folder / "sa1b"
    folder.mkdir()
    for name in "ab":
        body = {"image": case.images()[name == "b"], "annotations": [annotation(1, 1)]}
        (folder / f"{name}.json").write_text(json.dumps(body))
    read = read_source(folder)
    assert [len(entry.annotations()) for entry in read.entries.values()] == [1, 1]
    (folder / "a.json").write_text((folder / "a.json").read_text().replace("20", "21"))
    (folder / "b.json").unlink()
    for name, message in (
        ("a.png", "its JSON file was changed during the import; import it again into another folder"),
        ("b.png", "cannot read"),
    ):
        with pytest.raises(RegionError, match=message):
            read.entries[name].annotations()


@pytest.mark.parametrize(
    "text",
    [
        '"score": 0.1, "segmentation": [[0, 0.5, 1e300, NaN, -Infinity, true, null, "\\ud800"]]',
        '"segmentation": {"size": [4, 4], "counts": "00"}',
        '"segmentation": [1' + "0" * 400 + "]",
        '"segmentation": ' + "[" * 500 + "]" * 500,
        '"segmentation": [], "segmentation": [[1]]',
    ],
)
def test_what_is_kept_of_an_annotation_is_the_annotation(text, case):
    row = f'{{"id": 1, "image_id": 1, {text}}}'
    case.file.write_text(f'{{"images": {json.dumps(case.images())}, "annotations": [{row}]}}')
    (found,) = read_source(case.file).entries["a.png"].annotations()
    assert repr(found) == repr(json.loads(row))
    assert isinstance(found, annotations.TwiceDict) == (text.count("segmentation") == 2)


def test_an_image_s_entry_is_not_taken_for_an_annotation(case):
    odd = {"id": 9, "segmentation": [], "image_id": 9}
    report = case.run(coco([odd, *case.images()], [annotation(1, 1), annotation(2, 2)]))
    assert report.notes[0].names == ["number 0 (file_name is None; expected a text)"]
    case.file.write_text(json.dumps(odd))
    with pytest.raises(PartsError, match="is not COCO JSON"):
        case.import_(case.file)


@pytest.mark.parametrize("layout", ["coco", "sa1b"])
def test_annotations_take_little_memory_while_they_wait(layout, case):
    outline = np.random.default_rng(0).uniform(0, 40, (300, 20)).round(2).tolist()
    folder = case.folder / "many"
    folder.mkdir()
    rows = [annotation(k, 1, [part], area=1, bbox=[0, 0, 1, 1]) for k, part in enumerate(outline)]
    for k in range(1 if layout == "coco" else 20):
        image = {"id": 1, "file_name": f"{k}.png", "height": HEIGHT, "width": WIDTH}
        body = coco([image], rows * 20) if layout == "coco" else {"image": image, "annotations": rows}
        (folder / f"{k}.json").write_text(json.dumps(body))
    file_bytes = sum(path.stat().st_size for path in folder.iterdir())
    tracemalloc.start()
    read = read_source(folder / "0.json" if layout == "coco" else folder)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(entry.annotations()) for entry in read.entries.values()) == 6000
    assert (kept, peak) < ((1.5 if layout == "coco" else 0.1) * file_bytes, 3 * file_bytes)


def test_more_json_than_the_bound_is_refused(case, monkeypatch):
    monkeypatch.setattr(annotation_files, "MAX_BYTES", 100)
    with pytest.raises(PartsError, match="split it into files"):
        case.run(coco(case.images(), []))


# ---- sizes ----


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"height": 480, "width": 640}, "its entry in the file is 640x480 px, the photo 64x48; add --rescale"),
        ({"height": 64, "width": 48}, "is 48x64 px, the photo 64x48; expected masks made for this photo"),
        ({"height": 49}, "is 64x49 px, the photo 64x48"),
        ({"height": None}, "its height and width in the file are None and 64; expected px"),
        ({"height": "48"}, "are '48' and 64"),
        ({"height": 0}, "are 0 and 64"),
        ({"height": 10**400}, "are beyond float32 and 64"),
    ],
)
def test_a_size_that_differs_is_an_error_row(size, message, case):
    report = case.run(coco(case.images(**size), [annotation(1, 1), annotation(2, 2)]))
    assert message in report.errors["a.png"]
    assert list(report.errors) == ["a.png"]


def test_without_a_size_the_masks_state_it_or_nothing_does(case):
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    assert notes(case.run(coco(images, [annotation(1, 1), annotation(2, 2)]))) == {"unchecked": 2}
    runs = {"size": [480, 640], "counts": [0, 480 * 640]}
    report = case.run(coco(images, [annotation(1, 1), annotation(3, 1, runs), annotation(2, 2)]))
    assert notes(report) == {"unchecked": 1}
    assert "640x480 px, the photo 64x48" in report.errors["a.png"]


def nearest(mask, height, width):
    """Each pixel takes the one under its centre, by exact fractions."""
    rows = [int((y + Fraction(1, 2)) * mask.shape[0] / height) for y in range(height)]
    columns = [int((x + Fraction(1, 2)) * mask.shape[1] / width) for x in range(width)]
    return np.array([[mask[y, x] for x in columns] for y in rows])


@pytest.mark.parametrize("size", [(480, 640), (24, 32), (31, 42), (36, 48)])
def test_scaled_masks(size, case):
    """Oracle: the mask resized; for polygons, pycocotools on coordinates times the scale."""
    mask = np.random.default_rng(1).random(size) < 0.5
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    polygon = [size[1] * 0.1, size[0] * 0.1, size[1] * 0.6, size[0] * 0.2, size[1] * 0.3, size[0] * 0.9]
    runs, middle = {"size": list(size), "counts": rle["counts"].decode()}, [size[1] / 4, size[0] / 2]
    rows = [annotation(1, 1, runs, point_coords=[middle]), annotation(2, 1, [polygon]), annotation(3, 2)]
    assert case.run(coco(case.images(height=size[0], width=size[1]), rows), SCALE).errors == {}
    found = case.masks("a.png")
    assert (found[0] == nearest(mask, HEIGHT, WIDTH)).all()
    drawn = coco_mask.frPyObjects([[6.4, 4.8, 38.4, 9.6, 19.2, 43.2]], HEIGHT, WIDTH)
    assert np.count_nonzero(found[1] != coco_mask.decode(drawn)[..., 0]) <= 2  # of rounding
    assert case.found()["a.png"].regions[0].point_xy == pytest.approx((16, 24))
    assert case.boxes()["b.png"] == [(4, 4, 20, 20)]


def test_another_aspect_is_not_scaled(case):
    report = case.run(coco(case.images(height=480, width=600), [annotation(1, 1)]), SCALE)
    assert "its entry in the file is 600x480 px, the photo 64x48" in report.errors["a.png"]


TURNED = {  # as the EXIF standard has them: what of the stored picture stands first
    1: lambda m: m,
    2: np.fliplr,
    3: lambda m: np.rot90(m, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda m: np.rot90(m, -1),
    7: lambda m: np.rot90(m, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_masks_of_the_unrotated_photo(orientation, suffix, tmp_path):
    """Oracle: the mask turned by numpy; and Pillow's exif_transpose on a picture of the mask."""
    case = Case(tmp_path)
    photo(case.photos / f"turned.{suffix}", orientation=orientation)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:20, 5:40] = mask[30, 60] = True
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    images = [{"id": 1, "file_name": f"turned.{suffix}", "height": HEIGHT, "width": WIDTH}]
    rows = [
        annotation(1, 1, {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}, point_coords=[[60.5, 30.5]]),
        annotation(2, 1),
    ]
    report = case.run(coco(images, rows), EXIF)
    assert report.errors == {}
    first, second = case.masks(f"turned.{suffix}")
    assert (first == TURNED[orientation](mask)).all()
    square = coco_mask.decode(coco_mask.frPyObjects(SQUARE, HEIGHT, WIDTH))[..., 0]
    assert (second == TURNED[orientation](square)).all()
    x, y = case.found()[f"turned.{suffix}"].regions[0].point_xy
    alone = np.zeros((HEIGHT, WIDTH), bool)
    alone[30, 60] = True
    assert TURNED[orientation](alone)[int(y), int(x)]
    without = case.run(coco(images, rows))
    if orientation >= 5:
        assert "48x64 after its EXIF rotation; add --exif" in without.errors[f"turned.{suffix}"]
    else:
        assert ("turned" in notes(without)) == (orientation > 1)
    upright = {"height": WIDTH, "width": HEIGHT} if orientation >= 5 else {}
    swapped = case.run(coco([{**images[0], **upright}], rows[1:]), EXIF)
    assert ("leave --exif out" in str(swapped.errors)) == (orientation >= 5)


def test_scaled_and_turned_together(case):
    photo(case.photos / "turned.jpg", orientation=6)
    mask = np.random.default_rng(2).random((96, 128)) < 0.5
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    images = [{"id": 1, "file_name": "turned.jpg", "height": 96, "width": 128}]
    rows = [annotation(1, 1, {"size": [96, 128], "counts": rle["counts"].decode()})]
    case.run(coco(images, rows), ImportOptions(rescale=True, exif=True))
    assert (case.masks("turned.jpg")[0] == np.rot90(nearest(mask, HEIGHT, WIDTH), -1)).all()
    assert open_store(case.store).maker["exif"] is True


def test_a_square_photo_that_is_turned_is_said(case):
    photo(case.photos / "turned.jpg", 32, 32, orientation=6)
    images = [{"id": 1, "file_name": "turned.jpg", "height": 32, "width": 32}]
    assert notes(case.run(coco(images, [annotation(1, 1)])))["turned"] == 1


# ---- matching ----


def test_folders_are_left_out_only_when_stated(case):
    document = coco([{"id": 1, "file_name": "cam2/a.png", "height": HEIGHT, "width": WIDTH}], [annotation(1, 1)])
    with pytest.raises(PartsError, match="if cam2/ is the folder that `scenes` names, add `strip_prefix` cam2/"):
        case.run(document)
    report = case.run(document, ImportOptions(strip_prefix="cam2"))
    assert notes(report) == {"scenes_without_entry": 1}
    assert case.boxes() == {"a.png": [(4, 4, 20, 20)], "b.png": []}


def test_the_names_of_cocos_json_meet_the_ids_of_its_split(tmp_path):
    root = write_coco(tmp_path / "coco")
    file, refs = root / "annotations/instances_val2017.json", list_scenes([Path(f"coco:val2017@{root}")])
    with pytest.raises(
        PartsError,
        match=r"relative to `scenes`, as val2017/000000000700.jpg, val2017/000000000701.jpg; if these are the images "
        r"in val2017/, add `add_prefix` val2017/",
    ):
        import_regions(file, refs, tmp_path / "store")
    report = import_regions(file, refs, tmp_path / "store", ImportOptions(add_prefix="val2017"))
    store = open_store(tmp_path / "store")
    assert (report.num_new, store.maker["add_prefix"]) == (2, "val2017")
    assert [len(row_to_regions(row).regions) for row in iterate_rows(store)] == [2, 0]


def test_panoptic_json_is_refused_before_there_is_a_store(tmp_path):
    root = write_coco(tmp_path / "coco")
    segments = [{"id": 7, "category_id": 1, "iscrowd": 0, "bbox": [1, 2, 3, 4], "area": 12}]
    named = [{"segments_info": segments, "file_name": f"{k:012d}.png", "image_id": k} for k in (700, 701)]
    images = [{"id": k, "file_name": f"{k:012d}.jpg", "height": HEIGHT, "width": WIDTH} for k in (700, 701)]
    file = root / "annotations/panoptic_val2017.json"
    file.write_text(json.dumps(coco(images, named)))
    refs = list_scenes([Path(f"coco:val2017@{root}")])
    with pytest.raises(PartsError, match=r"is COCO's panoptic JSON .*--segmenter labels --annotations panoptic"):
        import_regions(file, refs, tmp_path / "store", ImportOptions(add_prefix="val2017"))
    assert not (tmp_path / "store").exists()


def test_what_has_no_partner_is_counted_and_named(case):
    photo(case.photos / "c.png")
    images = [*case.images(), {"id": 3, "file_name": "zz.png"}, {"id": 4, "file_name": "A.png"}]
    report = case.run(coco(images, [annotation(1, 1), annotation(2, 4)]))
    assert {note.key: note.names for note in report.notes} == {
        "unmatched": ["A.png", "zz.png"],
        "scenes_without_entry": ["c.png"],
    }
    assert all(note.is_failure for note in report.notes)
    assert not report.is_in_vain


def test_a_file_whose_images_all_fail_is_in_vain(case):
    photo(case.photos / "c.png")
    assert case.run(coco(case.images(height=1)[:1], [])).is_in_vain


def test_a_resumed_import_is_not_in_vain_for_its_last_rows(case):
    """Those of now have no region, but those of before have."""
    (case.photos / "b.png").rename(case.folder / "b.png")
    document = coco(case.images(), [annotation(1, 1), annotation(2, 2, [[5, 5, 40, 40]])])
    case.run(document)
    (case.folder / "b.png").rename(case.photos / "b.png")
    report = import_regions(case.file, list_scenes([case.photos]), case.store)
    assert report.num_new == 1
    assert not report.is_in_vain
    assert "no_region" not in notes(report)


def test_images_that_failed_are_tried_again(case, monkeypatch):
    """A disk may have failed, which says nothing of the masks; their file may have another name by now."""

    def fail(ref):
        raise DecodeError("cannot read: OSError: [Errno 5]")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "load_scene", fail)
        assert len(case.run(coco(case.images(), [annotation(1, 1)])).errors) == 2
    renamed = case.file.rename(case.folder / "renamed.json")
    refs = list_scenes([case.photos])
    assert len(import_regions(renamed, refs, case.store).errors) == 2
    report = import_regions(renamed, refs, case.store, retry_errors=True)
    assert (report.num_new, report.errors) == (2, {})
    assert open_store(case.store).maker["source"] == "case.json"
    renamed.write_text(json.dumps(coco(case.images(), [])))
    with pytest.raises(PartsError, match="name another folder"):
        import_regions(renamed, refs, case.store)
