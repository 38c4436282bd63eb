"""COCO 2017 by name, on tiny sets in its true layout."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.coco import COUNTS, coloured, save, stuff_alone, write_coco
from support.scenes import box_scene

from samclr.datasets.annotation_index import indexed, place_of, read_instances
from samclr.datasets.catalogue import DATASETS, IGNORED
from samclr.datasets.check import check_set
from samclr.datasets.coco import COARSE, STUFF, STUFF_IDS, THING_IDS, THINGS, panoptic_segments
from samclr.datasets.label_maps import NO_REGION, read_label_regions
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.sources import list_scenes
from samclr.errors import EvaluationError, ScenesError

COCO = DATASETS["coco"]


@pytest.mark.parametrize("images", [".", "images"])
def test_scenes_of_each_split_have_the_same_ids_wherever_the_images_lie(tmp_path, images):
    root = write_coco(tmp_path / "coco", images)
    for split, count in COUNTS.items():
        refs = list_scenes([Path(f"coco:{split}@{tmp_path}")])
        assert len(refs) == count
        assert all(ref.image_id.startswith(f"{split}/000000") and str(root) in ref.path for ref in refs)
    assert len(list_scenes([Path(f"coco@{root}")])) == COUNTS["train2017"]


def test_a_root_typed_as_a_folder_is_not_mixed_with_its_label_maps(tmp_path):
    root = write_coco(tmp_path)
    with pytest.raises(ScenesError, match="is a root of COCO 2017, whose label maps are not scenes: type coco@"):
        list_scenes([root])


def test_the_json_of_instances_is_named_for_each_split_that_has_one(tmp_path):
    root = write_coco(tmp_path)
    files = {split.name: COCO.instances(root, split.name) for split in COCO.splits}
    assert [split for split, file in files.items() if file is not None] == ["train2017", "val2017"]
    assert all(file.is_file() for file in files.values() if file is not None)


# The 27 coarse classes of values 0 to 181, A to [, as STEGO's data.py has them (fine_to_coarse, read there).
FINE_TO_COARSE = (
    "JLLLLLLLLIIIIIIHHHHHHHHHHGGGGGGGGKKKKKKKKKKFFFFFFFFCCCCCCCCCCDDDDDDDDDDAAAAAABBBBBBEEEEEEEE"
    "RRWUUWPZQNMMRRXPPRPVPZNNNNNW[OOPWVVYUWPRQPWYVRZQVRWQVVZV[VYUROV[PXUVYPYWZPURRWOSSSSSSS[[TTY"
)


def tiny(name):
    """The set as if its release had as many images as the tiny copy."""
    splits = tuple(dataclasses.replace(one, num_images=COUNTS[one.name]) for one in DATASETS[name].splits)
    return dataclasses.replace(DATASETS[name], splits=splits)


def edited(root, split, change):
    """A split's JSON of instances with something changed."""
    path = root / f"annotations/instances_{split}.json"
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))
    return path


def faults_of(root, split="val2017", name="coco"):
    return list(next(one for one in check_set(tiny(name), root).splits if one.split == split).faults)


def test_the_release_has_so_many_images():
    counts = {split.name: split.num_images for split in COCO.splits}
    assert counts == {"train2017": 118287, "val2017": 5000, "unlabeled2017": 123403, "test2017": 40670}


def test_tables_of_classes_are_those_of_the_release():
    assert (len(THINGS), len(THING_IDS), len(STUFF), len(STUFF_IDS)) == (80, 80, 91, 91)
    named = dict(zip((*THING_IDS, *STUFF_IDS), (*THINGS, *STUFF), strict=True))
    known = {
        1: "person",
        11: "fire hydrant",
        13: "stop sign",
        25: "giraffe",
        27: "backpack",
        44: "bottle",
        67: "dining table",
    }
    known |= {70: "toilet", 72: "tv", 82: "refrigerator", 84: "book", 90: "toothbrush", 92: "banner", 182: "wood"}
    assert {number: named[number] for number in known} == known
    fine = DATASETS["coco-stuff"].pixel_classes(Path())
    assert (len(fine.names), len(fine.lookup), fine.lookup.count(IGNORED)) == (171, 182, 11)
    assert all(fine.names[fine.lookup[number - 1]] == name for number, name in named.items())


