"""ADE20K as the MIT Scene Parsing Benchmark has it (Zhou et al., CVPR 2017)."""

from pathlib import Path

from samclr.datasets.catalogue import IGNORED, DataSetSpec, PixelClasses, Split, same_stem
from samclr.datasets.text_files import read_lines

NUM_CLASSES, NAMES_FILE = 150, "objectInfo150.txt"


def pixel_classes(root: Path) -> PixelClasses:
    """First names of the release's own list, else numbers from 1 on; 0 is unlabelled."""
    listed = root / NAMES_FILE
    lines = read_lines(listed)[1:] if listed.is_file() else []
    names = tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines)
    numbers = tuple(str(k + 1) for k in range(NUM_CLASSES))
    return PixelClasses(names=names if len(names) == NUM_CLASSES else numbers, lookup=(IGNORED, *range(NUM_CLASSES)))


SPEC = DataSetSpec(
    name="ade20k",
    title="ADE20K, scene parsing",
    folders=("ADEChallengeData2016", "ade20k"),
    holds="images",
    splits=(Split(name="training", num_images=20210), Split(name="validation", num_images=2000)),
    scene_split="training",
    uses=("scenes", "regions", "dense"),
    layout="images/{training,validation}/*.jpg, annotations/{training,validation}/*.png",
    got_at="the page of the MIT Scene Parsing Benchmark, ADEChallengeData2016.zip",
    terms="photographs for non-commercial research and teaching; annotations BSD-3-Clause",
    images="images",
    endings=(".jpg",),
    region_labels=same_stem("annotations"),
    class_labels=same_stem("annotations"),
    void=(0,),
    label_files=("annotations", ".png"),
    signs=("images/training", "annotations/training"),
    labels_among_scenes=("annotations",),
    pixel_classes=pixel_classes,
)
