"""Regions that a recipe trains for each forward pass of a view, and for each megapixel that it encodes.

    python benchmarks/region_passes.py --scenes camvid=PHOTOS --regions camvid=STORE [more as NAME=PATH] [--steps 20]

A region counts once a step and row if two of the row's views show it: in samclr the row's own, in detcon those that the
views carry. A pass is the encoder's of one view; the momentum encoder's are not counted. Plans alone are made, of 64
images a step; no view is cropped. `plan ms` is a plan, with its shares of cells.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

from samclr.config.pretrain import DataConfig, PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.views.data import prepare_data
from samclr.views.shares import with_shares

IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Count:
    """Of a recipe on a set: what a step has, in the mean."""

    regions: float
    passes: int
    pixels: int
    filled: float
    plan_ms: float


def arms() -> dict[str, PretrainConfig]:
    """samclr as it is and at DetCon's view size; DetCon with larger crops, too."""
    samclr, detcon, samdetcon = (RECIPES[name].config for name in ("samclr", "detcon", "samdetcon"))
    large = replace(samclr, group=replace(samclr.group, size_px=detcon.group.size_px))
    wide = replace(detcon, group=replace(detcon.group, crop_scale=(0.3, 1.0)))
    found = {"samclr": samclr, "samclr, 224 px": large, "detcon": detcon, "detcon, crops (0.3, 1)": wide}
    return found | {"samdetcon": samdetcon}


def count(config: PretrainConfig, scenes: Path, regions: Path, steps: int) -> Count:
    """Plan so many steps."""
    config = replace(
        config,
        data=DataConfig(scenes=(scenes,), regions=regions),
        optim=replace(config.optim, global_batch_size=IMAGES),
        runtime=replace(config.runtime, workers=1),
    )
    data = prepare_data(config)
    trained = rows = places = 0
    start = time.perf_counter()
    for step in range(steps):
        plan = with_shares(data.planner.plan(step), data.regions)
        rows += len(plan.image_index)
        shown = plan.groups[0].region_shown
        trained += int((plan.region_index >= 0).sum()) if shown is None else int((shown.sum(1) >= 2).sum())
        places += 0 if plan.carried is None else plan.carried.size
    seconds = time.perf_counter() - start
    passes = rows // steps * config.group.num_views
    return Count(
        regions=trained / steps,
        passes=passes,
        pixels=passes * config.group.size_px**2,
        filled=trained / places if places else 1.0,
        plan_ms=1000 * seconds / steps,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--regions", nargs="+", required=True, metavar="NAME=PATH")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    stores = dict(one.split("=", 1) for one in arguments.regions)
    print(f"{'set':10} {'recipe':22} regions a pass  a megapixel  places filled  plan ms")
    for name, scenes in (one.split("=", 1) for one in arguments.scenes):
        for arm, config in arms().items():
            found = count(config, Path(scenes), Path(stores[name]), arguments.steps)
            print(
                f"{name:10} {arm:22} {found.regions / found.passes:14.2f} {found.regions / found.pixels * 1e6:12.1f} "
                f"{found.filled:14.0%} {found.plan_ms:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
