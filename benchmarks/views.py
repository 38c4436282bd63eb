"""Views a second on one core, from files to an augmented batch: samclr, lightly, torchvision v2.

    OMP_NUM_THREADS=1 python benchmarks/views.py [--images png jpeg] [--px 64 128 224] [--json FILE]

All read the same generated files: 2048x1024 PNG and 480x360 JPEG, of noise with detail at every scale. Crop scale
(0.08, 1), the whole colour work (strength 0.5), normalisation, a batch of floats at the end. Two views an image, and
2 + 6 as DINO takes them. samclr: plan, crop from the bank, augment; `cold` is its first epoch with packing in it,
`amortised` has a hundredth of packing in each epoch. The peers: a torch DataLoader in this process, over files, and
once over images that are decoded already. The region strategy reads boxes of a region index in place of whole images.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.v2 as tv
from lightly.transforms import DINOTransform, SimCLRTransform
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.normalisation import IMAGENET
from samclr.config.pretrain import AugmentConfig, ViewGroup, ViewsConfig
from samclr.datasets.sources import list_scenes
from samclr.regions.index import RegionIndex
from samclr.scenes.fill import FillOptions
from samclr.scenes.refs import SceneRef
from samclr.views.augment import augment
from samclr.views.crop import ViewCropper
from samclr.views.plan import ViewPlanner

BATCH, EPOCHS, SECONDS, REGIONS_PER_IMAGE = 64, 100, 4.0, 20
Transform = Callable[[Image.Image], list[torch.Tensor]]


@dataclass(frozen=True)
class Kind:
    """Files to generate."""

    name: str
    width: int
    height: int
    count: int


KINDS = {"png": Kind("png", 2048, 1024, 16), "jpeg": Kind("jpeg", 480, 360, 128)}


def write_scenes(kind: Kind, folder: Path) -> None:
    """Smooth noise of several octaves."""
    folder.mkdir()
    for number in range(kind.count):
        random = np.random.default_rng(number)
        pixels = np.zeros((kind.height, kind.width, 3))
        for octave in range(2, 10):
            coarse = random.normal(0, 1, (2 ** (octave - 1) + 1, 2**octave + 1, 3)).astype(np.float32)
            for c in range(3):
                fine = Image.fromarray(coarse[..., c]).resize((kind.width, kind.height), Image.Resampling.BICUBIC)
                pixels[..., c] += 70 * 0.65 ** (octave - 2) * np.asarray(fine)
        Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.{kind.name}")


def rate(batches: Iterator[int]) -> float:
    """Views a second of an endless row of batches that say how many views they hold."""
    next(batches)
    views, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        views += next(batches)
    return views / (time.perf_counter() - start)


# ---- samclr ----


def random_regions(image_hw: np.ndarray) -> RegionIndex:
    """An index of boxes with a fifth to three fifths of the image's sides."""
    random, n = np.random.default_rng(0), len(image_hw) * REGIONS_PER_IMAGE
    hw = np.repeat(image_hw, REGIONS_PER_IMAGE, 0)
    size = (hw * random.uniform(0.2, 0.6, (n, 2))).astype(np.int32)
    corner = (random.uniform(size=(n, 2)) * (hw - size)).astype(np.int32)
    boxes = np.concatenate([corner[:, ::-1], (corner + size)[:, ::-1]], 1).astype(np.int32)
    return RegionIndex(
        start=np.arange(len(image_hw) + 1) * REGIONS_PER_IMAGE,
        box_xyxy=boxes,
        mask_box_xyxy=boxes,
        area_px=size.prod(1, dtype=np.int64),
        grid=np.broadcast_to(np.uint8(255), (n, 32, 32)),
        segment_errors=0,
    )


