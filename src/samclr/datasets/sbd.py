"""SBD, the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011), as its archive unpacks: MATLAB files.

11,355 images of Pascal VOC 2011, each with the classes of its pixels (cls/ID.mat) and its objects (inst/ID.mat). Its
train and val are not VOC's: some of train are in VOC 2012's val, which train_noval leaves out.
"""

from pathlib import Path

from samclr.datasets.catalogue import FindLabels, for_each
from samclr.datasets.text_files import read_lines
from samclr.errors import ScenesError

ROOT = "benchmark_RELEASE/dataset"
LABELLED = ("train", "val")  # which share no image and together are all


def read_list(file: Path) -> list[str]:
    """The stems that a list names. Raises ScenesError where it is not there."""
    if not file.is_file():
        raise ScenesError(f"SBD has no list {file.name} in {file.parent}")
    return read_lines(file)


def listed(root: Path, split: str) -> list[str]:
    """See DataSetSpec.listed."""
    return [f"{stem}.jpg" for stem in read_list(root / f"{split}.txt")]


def maps_in(folder: str) -> FindLabels:
    """The MATLAB file of an image's stem."""

    def find(root: Path, image_id: str) -> Path | None:
        path = root / folder / f"{image_id.removesuffix('.jpg')}.mat"
        return path if path.is_file() else None

    return for_each(find)
