"""CamVid (Brostow et al., ECCV 2008) as the SegNet tutorial has it, whose layout sets of one's own may have, too."""

from pathlib import Path

from samclr.datasets.catalogue import IGNORED, DataSetSpec, PixelClasses, Split, same_stem

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist"),
)
VOID = len(CLASSES)


def pixel_classes(root: Path) -> PixelClasses:
    """The 11 classes of the benchmark; the last value is void."""
    return PixelClasses(names=CLASSES, lookup=(*range(len(CLASSES)), IGNORED))


SPEC = DataSetSpec(
    name="camvid",
    title="CamVid",
    folders=("camvid",),
    holds="images",
    splits=(
        Split(name="train", num_images=367),
        Split(name="val", num_images=101),
        Split(name="test", num_images=233),
    ),
    scene_split="train",
    uses=("scenes", "regions", "dense"),
    layout="images/{train,val,test}/*, labels/{train,val,test}/*.png of the same stem (480x360, 11 classes)",
    got_at="the SegNet tutorial's CamVid folder, its SPLIT and SPLITannot moved to images/SPLIT and labels/SPLIT",
    terms="non-commercial research",
    native_px=360,
    images="images",
    region_labels=same_stem("labels"),
    class_labels=same_stem("labels"),
    void=(VOID,),
    label_files=("labels", ".png"),
    signs=("images", "labels"),
    own_layout=True,
    labels_among_scenes=("labels",),
    pixel_classes=pixel_classes,
)