def groups_of(px: int, local: bool) -> tuple[ViewGroup, ...]:
    both = ViewGroup(size_px=px)
    return (both, ViewGroup(role="local", size_px=px // 2, num_views=6, crop_scale=(0.05, 0.4))) if local else (both,)


def planner_for(bank: SceneBank, px: int, strategy: str, local: bool = False, images: int = BATCH) -> ViewPlanner:
    """SimCLR's views of some images a step."""
    sizes = bank.native_hw
    return ViewPlanner(
        image_hw=sizes,
        regions=None if strategy == "image" else random_regions(sizes),
        seed=0,
        images_per_step=images,
        views=ViewsConfig(strategy=strategy),
        groups=groups_of(px, local),
        augment=AugmentConfig(),
    )


def ours(bank: SceneBank, px: int, local: bool, strategy: str) -> Iterator[int]:
    planner, cropper, step = planner_for(bank, px, strategy, local), ViewCropper(bank), 0
    while True:
        plan, count = planner.plan(step), 0
        for group in plan.groups:
            crops = cropper.crop(plan.image_index, group.boxes_xyxy, group.size_px)
            count += len(augment(torch.from_numpy(crops), group.augment).flatten(0, 1))
        step += 1
        yield count


# ---- the peers ----


class Scenes(Dataset[list[torch.Tensor]]):
    """The views of one image; images from files, or decoded already."""

    def __init__(self, refs: list[SceneRef], decoded: list[Image.Image] | None, transform: Transform):
        self.refs, self.decoded, self.transform = refs, decoded, transform

    def __len__(self) -> int:
        return BATCH  # images repeat where there are fewer

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        number %= len(self.refs)
        image = self.decoded[number] if self.decoded else Image.open(self.refs[number].path).convert("RGB")
        return self.transform(image)


def loaded(refs: list[SceneRef], decoded: list[Image.Image] | None, transform: Transform) -> Iterator[int]:
    loader = DataLoader(Scenes(refs, decoded, transform), batch_size=BATCH // 4)
    while True:
        for views in loader:
            yield sum(len(view) for view in views)


def torchvision_transform(px: int) -> Transform:
    """SimCLR's, with v2 transforms on tensors."""
    one = tv.Compose(
        [
            tv.PILToTensor(),
            tv.RandomResizedCrop(px, scale=(0.08, 1.0), antialias=True),
            tv.RandomHorizontalFlip(),
            tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            tv.RandomGrayscale(0.2),
            tv.RandomApply([tv.GaussianBlur(2 * int(px * 0.05) + 1, (0.1, 2.0))], 0.5),
            tv.ToDtype(torch.float32, scale=True),
            tv.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )
    return lambda image: [one(image), one(image)]


def peers(px: int, local: bool) -> dict[str, Transform]:
    if local:
        return {"lightly": DINOTransform(global_crop_size=px, local_crop_size=px // 2, cj_strength=0.5)}
    return {"lightly": SimCLRTransform(input_size=px, cj_strength=0.5), "torchvision": torchvision_transform(px)}


# ---- one case ----


def measure(kind: Kind, refs: list[SceneRef], bank: SceneBank, pack_s: float, px: int, local: bool) -> dict[str, float]:
    """Views a second by name."""
    views = 2 + 6 * local
    found = {"warm": rate(ours(bank, px, local, "image")), "region": rate(ours(bank, px, local, "region"))}
    epoch_views = views * len(refs)
    for name, share in (("cold", 1.0), ("amortised", 1 / EPOCHS)):
        found[name] = epoch_views / (epoch_views / found["warm"] + share * pack_s)
    decoded = [Image.open(ref.path).convert("RGB") for ref in refs]
    for name, transform in peers(px, local).items():
        found[f"{name}, files"] = rate(loaded(refs, None, transform))
        found[f"{name}, decoded"] = rate(loaded(refs, decoded, transform))
    return found


def quality(bank: SceneBank, refs: list[SceneRef]) -> tuple[float, float]:
    """PSNR of 128 px crops against Pillow's antialiased bilinear crop-and-resize: mean and first percentile, dB."""
    planner = planner_for(bank, 128, "image")
    cropper, found = ViewCropper(bank), []
    images = [Image.open(ref.path).convert("RGB") for ref in refs]
    for step in range(4):
        plan = planner.plan(step)
        boxes = plan.groups[0].boxes_xyxy
        views = cropper.crop(plan.image_index, boxes, 128)
        for row, image in enumerate(plan.image_index):
            for number in range(2):
                cut = images[image].crop(tuple(int(v) for v in boxes[row, number]))
                theirs = np.asarray(cut.resize((128, 128), Image.Resampling.BILINEAR), np.float64)
                error = ((theirs - views[row, number].transpose(1, 2, 0)) ** 2).mean()
                found.append(10 * np.log10(255**2 / max(error, 1e-2)))
    return float(np.mean(found)), float(np.percentile(found, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", choices=list(KINDS), nargs="+", default=list(KINDS))
    parser.add_argument("--px", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"one core, torch {torch.__version__}; views/s, and how many times the peer's ours amortised is")
    print("images  px   views   cold  amortised  region/image  lightly: files  decoded  torchvision: files  decoded")
    for kind in (KINDS[name] for name in arguments.images):
        with tempfile.TemporaryDirectory() as name:
            write_scenes(kind, Path(name) / "scenes")
            refs = list_scenes([Path(name) / "scenes"])
            start = time.perf_counter()
            pack_scenes(refs, Path(name) / "bank", None, FillOptions(num_workers=1))
            pack_s = time.perf_counter() - start
            bank = SceneBank(Path(name) / "bank", refs)
            for px in arguments.px:
                for local in (False, True):
                    found = measure(kind, refs, bank, pack_s, px, local)
                    rows.append({"images": kind.name, "px": px, "views": 2 + 6 * local} | found)
                    against = [
                        f"{found[key]:6.0f} {found['amortised'] / found[key]:5.1f} x" if key in found else " " * 14
                        for key in ("lightly, files", "lightly, decoded", "torchvision, files", "torchvision, decoded")
                    ]
                    print(
                        f"{kind.name:6} {px:4}  {'2+6' if local else '2':5} {found['cold']:6.0f} "
                        f"{found['amortised']:9.0f}  {found['region'] / found['warm']:12.2f}  {'    '.join(against)}",
                        flush=True,
                    )
            mean, low = quality(bank, refs)
            print(
                f"{kind.name}: packing {pack_s / len(refs) * 1e3:.0f} ms an image; "
                f"against Pillow's resize PSNR {mean:.1f} dB in the mean, {low:.1f} dB at 1 %"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
