"""What a bank costs and serves, raw and as JPEG tiles: packing, bytes, time to the first batch, crops a second.

    OMP_NUM_THREADS=1 python benchmarks/storage.py [--data DIR] [--px 64 128]

Generated 2048x1024 PNG scenes (benchmarks/views.py), and with --data the photographs below DIR. One core. The first
batch is that of a new process: scenes listed, bank mapped, 64 images planned, cropped and augmented; `again` with the
bank there, `new` packing included, beside lightly's first batch from the files. Crops are those of the image strategy
(8 to 100 % of the image) and of the region strategy, two views of 64 images a step. PSNR is against crops of the raw
bank.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from views import BATCH, KINDS, Scenes, peers, planner_for, write_scenes

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.datasets.sources import list_scenes
from samclr.scenes.fill import FillOptions
from samclr.views.augment import augment
from samclr.views.crop import ViewCropper

SECONDS = 4.0
CODECS = ("raw", "jpeg")


def crops_per_s(bank: SceneBank, px: int, strategy: str) -> float:
    """Views a second, uint8, plan not counted."""
    planner, cropper = planner_for(bank, px, strategy), ViewCropper(bank)
    views, spent, step = 0, 0.0, 0
    while spent < SECONDS:
        plan = planner.plan(step)
        boxes = plan.groups[0].boxes_xyxy
        start = time.perf_counter()
        cropper.crop(plan.image_index, boxes, px)
        if step:  # the first compiles
            views, spent = views + boxes.shape[0] * boxes.shape[1], spent + time.perf_counter() - start
        step += 1
    return views / spent


def psnr(banks: list[SceneBank], px: int, strategy: str) -> float:
    """Of the second bank's crops against the first's, mean over crops, dB."""
    planner, found = planner_for(banks[0], px, strategy), []
    for step in range(3):
        plan = planner.plan(step)
        first, second = (
            ViewCropper(bank).crop(plan.image_index, plan.groups[0].boxes_xyxy, px).astype(float) for bank in banks
        )
        error = ((first - second) ** 2).mean((2, 3, 4))
        found.append(10 * np.log10(255**2 / np.maximum(error, 1e-2)))
    return float(np.mean(found))


def first_batch(scenes: Path, bank: Path, codec: str) -> float:
    """Seconds of a new process to its first augmented batch."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    if codec == "lightly":
        data = Scenes(list_scenes([scenes]), None, peers(64, False)["lightly"])
        torch.stack([torch.stack(data[number]) for number in range(BATCH)])
    else:
        refs = list_scenes([scenes])
        pack_scenes(refs, bank, None, FillOptions(num_workers=1), codec)
        opened = SceneBank(bank, refs)
        plan = planner_for(opened, 64, "image").plan(0)
        crops = ViewCropper(opened).crop(plan.image_index, plan.groups[0].boxes_xyxy, 64)
        augment(torch.from_numpy(crops), plan.groups[0].augment)
    return time.perf_counter() - start


def in_new_process(scenes: Path, bank: Path, codec: str) -> float:
    """Seconds of `first_batch` there, imports not counted."""
    command = [sys.executable, __file__, "--first-batch", str(scenes), str(bank), codec]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--px", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--first-batch", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first_batch:
        scenes, bank, codec = arguments.first_batch
        print(first_batch(Path(scenes), Path(bank), codec))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(KINDS["png"], folder / "generated")
        sets = {"generated": folder / "generated"} | ({"photographs": arguments.data} if arguments.data else {})
        for title, scenes in sets.items():
            refs = list_scenes([scenes])
            banks, rows = [], []
            for codec in CODECS:
                bank = folder / f"{title}-{codec}"
                start = time.perf_counter()
                _, report = pack_scenes(refs, bank, None, FillOptions(num_workers=1), codec)
                pack_s = time.perf_counter() - start
                banks.append(SceneBank(bank, refs))
                size = sum(path.stat().st_size for path in bank.glob("*.bin"))
                pixels = int(banks[-1].native_hw.prod(1).sum())
                new, again = (in_new_process(scenes, folder / f"{title}-{codec}-new", codec) for _ in range(2))
                rows.append([pack_s / report.num_new * 1e3, size / pixels, new, again])
            files = sum(Path(ref.path).stat().st_size for ref in refs) / pixels
            print(f"{title}: {len(refs)} images, {pixels / len(refs) / 1e6:.2f} Mpx each, files {files:.2f} bytes/px")
            print(f"  first batch of {BATCH}: lightly {in_new_process(scenes, folder, 'lightly'):.2f} s")
            print("  codec  pack ms  bytes/px  first batch, s: new   again")
            for codec, row in zip(CODECS, rows, strict=True):
                print(f"  {codec:5} {row[0]:8.1f} {row[1]:9.2f} {row[2]:20.2f} {row[3]:7.2f}", flush=True)
            print("  px  views   crops/s: raw    jpeg  times   PSNR, dB")
            for px in arguments.px:
                for strategy in ("image", "region"):
                    raw, jpeg = (crops_per_s(bank, px, strategy) for bank in banks)
                    print(
                        f"{px:4}  {strategy:6} {raw:13,.0f} {jpeg:7,.0f} {raw / jpeg:6.1f} "
                        f"{psnr(banks, px, strategy):10.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
