"""BSDS500 (Arbelaez et al., PAMI 2011): several people's segmentations of each image."""

import glob
from pathlib import Path

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.scenes.refs import stem_of


def region_label(root: Path, image_id: str) -> Path | None:
    """The segmentation of the person with the lowest number."""
    stem = root / "segmentations" / stem_of(image_id)
    ends = (path.stem.removeprefix(f"{stem.name}_") for path in stem.parent.glob(f"{glob.escape(stem.name)}_*.png"))
    people = [end for end in ends if end.isascii() and end.isdigit()]
    return stem.with_name(f"{stem.name}_{min(people, key=int)}.png") if people else None


SPEC = DataSetSpec(
    name="bsds500",
    title="BSDS500",
    folders=("bsds500",),
    holds="images",
    splits=(
        Split(name="train", num_images=200),
        Split(name="val", num_images=100),
        Split(name="test", num_images=200),
    ),
    scene_split="train",
    uses=("scenes", "regions"),
    layout="images/{train,val,test}/ID.jpg, segmentations/{train,val,test}/ID_K.png, one for each person K",
    got_at="the Berkeley segmentation page, BSR_bsds500.tgz, each groundTruth/*.mat written as ID_K.png",
    terms="non-commercial research and teaching, cite Arbelaez et al. 2011",
    native_px=321,
    images="images",
    region_label=region_label,
    signs=("images", "segmentations"),
)
