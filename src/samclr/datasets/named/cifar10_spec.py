"""CIFAR-10 (Krizhevsky 2009), in torchvision's layout; torchvision checks and reads its labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.errors import EvaluationError
from samclr.scenes.refs import SceneRef

META = "batches.meta"
FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}


def image_classes(root: Path, train: Sequence[SceneRef], test: Sequence[SceneRef]) -> tuple[tuple[str, ...], Any, Any]:
    """The names and labels of the batches, whose MD5 sums must be the release's."""
    import numpy as np
    from torchvision.datasets import CIFAR10

    reader = type("Cifar10", (CIFAR10,), {"base_folder": root.resolve().name})
    try:
        read = [reader(root.resolve().parent, train=is_train) for is_train in (True, False)]
        for refs, one in zip((train, test), read, strict=True):
            if len(refs) != len(one.targets):
                raise ValueError(f"{len(refs)} images, {len(one.targets)} labels")
    except Exception as error:  # a sum that differs, or a batch that cannot be unpickled
        text = str(error).split(". You can")[0]  # torchvision goes on with advice for those who write Python
        raise EvaluationError(
            f"{root} does not hold the files of {SPEC.title} as released ({text}); "
            f"samclr data check {SPEC.name} --root {root} names them"
        ) from error
    first, second = (np.array(one.targets, np.int64) for one in read)
    return tuple(read[0].classes), first, second


def faults_of(root: Path, split: str | None) -> list[str]:
    """Files whose MD5 sum is not the release's."""
    from torchvision.datasets import CIFAR10

    from samclr.datasets.sums import differing

    sums = dict([*CIFAR10.train_list, *CIFAR10.test_list]) | {CIFAR10.meta["filename"]: CIFAR10.meta["md5"]}
    return differing(root, (META,) if split is None else FILES[split], sums)


def download(root: Path) -> None:
    """By torchvision, whose own reader does not fetch the file of names again."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_and_extract_archive

    folder = root / SPEC.folders[0]
    if any(faults_of(folder, split) for split in (None, *FILES)):
        download_and_extract_archive(CIFAR10.url, str(root), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)


SPEC = DataSetSpec(
    name="cifar10",
    title="CIFAR-10",
    folders=("cifar-10-batches-py",),
    holds=META,
    splits=(Split(name="train", num_images=50000), Split(name="test", num_images=10000)),
    scene_split="train",
    uses=("scenes", "labelled"),
    layout="cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}",
    got_at="the CIFAR page of the University of Toronto, cifar-10-python.tar.gz",
    terms="none stated; cite Krizhevsky 2009",
    native_px=32,
    files=FILES,
    image_classes=image_classes,
    faults_of=faults_of,
    download=download,
)
