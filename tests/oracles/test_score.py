"""Best covering and recall against naive loops over pixels."""

import numpy as np
import pytest
from PIL import Image
from support.scenes import write_scenes

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.label_maps import LabelError, match_people, read_values
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError
from samclr.regions.score import score_store
from samclr.regions.segment import segment_scenes
from samclr.regions.store import iterate_rows, row_to_regions
from samclr.scenes.fill import FillOptions


@pytest.fixture
def made(tmp_path):
    refs = list_scenes([write_scenes(tmp_path / "scenes", 4)])
    store, _ = segment_scenes(refs, SegmenterConfig(scale=100.0, min_size=20), tmp_path / "store", FillOptions())
    return store


def write_people(store, folder, shift=0):
    """Two people a picture, in 8 and in 16 bits, who agree roughly with the store."""
    random = np.random.default_rng(0)
    people = {}
    for row in iterate_rows(store):
        found = row_to_regions(row)
        labels = np.zeros((found.height, found.width + shift), np.int64)
        for number in range(len(found.regions)):
            labels[:, : found.width][found.mask(number)] = number + 1
        other = np.where(random.random(labels.shape) < 0.3, 999, labels)
        people[found.image_id] = [labels, other]
        stem = (folder / found.image_id).with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels.astype(np.uint8)).save(f"{stem}_1.png")
        Image.fromarray(other.astype(np.uint16)).save(f"{stem}_2.png")
    return people


def test_against_loops(made, tmp_path):
    people = write_people(made, tmp_path / "maps")
    coverings, recalls = [], []
    for row in iterate_rows(made):
        found = row_to_regions(row)
        masks = [found.mask(k) for k in range(len(found.regions))]
        each = []
        for labels in people[found.image_id]:
            total, hits, segments = 0.0, 0, np.unique(labels)
            for segment in segments:
                mine = labels == segment
                best = max((np.sum(mine & m) / np.sum(mine | m) for m in masks), default=0.0)
                total += best * mine.sum()
                hits += best > 0.5
            each.append((total / labels.size, hits / len(segments)))
        coverings.append(np.mean([c for c, _ in each]))
        recalls.append(np.mean([r for _, r in each]))
    score = score_store(made, tmp_path / "maps")
    assert (score["num_images"], score["num_human_segmentations"]) == (4, 8)
    assert score["best_covering"] == pytest.approx(np.mean(coverings))
    assert score["recall_at_50"] == pytest.approx(np.mean(recalls))
    assert 0.4 < score["best_covering"] < 1


def test_no_map_or_one_of_another_size(made, tmp_path):
    with pytest.raises(ScenesError, match=r"no label map in .* has the relative stem"):
        score_store(made, tmp_path)
    write_people(made, tmp_path / "maps", shift=1)
    with pytest.raises(ScenesError, match="px, its image"):
        score_store(made, tmp_path / "maps")


def test_ignored_labels_against_loops(made, tmp_path):
    people = write_people(made, tmp_path / "maps")
    coverings = []
    for row in iterate_rows(made):
        found = row_to_regions(row)
        masks = [found.mask(k) for k in range(len(found.regions))]
        each = []
        for labels in people[found.image_id]:
            valid, total, area = labels != 999, 0.0, 0
            for segment in np.unique(labels[valid]):
                mine = labels == segment
                total += max(np.sum(mine & m) / np.sum((mine | m) & valid) for m in masks) * mine.sum()
                area += mine.sum()
            each.append(total / area)
        coverings.append(np.mean(each))
    score = score_store(made, tmp_path / "maps", ignore_label=(999,))
    assert score["best_covering"] == pytest.approx(np.mean(coverings))


def test_numbered_maps_are_a_persons_only_where_no_image_has_that_name(tmp_path):
    for name in ("street.png", "street_1.png", "street_2.png", "yard_1.png", "a[1]_1.png", "train.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    ids = ["street.jpg", "street_1.jpg", "yard.jpg", "a[1].jpg", "train.parquet#0"]
    people = match_people(tmp_path, ids)
    found = {stem: [path.name for path in paths] for stem, paths in people.by_stem.items()}
    assert found == {
        "street": ["street.png"], "street_1": ["street_1.png"], "yard": ["yard_1.png"], "a[1]": ["a[1]_1.png"],
    }  # fmt: skip
    assert (set(people.doubtful), people.strays) == ({"street_2.png"}, ["train.png"])
    with pytest.raises(ScenesError, match=r"match several images each: yard.jpg and yard.png"):
        match_people(tmp_path, [*ids, "yard.png"])
    Image.new("L", (2, 2)).save(tmp_path / "street.tif")
    with pytest.raises(ScenesError, match=r"2 label maps of street: street.png, street.tif"):
        match_people(tmp_path, ids)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("F", (3, 2)), "floating-point numbers; expected one channel"),
        (Image.new("RGBA", (3, 2)), "4 channels"),
        (Image.fromarray(np.full((2, 3), -1, np.int32)), "has the value -1"),
        (Image.new("L", (9, 9)), "is 9x9 px, its image 3x2 px"),
    ],
)
def test_label_maps_that_hold_no_ids(tmp_path, image, message):
    image.save(tmp_path / "a.tif")
    with pytest.raises(LabelError, match=message):
        read_values(tmp_path / "a.tif", (2, 3))
