"""ImageNette (fast.ai): ten classes of ImageNet, here in full size. torchvision names its classes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from samclr.datasets.catalogue import DataSetSpec, Split
from samclr.errors import EvaluationError, name_some
from samclr.scenes.refs import SceneRef

SPLITS = (Split(name="train", num_images=9469), Split(name="val", num_images=3925))


def image_classes(
    root: Path, train: Sequence[SceneRef], test: Sequence[SceneRef], *, name: str, folder: str, size: str
) -> tuple[tuple[str, ...], Any, Any]:
    """The classes that ImageNet's numbers stand for, and the numbers of the folders that images lie in."""
    import numpy as np
    from torchvision.datasets import Imagenette

    root = root.resolve()
    if root.name != folder:
        raise EvaluationError(f"{root} must be called {folder}, as torchvision expects; rename it or link to it")
    try:
        read = [Imagenette(root.parent, split, size=size) for split in ("train", "val")]
    except (KeyError, FileNotFoundError, RuntimeError) as error:  # KeyError: a folder that is no class of the set
        raise EvaluationError(
            f"{root} has folders that are not ImageNette's, or lacks some ({error}); "
            f"samclr data check {name} --root {root} lists them; a set of your own needs another name"
        ) from error
    ids = read[0].wnids
    if read[1].wnids != ids:
        raise EvaluationError(
            f"{root} has other classes in train than in val: {name_some(sorted({*ids} ^ {*read[1].wnids}))}"
        )
    first, second = (
        np.array([ids.index(ref.image_id.split("/")[1]) for ref in refs], np.int64) for refs in (train, test)
    )
    return tuple(names[0] for names in read[0].classes), first, second


def download(root: Path, *, folder: str, size: str) -> None:
    """By torchvision, whose own reader takes any folder of that name for a whole one."""
    from torchvision.datasets import Imagenette
    from torchvision.datasets.utils import download_and_extract_archive

    found = {split.name: sum(1 for _ in (root / folder / split.name).glob("*/*.JPEG")) for split in SPLITS}
    if any(found[split.name] < split.num_images for split in SPLITS):
        url, md5 = Imagenette._ARCHIVES[size]
        download_and_extract_archive(url, str(root), md5=md5)


def imagenette(native_px: int | None) -> DataSetSpec:
    """The set with images of that shorter side, or in full size."""
    end, size = (f"-{native_px}", f"{native_px}px") if native_px else ("", "full")
    name, folder = f"imagenette{end}", f"imagenette2{end}"
    return DataSetSpec(
        name=name,
        title=f"ImageNette, {f'{native_px} px' if native_px else 'full size'}",
        folders=(folder,),
        holds="train",
        splits=SPLITS,
        scene_split="train",
        uses=("scenes", "labelled"),
        layout=f"{folder}/{{train,val}}/nXXXXXXXX/*.JPEG",
        got_at=f"the ImageNette page of fast.ai, {folder}.tgz",
        terms="repository Apache-2.0; the photographs are ImageNet's, for non-commercial research and teaching",
        native_px=native_px,
        endings=(".jpeg",),
        image_classes=partial(image_classes, name=name, folder=folder, size=size),
        download=partial(download, folder=folder, size=size),
    )


SPEC = imagenette(None)