def test_coarse_classes_are_those_of_stego():
    coarse = DATASETS["coco-stuff27"].pixel_classes(Path())
    assert "".join(chr(65 + number) for number in coarse.lookup) == FINE_TO_COARSE
    assert (len(coarse.names), sum(map(len, COARSE.values()))) == (27, 182)
    assert (coarse.names[9], coarse.names[11], coarse.names[23]) == ("person", "vehicle", "sky")


def test_places_lead_to_the_annotations_that_pycocotools_has(tmp_path):
    from pycocotools import coco

    root = write_coco(tmp_path)
    path = COCO.instances(root, "train2017")
    found, theirs = read_instances(path), coco.COCO(str(path))
    content = path.read_bytes()
    assert found.categories == {one["id"]: one["name"] for one in theirs.loadCats(theirs.getCatIds())}
    assert found.index.keys() == {one["file_name"] for one in theirs.imgs.values()}
    for image in theirs.imgs.values():
        place = place_of(found.index[image["file_name"]])
        mine = [json.loads(content[first : first + length]) for first, length in place.spans]
        assert mine == theirs.loadAnns(theirs.getAnnIds(image["id"]))
        assert place.size == (image["height"], image["width"])


def test_a_whole_copy_is_complete_with_panoptic_pngs_or_without(tmp_path):
    for name, panoptic in (("a", True), ("b", False)):
        root = write_coco(tmp_path / name, panoptic=panoptic)
        for data_set in ("coco", "coco-stuff", "coco-stuff27"):
            found = check_set(tiny(data_set), root)
            assert found.complete, found
            assert found.splits[0].labels == COUNTS["train2017"]
    assert [one.labels for one in check_set(tiny("coco"), root).splits] == [3, 2, None, None]


def test_what_is_missing_or_stray_is_named(tmp_path):
    root = write_coco(tmp_path)
    (root / "val2017/000000000700.jpg").rename(root / "val2017/000000000709.jpg")
    said = "; ".join(faults_of(root))
    assert "instances_val2017.json does not name 1 images: val2017/000000000709.jpg" in said
    assert "instances_val2017.json names 1 images that are not there: 000000000700.jpg" in said
    assert "1 images have no panoptic PNG: val2017/000000000709.jpg" in said
    assert "1 label maps belong to no image: annotations/panoptic_val2017/000000000700.png" in said
    assert "1 images have no label map" in "; ".join(faults_of(root, name="coco-stuff"))
    (root / "annotations/instances_val2017.json").unlink()
    assert "2 images have no instances_SPLIT.json: val2017/000000000701.jpg, val2017/000000000709.jpg" in faults_of(
        root
    )


def test_a_json_of_other_sizes_is_no_whole_copy(tmp_path):
    root = write_coco(tmp_path)
    edited(root, "val2017", lambda held: held["images"][0].update(height=64, width=48))
    (fault,) = faults_of(root)
    assert fault.startswith("val2017/000000000700.jpg: it is 64x48 px upright, in its JSON 48x64: one is of another")


