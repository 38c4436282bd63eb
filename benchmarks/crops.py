"""Views a second on one core from 2048x1024 scenes: the bank, lightly's SimCLRTransform, torchvision.

    python benchmarks/crops.py [--json FILE]

Question: what does a 128 px view cost? All read the same generated PNG files; two views an image, crop scale
(0.08, 1). The bank's crops carry no colour work, so torchvision's crop alone, fed with decoded images, stands
beside them; lightly does its whole transform. The bank's quality is measured against Pillow in the same run.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.v2 as tv
from lightly.transforms import SimCLRTransform
from PIL import Image

from samclr.config import AugmentConfig, ViewGroup, ViewsConfig
from samclr.fill import FillOptions
from samclr.scenes.bank import SceneBank, image_sizes, pack_scenes
from samclr.scenes.sources import list_scenes
from samclr.views.crop import ViewCropper
from samclr.views.plan import ViewPlanner

HEIGHT, WIDTH, VIEW_PX, NUM_SCENES, BATCH = 1024, 2048, 128, 16, 64


def write_scenes(folder: Path) -> None:
    """Scenes with detail at every scale: smooth noise of several octaves, as PNG."""
    for number in range(NUM_SCENES):
        random = np.random.default_rng(number)
        pixels = np.zeros((HEIGHT, WIDTH, 3))
        for octave in range(2, 10):
            coarse = random.normal(0, 1, (2 ** (octave - 1) + 1, 2**octave + 1, 3)).astype(np.float32)
            for c in range(3):
                fine = Image.fromarray(coarse[..., c]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
                pixels[..., c] += 70 * 0.65 ** (octave - 2) * np.asarray(fine)
        Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")


def rate(serve: Callable[[int], int], seconds: float = 5.0) -> float:
    """Views a second of `serve(round)`, which returns how many views it made."""
    serve(0)
    views, start, turn = 0, time.perf_counter(), 1
    while time.perf_counter() - start < seconds:
        views += serve(turn)
        turn += 1
    return views / (time.perf_counter() - start)


def main() -> None:
    """Run all peers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scenes"
        folder.mkdir()
        write_scenes(folder)
        refs = list_scenes([folder])
        start = time.perf_counter()
        pack_scenes(refs, Path(name) / "bank", None, FillOptions())
        pack_s = time.perf_counter() - start
        bank = SceneBank(Path(name) / "bank", refs)
        planner = ViewPlanner(
            image_hw=image_sizes(bank),
            regions=None,
            seed=0,
            images_per_step=BATCH,
            views=ViewsConfig(strategy="image"),
            groups=(ViewGroup(size_px=VIEW_PX),),
            augment=AugmentConfig(),
        )
        cropper = ViewCropper(bank)
        plans = [planner.plan(step) for step in range(32)]

        def ours(turn: int) -> int:
            plan = plans[turn % len(plans)]
            cropper.crop(plan.image_index, plan.groups[0].boxes_xyxy, VIEW_PX)
            return 2 * BATCH

        decoded = [Image.open(ref.path).convert("RGB") for ref in refs]
        tensors = [tv.functional.pil_to_tensor(image) for image in decoded]
        crop = tv.RandomResizedCrop(VIEW_PX, scale=(0.08, 1.0), antialias=True)
        lightly = SimCLRTransform(input_size=VIEW_PX, cj_strength=0.5)

        def from_files(transform: Callable[[Image.Image], object], per_call: int) -> Callable[[int], int]:
            def serve(turn: int) -> int:
                image = Image.open(refs[turn % NUM_SCENES].path).convert("RGB")
                for _ in range(2 // per_call):
                    transform(image)
                return 2

            return serve

        def in_memory(transform: Callable[[object], object], images: list, per_call: int) -> Callable[[int], int]:
            def serve(turn: int) -> int:
                for _ in range(2 // per_call):
                    transform(images[turn % NUM_SCENES])
                return 2

            return serve

        rows = [
            ("samclr bank, crop", rate(ours)),
            ("torchvision, crop, decoded PIL images", rate(in_memory(crop, decoded, 1))),
            ("torchvision, crop, decoded tensors", rate(in_memory(crop, tensors, 1))),
            ("torchvision, crop, from PNG files", rate(from_files(crop, 1))),
            ("lightly SimCLRTransform, decoded PIL images", rate(in_memory(lightly, decoded, 2))),
            ("lightly SimCLRTransform, from PNG files", rate(from_files(lightly, 2))),
        ]
        psnr = quality(cropper, plans[:4], decoded)
    print(f"{platform.processor() or platform.machine()}, one core, torch {torch.__version__}")
    print(f"128 px views of {WIDTH}x{HEIGHT} scenes; packing took {pack_s / NUM_SCENES * 1e3:.0f} ms an image, once")
    for label, views_per_s in rows:
        print(f"  {label:46s} {views_per_s:9.0f} views/s   bank is {rows[0][1] / views_per_s:6.1f} times it")
    print(f"  quality against Pillow: PSNR {psnr.mean():.1f} dB in the mean, {np.percentile(psnr, 1):.1f} dB at 1 %")
    if options.json:
        facts = {"views_per_s": dict(rows), "psnr_mean": float(psnr.mean()), "psnr_p1": float(np.percentile(psnr, 1))}
        options.json.write_text(json.dumps(facts | {"pack_ms_per_image": pack_s / NUM_SCENES * 1e3}, indent=1))


def quality(cropper: ViewCropper, plans: list, decoded: list[Image.Image]) -> np.ndarray:
    """PSNR of every planned view against Pillow's antialiased bilinear crop-and-resize."""
    found = []
    for plan in plans:
        views = cropper.crop(plan.image_index, plan.groups[0].boxes_xyxy, VIEW_PX)
        for row, image in enumerate(plan.image_index):
            for number, box in enumerate(plan.groups[0].boxes_xyxy[row]):
                cut = decoded[image].crop(tuple(int(v) for v in box))
                theirs = np.asarray(cut.resize((VIEW_PX, VIEW_PX), Image.Resampling.BILINEAR), np.float64)
                error = ((theirs - views[row, number].transpose(1, 2, 0)) ** 2).mean()
                found.append(10 * np.log10(255**2 / max(error, 1e-2)))
    return np.array(found)


if __name__ == "__main__":
    main()
