"""COCO 2017 by name, on tiny sets in its true layout."""

from pathlib import Path

import pytest
from support.coco import COUNTS, write_coco

from samclr.datasets.catalogue import DATASETS
from samclr.datasets.sources import list_scenes
from samclr.errors import ScenesError

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