def test_odd_annotations_are_counted_and_named(tmp_path):
    root = write_coco(tmp_path)
    edited(root, "val2017", lambda held: held["annotations"][0].update(image_id=12345))
    edited(root, "val2017", lambda held: held["annotations"][1].update(category_id=12))
    assert faults_of(root) == [
        "1 annotations of instances_val2017.json name images that it does not list: 12345; its images have the "
        "ids 700, 701",
        "1 annotations of instances_val2017.json have category ids that it does not list: 12",
    ]
    for category in ("1", [1], None):
        edited(root, "val2017", lambda held, odd=category: [one.update(category_id=odd) for one in held["annotations"]])
        said = "3 annotations of instances_val2017.json have category ids that it does not list: no whole number"
        assert said in faults_of(root)
    path = COCO.instances(root, "val2017")
    path.write_bytes(path.read_bytes()[:-300])
    (said,) = faults_of(root)
    assert "instances_val2017.json is not a whole JSON object: at byte " in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda held: held.pop("annotations"),
            "is not COCO JSON: expected an object with the lists images and annotations",
        ),
        (lambda held: held["images"].append(held["images"][0]), "has two images with the id 700"),
        (lambda held: held["images"].append(held["images"][0] | {"id": 9}), "has two images with the file_name"),
        (lambda held: held["images"].append({"id": True, "file_name": "x.jpg"}), "has an image without a whole number"),
    ],
)
def test_files_that_are_not_cocos_are_refused(tmp_path, change, said):
    root = write_coco(tmp_path)
    path = edited(root, "val2017", change)
    with pytest.raises(ScenesError, match=said):
        read_instances(path)


def test_annotations_of_other_images_altogether_are_refused(tmp_path):
    root = write_coco(tmp_path)
    edited(root, "val2017", lambda held: [one.update(file_name=f"x{one['id']}.jpg") for one in held["images"]])
    with pytest.raises(ScenesError, match=r"names none of the images: it has x700.jpg, x701.jpg; they have val2017/"):
        indexed(list_scenes([Path(f"coco:val2017@{root}")]))


def test_annotations_of_no_image_of_the_file_are_said_or_refused(tmp_path, caplog):
    """With ids as texts alone, as other tools write them, or in annotations and not in images."""
    root, scenes = write_coco(tmp_path), [Path(f"coco:val2017@{tmp_path}")]
    whole = indexed(list_scenes(scenes))
    edited(root, "val2017", lambda held: [one.update(image_id=str(one["image_id"])) for one in held["annotations"]])
    with pytest.raises(
        ScenesError, match=r"has no annotation of any of its 2 images: 3 annotations of .* list: '700'; .* the ids 700"
    ):
        indexed(list_scenes(scenes))
    edited(root, "val2017", lambda held: [one.update(id=str(one["id"])) for one in held["images"]])
    num_places = [len(place_of(ref.label.index).spans) for ref in whole]
    assert [len(place_of(ref.label.index).spans) for ref in indexed(list_scenes(scenes))] == num_places == [3, 0]
    assert "that it does not list" not in caplog.text
    edited(root, "val2017", lambda held: held["annotations"][0].update(image_id="139"))
    indexed(list_scenes(scenes))
    assert "1 annotations of instances_val2017.json name images that it does not list: '139'; its images" in caplog.text


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((48, 64), np.uint8), "has 1 channels"),
        (coloured(np.zeros((9, 9), int)), "is 9x9 px, its image 64x48 px"),
    ],
)
def test_panoptic_pngs_of_another_kind_or_size_are_named(tmp_path, pixels, said):
    root = write_coco(tmp_path)
    save(root / "annotations/panoptic_val2017/000000000700.png", pixels)
    assert said in "; ".join(faults_of(root))
    palette = Image.fromarray(np.zeros((48, 64), np.uint8)).convert("P")
    palette.save(root / "annotations/panoptic_val2017/000000000700.png")
    assert "label map 000000000700.png has 1 channels (P); expected 3 (RGB)" in "; ".join(faults_of(root))


def test_panoptic_colours_become_ids():
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 16777215, 300]])
    assert (panoptic_segments(coloured(ids).astype(np.int64)) == np.where(ids == 0, -1, ids)).all()


