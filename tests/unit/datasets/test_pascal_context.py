"""Pascal Context by name, as released and as converted: splits by lists, classes by name, the background ignored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from support.mat_sets import context_names, write_pascal_context
from support.scenes import box_scene

from samclr.datasets.catalogue import DATASETS, IGNORED
from samclr.datasets.check import check_set
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.sources import list_scenes
from samclr.errors import EvaluationError, ScenesError

SPEC = DATASETS["pascal-context"]


def write(root: Path) -> Path:
    """Three images to train on and two to measure on; one more belongs to no list."""
    for folder in ("JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        pixels, boxes = box_scene(number)
        Image.fromarray(pixels).save(root / f"JPEGImages/2008_{number:06d}.jpg")
        labels = np.array([0, 1, 37, 59], np.uint8)[boxes]
        Image.fromarray(labels).save(root / f"SegmentationClassContext/2008_{number:06d}.png")
    for split, numbers in (("train", range(3)), ("val", range(3, 5))):
        lines = [f"2008_{number:06d}\n" for number in numbers]
        (root / f"ImageSets/SegmentationContext/{split}.txt").write_text("".join(lines))
    return root


def test_splits_are_lists_and_the_background_is_ignored(tmp_path):
    write(tmp_path / "VOCdevkit/VOC2010")
    train, test = open_labelled_scenes(Path(f"pascal-context@{tmp_path}"))
    assert (len(train), len(test), len(train.classes)) == (3, 2, 59)
    assert [train.classes[k] for k in (0, 36, 58)] == ["aeroplane", "person", "wood"]
    assert (train.label_map(0) == np.array([IGNORED, 0, 36, 58])[box_scene(0)[1]]).all()
    tiny = replace(SPEC, splits=tuple(replace(s, num_images=n) for s, n in zip(SPEC.splits, (3, 2), strict=True)))
    assert check_set(tiny, tmp_path).complete


def test_a_missing_list_is_named(tmp_path):
    root = write(tmp_path / "VOC2010")
    (root / "ImageSets/SegmentationContext/train.txt").unlink()
    with pytest.raises(ScenesError, match=r"has no list: expected .*SegmentationContext/train.txt"):
        list_scenes([Path(f"pascal-context@{root}")])


def as_fcn_reads(folder: Path, stem: str, count: int) -> np.ndarray:
    """pascalcontext_layers.py: classes from 1 on in the order of the shorter list, 0 for all else."""
    names = [line.partition(":")[2].strip() for line in (folder / "labels.txt").open()]
    fewer = [line.partition(":")[2].strip() for line in (folder / f"{count}_labels.txt").open()]
    for main, task in (("table", "diningtable"), ("bedclothes", "bedcloth"), ("cloth", "clothes")):
        fewer = [main if name == task else name for name in fewer]
    values = loadmat(folder / f"trainval/{stem}.mat")["LabelMap"]
    labels = np.zeros(values.shape, int)
    for number, name in enumerate(fewer, 1):
        labels[values == names.index(name) + 1] = number
    return labels


@pytest.mark.parametrize(("name", "count"), [("pascal-context", 59), ("pascal-context-33", 33)])
def test_the_release_is_read_as_fcn_reads_it(tmp_path, name, count):
    """The 459 values by names: those of the list, under the order of each; all else is ignored."""
    folder = write_pascal_context(tmp_path)
    train, test = open_labelled_scenes(Path(f"{name}@{tmp_path}"))
    assert (len(train), len(test), len(train.classes)) == (3, 2, count)
    fewer = [line.partition(": ")[2].strip() for line in (folder / f"{count}_labels.txt").open()]
    renamed = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    order = [IGNORED, *(train.classes.index(renamed.get(one, one)) for one in fewer)]
    for scenes in (train, test):
        for number, ref in enumerate(scenes.refs):
            theirs = as_fcn_reads(folder, ref.image_id.removesuffix(".jpg"), count)
            assert (scenes.label_map(number) == np.array(order)[theirs]).all()
    found = {train.classes[k] for k in np.unique(train.label_map(0)) if k != IGNORED}
    assert found == ({"table", "bedclothes"} if count == 59 else {"table"})
    tiny = replace(
        DATASETS[name],
        splits=tuple(replace(s, num_images=n) for s, n in zip(SPEC.splits, (3, 2), strict=True)),
    )
    assert check_set(tiny, tmp_path).complete
    assert [Path(ref.label.path).suffix for ref in list_scenes([Path(f"{name}@{tmp_path}")])] == [".mat"] * 3


def test_names_among_the_maps_and_converted_maps_first(tmp_path):
    folder = write_pascal_context(tmp_path)
    (folder / "labels.txt").rename(folder / "trainval/labels.txt")
    assert len(open_labelled_scenes(Path(f"pascal-context@{folder}"))[0]) == 3
    for number in range(5):
        (folder / "SegmentationClassContext").mkdir(exist_ok=True)
        labels = (box_scene(number)[1] == 1).astype(np.uint8) * 37
        Image.fromarray(labels).save(folder / f"SegmentationClassContext/2008_{number:06d}.png")
    train, _ = open_labelled_scenes(Path(f"pascal-context@{folder}"))
    assert train.label_paths[0].suffix == ".png"
    assert set(np.unique(train.label_map(0))) == {36, IGNORED}
    assert open_labelled_scenes(Path(f"pascal-context-33@{folder}"))[0].label_paths[0].suffix == ".mat"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("labels.txt", None, r"Pascal Context has no labels.txt in .*VOC2010: it names the classes of trainval/"),
        ("33_labels.txt", None, "Pascal Context has no 33_labels.txt in"),
        ("33_labels.txt", lambda text: text[: text.index("33:")], r"33_labels.txt names 32 classes; expected 33"),
        ("33_labels.txt", lambda text: text.replace("truck", "lorry"), r"/labels.txt lacks the classes lorry;"),
        ("labels.txt", lambda text: text.replace("2: ", "2 ", 1), r"labels.txt has the line '2 wood'; expected lines"),
        ("labels.txt", lambda text: text.replace("2: ", "1: ", 1), r"labels.txt has '1: wood', whose number stands"),
        (
            "labels.txt",
            lambda text: text.replace("thing 9\n", "tvmonitor\n"),
            r"labels.txt has the classes tvmon",
        ),
        ("33_labels.txt", lambda text: text.replace("truck", "tree"), r"33_labels.txt names 32 classes; expected 33"),
    ],
)
def test_damaged_names(tmp_path, file, change, message):
    path = write_pascal_context(tmp_path) / file
    path.write_text(change(path.read_text())) if change else path.unlink()
    with pytest.raises(EvaluationError, match=message):
        open_labelled_scenes(Path(f"pascal-context-33@{tmp_path}"))


def test_the_fixtures_lists_have_the_release_s_lengths(tmp_path):
    folder = write_pascal_context(tmp_path)
    lengths = [len((folder / f"{name}.txt").read_text().splitlines()) for name in ("labels", "59_labels", "33_labels")]
    assert lengths == [459, 59, 33]
    assert len(context_names()) == 60
