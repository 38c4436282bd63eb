"""Pascal Context by name: splits by lists, 59 classes, the background ignored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.scenes import box_scene

from samclr.datasets.catalogue import DATASETS, IGNORED
from samclr.datasets.check import check_set
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError

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
