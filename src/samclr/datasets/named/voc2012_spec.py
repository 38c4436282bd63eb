"""Pascal VOC 2012 (Everingham et al., IJCV 2015), whose test labels are not public; with SBD's label maps, if there."""

from samclr.datasets.catalogue import Split
from samclr.datasets.voc import SBD_MAPS, boxes_of, voc

SPEC = voc(
    2012,
    (
        Split(name="trainval", num_images=11540, labelled=False),
        Split(name="train", num_images=5717, labelled=False),
        Split(name="val", num_images=5823, labelled=False),
        Split(name="seg_trainval", num_images=2913),
        Split(name="seg_train", num_images=1464),
        Split(name="seg_val", num_images=1449),
        Split(name="trainaug", num_images=10582, required=False),
    ),
    signs=("JPEGImages", "ImageSets/Main", "ImageSets/Action"),
    class_folders=("SegmentationClass", "SegmentationClassAug", SBD_MAPS),
    archives="VOCtrainval_11-May-2012.tar; SBD's label maps from the SBD page of Berkeley",
    dense_splits=(("seg_train", "trainaug"), "seg_val"),
    measured=("train", "val"),
    boxes=boxes_of("train", test="val"),
    fetched=("trainval",),
)
