"""Tiny data sets in the true layouts: files named and shaped as the originals, a few images each."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.scenes import box_scene

CITYSCAPES_BOXES = (26, 24, 11)  # car, person, building
CITYSCAPES_SPLITS = {"train": ("aachen", "zurich"), "val": ("frankfurt",), "test": ("berlin",)}
WNIDS = ("n01440764", "n02102040", "n02979186")


def write_cityscapes(root: Path, extra: bool = False, coarse: bool = True) -> Path:
    """leftImg8bit and gtFine, two images a city; `extra` adds train_extra, `coarse` its gtCoarse."""
    splits = CITYSCAPES_SPLITS | ({"train_extra": ("troisdorf",)} if extra else {})
    for split, cities in splits.items():
        for city in cities:
            for number in range(2):
                _write_cityscapes_image(root, split, city, number, split != "train_extra" or coarse)
    return root


def _write_cityscapes_image(root: Path, split: str, city: str, number: int, labelled: bool) -> None:
    pixels, boxes = box_scene(number + 10 * len(city))
    stem = f"{city}_{number:06d}_000019"
    images, truth = root / "leftImg8bit" / split / city, "gtCoarse" if split == "train_extra" else "gtFine"
    images.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(images / f"{stem}_leftImg8bit.png")
    if not labelled:
        return
    folder = root / truth / split / city
    folder.mkdir(parents=True, exist_ok=True)
    ids, instances = np.full(boxes.shape, 7, np.uint8), np.full(boxes.shape, 7, np.uint16)  # road
    ids[:4] = instances[:4] = 3  # out of roi
    for box, label in enumerate(CITYSCAPES_BOXES):
        ids[boxes == box + 1] = label
        instances[boxes == box + 1] = label * 1000 + box if label != 11 else label
    if split == "test":
        ids[:], instances[:] = 3, 3
    Image.fromarray(ids).save(folder / f"{stem}_{truth}_labelIds.png")
    Image.fromarray(instances).save(folder / f"{stem}_{truth}_instanceIds.png")
    Image.fromarray(pixels // 2).save(folder / f"{stem}_{truth}_color.png")
    (folder / f"{stem}_{truth}_polygons.json").write_text('{"imgHeight": 48, "imgWidth": 64, "objects": []}')


def write_ade20k(root: Path, names: bool = True) -> Path:
    """ADEChallengeData2016: three training images, two for validation; value 0 is `other`."""
    for split, end, count in (("training", "train", 3), ("validation", "val", 2)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            pixels, boxes = box_scene(number)
            name = f"ADE_{end}_{number:08d}"
            Image.fromarray(pixels).save(root / "images" / split / f"{name}.jpg")
            labels = np.array([0, 1, 13, 150], np.uint8)[boxes]  # other, wall, person, flag
            Image.fromarray(labels).save(root / "annotations" / split / f"{name}.png")
    if names:
        lines = [f"{k}\t0.1\t10\t1\t1\tthing {k}, synonym" for k in range(1, 151)]
        (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *lines]) + "\n")
    return root


def write_ade20k_full(root: Path) -> Path:
    """The full set's layout, with part masks and instance masks among the images."""
    for split, end in (("training", "train"), ("validation", "val")):
        folder = root / "images/ADE" / split / "urban" / "street"
        for number in (1, 2):
            pixels, boxes = box_scene(number)
            name = f"ADE_{end}_{number:08d}"
            (folder / name).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / f"{name}.jpg")
            seg = np.zeros((*boxes.shape, 3), np.uint8)
            seg[boxes == 1], seg[boxes == 2], seg[boxes == 3] = (10, 5, 1), (10, 5, 2), (20, 0, 1)  # 261, 261, 512
            Image.fromarray(seg).save(folder / f"{name}_seg.png")
            Image.fromarray(seg).save(folder / f"{name}_parts_1.png")
            Image.fromarray(seg[..., 0]).save(folder / name / "instance_001_x.png")
            (folder / f"{name}.json").write_text("{}")
    return root


