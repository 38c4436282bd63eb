"""ADE20K in full, with instances and parts (Zhou et al., IJCV 2019)."""

from pathlib import Path
from typing import TYPE_CHECKING

from samclr.datasets.catalogue import DataSetSpec, Split, for_each
from samclr.scenes.refs import stem_of

if TYPE_CHECKING:
    import numpy as np

IMAGES = "images/ADE"


def beside_image(root: Path, image_id: str) -> Path | None:
    """*_seg.png beside the image."""
    path = root / IMAGES / f"{stem_of(image_id)}_seg.png"
    return path if path.is_file() else None


def regions_of(values: "np.ndarray") -> "np.ndarray":
    """Instances of *_seg.png: the class, R / 10 * 256 + G, with the instance's number, B; class 0 is unlabelled."""
    import numpy as np

    classes = values[..., 0] // 10 * 256 + values[..., 1]
    return np.where(classes == 0, -1, classes * 256 + values[..., 2])


SPEC = DataSetSpec(
    name="ade20k-full",
    title="ADE20K, full",
    folders=("ADE20K_2021_17_01",),
    holds=IMAGES,
    splits=(Split(name="training", num_images=25574), Split(name="validation", num_images=2000)),
    scene_split="training",
    uses=("scenes", "regions"),
    layout="ADE20K_2021_17_01/images/ADE/SPLIT/.../*.jpg with *_seg.png beside it",
    got_at="the ADE20K site, after registration: the full data set of 2021_17_01",
    terms="photographs for non-commercial research and teaching; annotations BSD-3-Clause",
    images=IMAGES,
    endings=(".jpg",),
    beside=(".png",),
    region_labels=for_each(beside_image),
    label_channels=3,
    regions_of=regions_of,
    signs=(IMAGES,),
    labels_among_scenes=(IMAGES,),
)
