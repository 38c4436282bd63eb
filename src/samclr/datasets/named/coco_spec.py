"""COCO 2017 (Lin et al., ECCV 2014; panoptic: Kirillov et al., CVPR 2019), as its archives unpack."""

from pathlib import Path

from samclr.datasets.catalogue import DataSetSpec, Split

SPLITS = (
    Split(name="train2017", num_images=118287),
    Split(name="val2017", num_images=5000),
    Split(name="unlabeled2017", num_images=123403, labelled=False, required=False),
    Split(name="test2017", num_images=40670, labelled=False, required=False),
)


LABEL_FOLDERS = (
    *(f"annotations/panoptic_{split}" for split in ("train2017", "val2017")),
    *(f"annotations/stuff_{split}_pixelmaps" for split in ("train2017", "val2017")),
    *("stuffthingmaps", "stuffthingmaps_trainval2017", "annotations/train2017", "annotations/val2017"),
)


def instances(root: Path, split: str) -> Path | None:
    """annotations/instances_SPLIT.json; None of the splits without public annotations."""
    return root / f"annotations/instances_{split}.json" if split in ("train2017", "val2017") else None


SPEC = DataSetSpec(
    name="coco",
    title="COCO 2017",
    folders=("coco", "COCO", "coco2017"),
    holds="train2017",
    also_holds=("val2017", "unlabeled2017", "test2017", *(f"images/{split.name}" for split in SPLITS)),
    splits=SPLITS,
    scene_split="train2017",
    uses=("scenes",),
    layout="{train,val,unlabeled,test}2017/*.jpg, also below images/, annotations/instances_{train,val}2017.json",
    got_at="the COCO site: train2017.zip, val2017.zip and annotations_trainval2017.zip "
    "(unlabeled2017.zip and test2017.zip, where wanted)",
    terms="annotations CC BY 4.0; photographs are Flickr's, under its terms; cite Lin et al. 2014",
    images_also=("images",),
    endings=(".jpg",),
    instances=instances,
    signs=("annotations",),
    labels_among_scenes=LABEL_FOLDERS,
)
