"""COCO 2017 (Lin et al., ECCV 2014; panoptic: Kirillov et al., CVPR 2019), as its archives unpack."""

from samclr.datasets.catalogue import DataSetSpec, LabelKind
from samclr.datasets.coco import (
    FOLDERS,
    HELD,
    IMAGE_FOLDERS,
    LABEL_FOLDERS,
    PANOPTIC_MAPS,
    SPLITS,
    TERMS,
    instances,
    instances_of,
    maps_in,
    panoptic_segments,
)

SPEC = DataSetSpec(
    name="coco",
    title="COCO 2017",
    folders=FOLDERS,
    holds="train2017",
    also_holds=HELD,
    splits=SPLITS,
    scene_split="train2017",
    uses=("scenes", "regions", "detection"),
    layout="{train,val,unlabeled,test}2017/*.jpg, also below images/, annotations/instances_{train,val}2017.json, "
    "annotations/panoptic_{train,val}2017/*.png",
    got_at="the COCO site: train2017.zip, val2017.zip and annotations_trainval2017.zip; where wanted, "
    "unlabeled2017.zip, test2017.zip and panoptic_annotations_trainval2017.zip with the archives in it unpacked",
    terms=TERMS,
    images_also=IMAGE_FOLDERS,
    endings=(".jpg",),
    label_kinds=(
        LabelKind(name="instances", title="instances_SPLIT.json", find=instances_of, form="instances"),
        LabelKind(
            name="panoptic", title="panoptic PNG", find=maps_in(*PANOPTIC_MAPS), label_channels=3,
            regions_of=panoptic_segments, label_files=("annotations/panoptic_{split}", ".png"),
        ),
    ),
    instances=instances,
    signs=("annotations",),
    labels_among_scenes=LABEL_FOLDERS,
)  # fmt: skip
