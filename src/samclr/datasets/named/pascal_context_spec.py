"""Pascal Context (Mottaghi et al., CVPR 2014), 59 classes, as mmsegmentation converts it: PNG maps beside VOC 2010.

The release's own MATLAB files hold 459 classes; the papers' 59 and the background, 0 here, are that conversion's.
"""

from collections.abc import Sequence
from pathlib import Path

from samclr.datasets.catalogue import IGNORED, DataSetSpec, PixelClasses, Split, same_stem
from samclr.datasets.text_files import read_lines
from samclr.errors import ScenesError

CLASSES = (
    *("aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle", "building"),
    *("bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain", "dog"),
    *("door", "fence", "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorbike"),
    *("mountain", "mouse", "person", "plate", "platform", "pottedplant", "road", "rock", "sheep", "shelves"),
    *("sidewalk", "sign", "sky", "snow", "sofa", "table", "track", "train", "tree", "truck", "tvmonitor", "wall"),
    *("water", "window", "wood"),
)
LISTS = "ImageSets/SegmentationContext/{split}.txt"


def listed(root: Path, split: str) -> Sequence[str]:
    """The images of a split's list."""
    file = root / LISTS.format(split=split)
    if not file.is_file():
        raise ScenesError(f"the split {split} of Pascal Context has no list: expected {file}")
    return [f"{line}.jpg" for line in read_lines(file)]


def pixel_classes(root: Path) -> PixelClasses:
    """The 59 classes; the background, 0, is ignored."""
    return PixelClasses(names=CLASSES, lookup=(IGNORED, *range(len(CLASSES))))


SPEC = DataSetSpec(
    name="pascal-context",
    title="Pascal Context, 59 classes",
    folders=("VOCdevkit/VOC2010", "VOC2010"),
    holds="SegmentationClassContext",
    splits=(Split(name="train", num_images=4998), Split(name="val", num_images=5105)),
    scene_split="train",
    uses=("scenes", "regions", "dense"),
    layout="VOCdevkit/VOC2010/{JPEGImages/ID.jpg,SegmentationClassContext/ID.png,"
    "ImageSets/SegmentationContext/{train,val}.txt}",
    got_at="the Pascal VOC page of Oxford, VOCtrainval_03-May-2010.tar; the maps and lists by mmsegmentation's "
    "tools/dataset_converters/pascal_context.py from the Pascal Context page",
    terms="photographs are Flickr's, under its terms; cite Mottaghi et al. 2014",
    images="JPEGImages",
    endings=(".jpg",),
    listed=listed,
    region_labels=same_stem("SegmentationClassContext"),
    class_labels=same_stem("SegmentationClassContext"),
    void=(0,),
    signs=("SegmentationClassContext",),
    labels_among_scenes=("SegmentationClassContext",),
    pixel_classes=pixel_classes,
    dense_splits=(("train",), "val"),
)
