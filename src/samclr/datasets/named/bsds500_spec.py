"""BSDS500 (Arbelaez et al., PAMI 2011): several people's segmentations of each image."""

from collections.abc import Sequence
from pathlib import Path

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.errors import name_some
from samclr.log import say_once
from samclr.scenes.refs import stem_of

FOLDER = "segmentations"


def first_people(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """The label map of an image's own stem, else that of the first person, where no other image has that name."""
    from samclr.datasets.label_maps import People, match_people

    folder = root / FOLDER
    people = match_people(folder, image_ids) if folder.is_dir() else People()
    if people.doubtful:
        left_out = [f"{name} ({why})" for name, why in people.doubtful.items()]
        say_once(f"{len(left_out):,} label maps in {folder} are left out: {name_some(left_out)}")
    return [next(iter(people.by_stem.get(stem_of(image_id), [])), None) for image_id in image_ids]


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
    region_labels=first_people,
    people=FOLDER,
    signs=("images", FOLDER),
    labels_among_scenes=(FOLDER,),
)
