"""SBD, the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011), from its own MATLAB files."""

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.datasets.sbd import ROOT, listed, maps_in
from samclr.datasets.voc import BACKGROUND, VOID, pixel_classes

SPEC = DataSetSpec(
    name="sbd",
    title="SBD",
    folders=(ROOT, "sbd", "SBD"),
    holds="cls",
    splits=(
        Split(name="train", num_images=8498),
        Split(name="val", num_images=2857),
        Split(name="train_noval", num_images=5623, required=False),
    ),
    scene_split="train",
    uses=("scenes", "regions", "dense"),
    layout=f"{ROOT}/{{img/ID.jpg,cls/ID.mat,inst/ID.mat,train.txt,val.txt}}, and train_noval.txt from its page",
    got_at="the SBD page of Berkeley, benchmark.tgz",
    terms="photographs are Flickr's, under its terms; cite Hariharan et al. 2011",
    images="img",
    endings=(".jpg",),
    listed=listed,
    region_labels=maps_in("inst"),
    class_labels=maps_in("cls"),
    void=(BACKGROUND, VOID),
    signs=("img", "cls", "inst"),
    pixel_classes=pixel_classes,
    dense_splits=(("train", "train_noval"), "val"),
)
