"""CI's performance check: ours against the peers in the same run, as ratios, against those stored in ratios.json.

    OMP_NUM_THREADS=1 python benchmarks/check_ratios.py [--store]

Fails where a ratio has lost more than 30 %. No absolute time is looked at. `--store` writes this run's ratios.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from lightly.transforms import SimCLRTransform
from PIL import Image
from views import BATCH, KINDS, groups_of, loaded, ours, rate, torchvision_transform, write_scenes

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.pretrain import AugmentConfig, ViewsConfig
from samclr.datasets.sources import list_scenes
from samclr.scenes.fill import FillOptions
from samclr.views.augment import augment_batched, augment_on_cpu
from samclr.views.plan import AugmentDraws, ViewPlanner

STORED, LEAST_SHARE, PX = Path(__file__).with_name("ratios.json"), 0.7, 64


def measured_ratios() -> dict[str, float]:
    """Views a second of ours over the peer's: 480x360 JPEG, 64 px, whole colour work, images decoded already."""
    with tempfile.TemporaryDirectory() as name:
        write_scenes(KINDS["jpeg"], Path(name) / "scenes")
        refs = list_scenes([Path(name) / "scenes"])
        pack_scenes(refs, Path(name) / "bank", None, FillOptions(num_workers=1))
        bank = SceneBank(Path(name) / "bank", refs)
        decoded = [Image.open(ref.path).convert("RGB") for ref in refs]
        views = rate(ours(bank, PX, False, "image"))
        lightly = rate(loaded(refs, decoded, SimCLRTransform(input_size=PX, cj_strength=0.5)))
        torchvision = rate(loaded(refs, decoded, torchvision_transform(PX)))
        kernel, batched = (augmented(bank, way) for way in (augment_on_cpu, augment_batched))
    return {"lightly": views / lightly, "torchvision": views / torchvision, "batched augmentation": kernel / batched}


def augmented(bank: SceneBank, way: Callable[[torch.Tensor, AugmentDraws], torch.Tensor]) -> float:
    """Views a second of one of the two ways to augment."""
    planner = ViewPlanner(
        image_hw=bank.native_hw, regions=None, seed=0, images_per_step=BATCH, views=ViewsConfig(strategy="image"),
        groups=groups_of(PX, False), augment=AugmentConfig(),
    )  # fmt: skip
    pixels = torch.randint(0, 256, (BATCH, 2, 3, PX, PX), dtype=torch.uint8)
    draws = [planner.plan(step).groups[0].augment for step in range(16)]
    return rate(len(way(pixels, drawn).flatten(0, 1)) for drawn in itertools.cycle(draws))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measured_ratios()
    if arguments.store:
        STORED.write_text(json.dumps({name: round(ratio, 1) for name, ratio in found.items()}, indent=1) + "\n")
    lost = []
    for name, stored in json.loads(STORED.read_text()).items():
        print(f"samclr against {name}: {found[name]:.1f} times, stored {stored}")
        if found[name] < LEAST_SHARE * stored:
            lost.append(name)
    if lost:
        sys.exit(f"lost more than {1 - LEAST_SHARE:.0%} against {', '.join(lost)}; look for what became slow")


if __name__ == "__main__":
    main()
