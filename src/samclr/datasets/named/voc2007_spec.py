"""Pascal VOC 2007 (Everingham et al., IJCV 2010), the last year whose test labels are public."""

from samclr.datasets.catalogue import Split
from samclr.datasets.voc import boxes_of, voc

SPEC = voc(
    2007,
    (
        Split(name="trainval", num_images=5011, labelled=False),
        Split(name="train", num_images=2501, labelled=False),
        Split(name="val", num_images=2510, labelled=False),
        Split(name="test", num_images=4952, labelled=False),
        Split(name="seg_trainval", num_images=422),
        Split(name="seg_train", num_images=209),
        Split(name="seg_val", num_images=213),
        Split(name="seg_test", num_images=210),
    ),
    signs=("JPEGImages", "ImageSets/Main"),
    class_folders=("SegmentationClass",),
    archives="VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar",
    dense_splits=(("seg_trainval", "seg_train"), "seg_test"),
    measured=("trainval", "test"),
    boxes=boxes_of("trainval", "train", test="test"),
    fetched=("trainval", "test"),
)
