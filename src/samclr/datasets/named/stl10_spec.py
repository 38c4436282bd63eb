"""STL-10 (Coates et al., AISTATS 2011), in torchvision's layout.

torchvision's reader hashes 3.1 GB each time and loads a split whole, so the set is mapped instead;
`samclr data check` compares the sums.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.datasets.text_files import read_text
from samclr.errors import EvaluationError
from samclr.scenes.refs import SceneRef

NUM_CLASSES, CLASS_NAMES_FILE = 10, "class_names.txt"
FILES = {split: (f"{split}_X.bin",) for split in ("train", "test", "unlabeled")}


def image_classes(root: Path, train: Sequence[SceneRef], test: Sequence[SceneRef]) -> tuple[tuple[str, ...], Any, Any]:
    """The release's names of classes where they are there, and the labels of *_y.bin, which count from 1."""
    listed = root / CLASS_NAMES_FILE
    numbers = tuple(str(k + 1) for k in range(NUM_CLASSES))
    classes = tuple(read_text(listed).split()) if listed.is_file() else numbers
    return classes, *(
        _labels(root, split, len(refs), len(classes)) for split, refs in (("train", train), ("test", test))
    )


def _labels(root: Path, split: str, num_images: int, num_classes: int) -> Any:
    import numpy as np

    path = root / f"{split}_y.bin"
    if not path.is_file():
        raise EvaluationError(f"STL-10 lacks {path}; samclr data check stl10 --root {root} tells where to get it")
    labels = np.fromfile(path, np.uint8).astype(np.int64) - 1
    if len(labels) != num_images or not all(0 <= label < num_classes for label in (labels.min(), labels.max())):
        raise EvaluationError(
            f"{path} has {len(labels)} labels for {num_images} images, from {labels.min(initial=255) + 1} to "
            f"{labels.max(initial=-1) + 1}; expected one from 1 to {num_classes} each: "
            f"samclr data check stl10 --root {root} compares the files with the release"
        )
    return labels


def faults_of(root: Path, split: str | None) -> list[str]:
    """Files whose MD5 sum is not the release's."""
    if split is None:
        return []
    from torchvision.datasets import STL10

    from samclr.datasets.sums import differing

    labels = [] if split == "unlabeled" else [f"{split}_y.bin"]
    return differing(root, [*FILES[split], *labels], dict([*STL10.train_list, *STL10.test_list]))


def download(root: Path) -> None:
    """By torchvision."""
    from torchvision.datasets import STL10

    STL10(root, split="test", download=True)


SPEC = DataSetSpec(
    name="stl10",
    title="STL-10",
    folders=("stl10_binary",),
    holds="train_X.bin",
    splits=(
        Split(name="train", num_images=5000),
        Split(name="test", num_images=8000),
        Split(name="unlabeled", num_images=100000, labelled=False),
    ),
    scene_split="unlabeled",
    uses=("scenes", "labelled"),
    layout="stl10_binary/{train,test}_{X,y}.bin, unlabeled_X.bin",
    got_at="the STL-10 page of Stanford, stl10_binary.tar.gz",
    terms="none stated; the photographs are ImageNet's; cite Coates et al. 2011",
    native_px=96,
    files=FILES,
    image_classes=image_classes,
    faults_of=faults_of,
    download=download,
)
