"""Views a second of CPU time in a foreign loop: samclr.RegionViews beside lightly's transform in a DataLoader.

    OMP_NUM_THREADS=1 python benchmarks/region_views.py [--images png jpeg] [--px 64 128] [--seconds 4] [--json FILE]

Both give normalised float batches of two views with the same augmentations: crop scale (0.08, 1), flip, jitter of
strength 0.5, grey, blur. lightly's side opens the file of each item (files), or takes crops out of samclr's bank
(RegionDataset). Generated scenes as in benchmarks/views.py: 2048x1024 PNG and 480x360 JPEG. Views of whole images.
cold is the time to pack, with the files in the system's cache; warm is the time to open what is packed. Packing pays
in the first epoch by whose end packing and all epochs have taken RegionViews less time than lightly's from files.
Seconds are of CPU time, of all threads together: what one core gives, also beside other work.
"""

import argparse
import itertools
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from views import BATCH, KINDS, write_scenes

import samclr


class Files(Dataset[list[torch.Tensor]]):
    """Opens the file of an item, as lightly's own data set does."""

    def __init__(self, folder: Path, transform: SimCLRTransform):
        self.files, self.transform = sorted(folder.iterdir()), transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        return self.transform(Image.open(self.files[number]).convert("RGB"))


def rate(batches: Iterator[int], seconds: float) -> float:
    """Views a second of CPU time, after a first batch that is not counted."""
    next(batches)
    views, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        views += next(batches)
    return views / (time.process_time() - start)


def ours(scenes: Path, bank: Path, px: int) -> Iterator[int]:
    """A loop over RegionViews, as in examples/plain_simclr.py."""
    views = samclr.RegionViews(scenes, bank=bank, batch_size=BATCH, steps=10**9, size_px=px, workers=1)
    for batch in DataLoader(views, batch_size=None):
        yield batch.pixels[0].shape[:2].numel()


def theirs(dataset: Dataset[list[torch.Tensor]]) -> Iterator[int]:
    """A loop over lightly's transform; batches are no larger than a data set of few files allows."""
    loader = DataLoader(dataset, batch_size=min(BATCH, len(dataset)), shuffle=True)
    for pair in itertools.chain.from_iterable(itertools.repeat(loader)):
        yield sum(map(len, pair))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", choices=list(KINDS), nargs="+", default=list(KINDS))
    parser.add_argument("--px", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"one core, torch {torch.__version__}; views/s, and how many times the peer's RegionViews' is")
    print("images  px  RegionViews  lightly: files  RegionDataset  packing: cold    warm  pays in epoch")
    for kind in (KINDS[name] for name in arguments.images):
        with tempfile.TemporaryDirectory() as name:
            scenes, bank = Path(name) / "scenes", Path(name) / "bank"
            write_scenes(kind, scenes)
            opening = []
            for _ in range(2):
                start = time.process_time()
                samclr.RegionViews(scenes, bank=bank, batch_size=2, steps=1, workers=1)
                opening.append(time.process_time() - start)
            for px in arguments.px:
                transform = SimCLRTransform(input_size=px, cj_strength=0.5)
                crops = samclr.RegionDataset(scenes, bank=bank, transform=transform, workers=1)
                found = {
                    "RegionViews": rate(ours(scenes, bank, px), arguments.seconds),
                    "files": rate(theirs(Files(scenes, transform)), arguments.seconds),
                    "RegionDataset": rate(theirs(crops), arguments.seconds),
                }
                saved_s = 2 * kind.count * (1 / found["files"] - 1 / found["RegionViews"])
                pays = math.floor(opening[0] / saved_s) + 1 if saved_s > 0 else None
                times = {"cold_s": opening[0], "warm_s": opening[1], "pays_in_epoch": pays}
                rows.append({"images": kind.name, "px": px} | times | found)
                against = [
                    f"{found[peer]:6.0f} {found['RegionViews'] / found[peer]:5.1f} x" for peer in list(found)[1:]
                ]
                print(
                    f"{kind.name:6} {px:4} {found['RegionViews']:12.0f}  {'  '.join(against)} "
                    f"{opening[0]:14.2f} s {opening[1]:5.2f} s  {pays or 'never'}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
