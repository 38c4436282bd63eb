"""Several regions of an image in one step: at equal images a step, and at equal views a step.

    python benchmarks/several_regions.py --demo runs/demo [--seeds 0 1 2] [--out FILE]

On the scenes, store and labelled digits that `samclr demo --out runs/demo --seeds 0 1 2` has made. The first row is the
demo's own region arm, whose runs are taken as they are. kNN top-1 of each seed, its mean, the steps, and the views
that were encoded.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from samclr.config.evaluation import EvaluationConfig, TargetConfig
from samclr.config.pretrain import PretrainConfig
from samclr.demo.demo import NUM_SCENES, STEPS, demo_config
from samclr.evaluation.evaluate import evaluate
from samclr.evaluation.targets import open_target
from samclr.training.pretrain import pretrain

IMAGES = 128
# name: images a step, regions of each, share of the steps, other regions of an image as negatives
ARMS = {
    "one region, all steps": (IMAGES, 1, 1.0, "keep"),
    "one region, half the steps": (IMAGES, 1, 0.5, "keep"),
    "4 regions, half the steps": (IMAGES, 4, 0.5, "keep"),
    "4 regions of a quarter of the images": (IMAGES // 4, 4, 1.0, "keep"),
}
DEMO_ARM = "one region, all steps"


def arm_config(demo: Path, images: int, regions: int, share: float, same_image: str) -> PretrainConfig:
    config = demo_config("samclr", demo / "data", demo / "regions", demo / "bank", round(STEPS * share))
    return replace(
        config,
        method=replace(config.method, same_image_negatives=same_image),
        views=replace(config.views, regions_per_image=regions),
        optim=replace(config.optim, global_batch_size=images),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    arguments = parser.parse_args()
    demo = arguments.demo / f"{NUM_SCENES}-scenes"
    rows = []
    print(f"{'arm':36}  images x regions  steps    views  kNN top-1 of each seed    mean", flush=True)
    for name, (images, regions, share, same_image) in ARMS.items():
        top1 = []
        for seed in arguments.seeds:
            config = replace(arm_config(demo, images, regions, share, same_image), seed=seed)
            run = demo / "several-regions" / f"{name.replace(' ', '-').replace(',', '')}-seed{seed}"
            if name == DEMO_ARM:
                run = demo / f"samclr-seed{seed}"
            pretrain(config, run)
            target = open_target(str(run), TargetConfig(), untrained=False, seed=seed)
            measuring = EvaluationConfig(data=config.evaluation, protocols=(config.knn,))
            first = evaluate(target, {"labelled": [demo / "data/digits"]}, measuring, torch.device("cpu"))[0]
            top1.append(first.scores["top1"].value)
        views = config.views_per_step() * config.optim.steps
        row = {"arm": name, "images": images, "regions": regions, "steps": config.optim.steps, "views": views}
        rows.append(row | {"knn_top1": top1})
        each = "  ".join(f"{value:.1%}" for value in top1)
        print(
            f"{name:36}  {images:6} x {regions:<7}  {config.optim.steps:5}  {views:7,}  {each:24}  {np.mean(top1):.1%}",
            flush=True,
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