@pytest.mark.parametrize("name", ["coco-stuff", "coco-stuff27"])
@pytest.mark.parametrize("folder", ["stuffthingmaps", "annotations"])
def test_dense_evaluation_trains_on_train_and_tests_on_val(tmp_path, name, folder):
    root = write_coco(tmp_path, images="images", panoptic=False)
    if folder == "annotations":
        for split in ("train2017", "val2017"):
            (root / "stuffthingmaps" / split).rename(root / "annotations" / split)
    train, test = open_labelled_scenes(Path(f"{name}@{root}"))
    assert (len(train), len(test)) == (3, 2)
    values = np.asarray(Image.open(test.label_paths[0])).astype(int)
    names = np.array([*test.classes, "void"])[np.minimum(test.label_map(0), len(test.classes))]
    expected = ("sky-other", "person", "dog", "toothbrush", "void")
    if name == "coco-stuff27":
        expected = ("sky", "person", "animal", "indoor", "void")
    for value, word in zip((156, 0, 17, 89, 255), expected, strict=True):
        assert set(names[values == value]) == {word}


def test_coco_itself_has_no_classes_for_dense_evaluation(tmp_path):
    with pytest.raises(
        EvaluationError,
        match=r"COCO 2017 has no pixel classes to evaluate; use .*coco-stuff15, coco-stuff27",
    ):
        open_labelled_scenes(Path(f"coco@{write_coco(tmp_path)}"))


def test_stuff_alone(tmp_path):
    """Maps of COCO's stuff task: its 92 ids, or the fifteen supercategories that the maps of both have."""
    write_coco(tmp_path, stuff=False, pixelmaps=True)
    names, values = ("coco-stuff91", "coco-stuff15"), stuff_alone(box_scene(900)[1])
    for name, sky, thing, banner, wood in zip(
        names, ("sky-other", "sky"), ("other", None), ("banner", "textile"), ("wood", "solid"), strict=True
    ):
        train, val = open_labelled_scenes(Path(f"{name}@{tmp_path}"))
        assert (len(train), len(val), len(train.classes)) == (3, 2, {names[0]: 92, names[1]: 15}[name])
        number = [ref.image_id for ref in train.refs].index("train2017/000000000900.jpg")
        expected = {0: IGNORED, 157: sky, 183: thing, 92: banner, 182: wood}
        found = train.label_map(number)
        for value, own in expected.items():
            place = own if own == IGNORED else IGNORED if own is None else train.classes.index(own)
            assert set(found[values == value].tolist()) == {place}
    of_both = DATASETS["coco-stuff27"].pixel_classes(tmp_path)
    alone = DATASETS["coco-stuff15"].pixel_classes(tmp_path)
    for value in STUFF_IDS:  # a map of both holds the id less 1
        assert alone.names[alone.lookup[value]] == of_both.names[of_both.lookup[value - 1]]
    assert set(alone.lookup[:92]) | {alone.lookup[183]} == {IGNORED}
    refs = list_scenes([Path(f"coco-stuff91:val2017@{tmp_path}")])
    regions = read_label_regions(refs[0].label, (48, 64))
    values = np.asarray(Image.open(refs[0].label.path)).astype(int)
    assert (regions == np.where(np.isin(values, (0, 183)), NO_REGION, values)).all()
    assert check_set(tiny("coco-stuff91"), tmp_path).complete
    with pytest.raises(EvaluationError, match="3 of 3 images of COCO-Stuff, 15 classes of stuff, split train2017"):
        open_labelled_scenes(Path(f"coco-stuff15@{write_coco(tmp_path / 'both')}"))
    for split in ("train2017", "val2017"):
        (tmp_path / f"annotations/stuff_{split}_pixelmaps").rename(tmp_path / "annotations" / split)
    with pytest.raises(EvaluationError, match=r"has the value 183; expected 0 to 181, or 255 for unlabelled"):
        open_labelled_scenes(Path(f"coco-stuff@{tmp_path}"))[0].label_map(0)