def write_camvid(root: Path, splits: tuple[str, ...] = ("train", "val", "test"), void: int = 11) -> Path:
    """CamVid as 12-class label maps beside images of the same stem."""
    for split in splits:
        for number in range(3):
            pixels, boxes = box_scene(number + len(split))
            for kind in ("images", "labels"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "images" / split / f"0001TP_{number:06d}.jpg")
            labels = np.array([void, 0, 3, 10], np.uint8)[boxes]
            Image.fromarray(labels).save(root / "labels" / split / f"0001TP_{number:06d}.png")
    return root


def write_bsds500(root: Path) -> Path:
    """BSDS500: two segmentations an image; the second of them is one segment."""
    for split in ("train", "val", "test"):
        (root / "images" / split).mkdir(parents=True)
        (root / "segmentations" / split).mkdir(parents=True)
        for number in range(2):
            pixels, boxes = box_scene(number)
            Image.fromarray(pixels).save(root / "images" / split / f"{10050 + number}.jpg")
            for person, labels in enumerate((boxes + 1, np.ones_like(boxes))):
                path = root / "segmentations" / split / f"{10050 + number}_{person}.png"
                Image.fromarray(labels.astype(np.uint16)).save(path)
    return root


def write_cifar10(root: Path, patch: pytest.MonkeyPatch | None, per_batch: int = 4) -> Path:
    """cifar-10-batches-py as Python's pickles; torchvision's list of MD5 sums is patched to these files'."""
    from torchvision.datasets import CIFAR10

    folder, random = root / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list):
        data = random.integers(0, 256, (per_batch, 3072)).astype(np.uint8)
        labels = random.integers(0, 10, per_batch).tolist()
        batch = {"batch_label": name, "labels": labels, "data": data, "filenames": ["x.png"] * per_batch}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"label_names": [f"thing{k}" for k in range(10)], "num_cases_per_batch": per_batch, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    if patch is not None:
        for attribute in ("train_list", "test_list"):
            patch.setattr(CIFAR10, attribute, [[n, _md5(folder / n)] for n, _ in getattr(CIFAR10, attribute)])
        patch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": _md5(folder / "batches.meta")})
    return root


def write_stl10(root: Path, patch: pytest.MonkeyPatch | None) -> Path:
    """stl10_binary: five training, four test and six unlabelled images; MD5 sums patched as for CIFAR-10."""
    from torchvision.datasets import STL10

    folder, random = root / "stl10_binary", np.random.default_rng(1)
    folder.mkdir(parents=True)
    for split, count in (("train", 5), ("test", 4), ("unlabeled", 6)):
        random.integers(0, 256, (count, 3, 96, 96)).astype(np.uint8).tofile(folder / f"{split}_X.bin")
        if split != "unlabeled":
            random.integers(1, 11, count).astype(np.uint8).tofile(folder / f"{split}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"thing{k}" for k in range(10)) + "\n")
    (folder / "fold_indices.txt").write_text("0 1 2\n" * 10)
    if patch is not None:
        for attribute in ("train_list", "test_list"):
            patch.setattr(STL10, attribute, [[n, _md5(folder / n)] for n, _ in getattr(STL10, attribute)])
    return root


def write_imagenette(root: Path, folder: str = "imagenette2-160") -> Path:
    """Three of ImageNette's classes, two training images and one for validation each."""
    for split, count in (("train", 2), ("val", 1)):
        for wnid in WNIDS:
            (root / folder / split / wnid).mkdir(parents=True)
            for number in range(count):
                pixels, _ = box_scene(number + int(wnid[1:]) % 97)
                Image.fromarray(pixels).save(root / folder / split / wnid / f"{wnid}_{number}.JPEG")
    return root


def png(seed: int) -> bytes:
    """An encoded box scene."""
    buffer = io.BytesIO()
    Image.fromarray(box_scene(seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A tar shard as webdataset writes them: ustar, one file after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()
