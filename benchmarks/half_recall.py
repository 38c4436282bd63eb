"""How many float32 masks half precision finds again, and how many survive a change of the image that nobody sees.

    python benchmarks/half_recall.py --data DIR [--device cpu|cuda]

sam-digits at home (generated scenes, default thresholds) and on photographs that it was never trained for (DIR holds
camvid/ and bsds500/; a quarter of the candidates survive). The last column is float32 on images whose pixels were
moved by -1, 0 or 1 at random: how far masks depend on nothing at all there.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from segment import agreement, as_samclr_loads_it, candidate_scores, find_images, make_model
from sklearn.datasets import load_digits

from samclr.config.sam import MaskConfig
from samclr.demo.scenes import compose_scene
from samclr.regions.sam.generator import MaskGenerator
from samclr.regions.sam.model import SamModels
from samclr.regions.segmenters.sam import AUTOCAST

SCENES, PHOTOGRAPHS_PER_SET, SURVIVE = 100, 8, 0.25
LEAST_IOU = 0.9


def moved(image: np.ndarray, seed: int) -> np.ndarray:
    """Each pixel by -1, 0 or 1."""
    noise = np.random.default_rng(seed).integers(-1, 2, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def masks_of(
    model: SamModels, config: MaskConfig, images: list[np.ndarray], precision: str
) -> list[list[dict[str, object]]]:
    with (
        ThreadPoolExecutor(2) as pool,
        torch.inference_mode(),
        torch.autocast(model.device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST),
    ):
        found = MaskGenerator(model, config, pool, 1_000_000_000).generate(images)
    return [
        [{"size": list(image.shape[:2]), "counts": mask.rle} for mask in masks]
        for masks, image in zip(found, images, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    net, device = make_model("sam-digits"), torch.device(arguments.device)
    model = as_samclr_loads_it(net.to(device))
    strokes = [digit / 16.0 for digit in load_digits().images]
    photographs = find_images(arguments.data, PHOTOGRAPHS_PER_SET)
    threshold = float(np.quantile(candidate_scores(net, photographs, 32, device), 1 - SURVIVE))
    cases = {
        "generated scenes": (
            [compose_scene(strokes, np.random.default_rng([9, 9, number]))[0] for number in range(SCENES)],
            MaskConfig(points_per_side=8),
        ),
        "photographs": (
            photographs,
            MaskConfig(points_per_side=32, pred_iou_thresh=threshold, stability_score_thresh=0.8),
        ),
    }
    print(f"{arguments.device}, recall at IoU {LEAST_IOU}")
    print("images            number  masks/image  float16  bfloat16  pixels moved")
    for name, (images, config) in cases.items():
        reference = masks_of(model, config, images, "float32")
        half, bf16 = (agreement(masks_of(model, config, images, kind), reference, LEAST_IOU) for kind in AUTOCAST)
        other = [moved(image, number) for number, image in enumerate(images)]
        noisy = agreement(masks_of(model, config, other, "float32"), reference, LEAST_IOU)
        count = np.mean([len(masks) for masks in reference])
        print(f"{name:16}  {len(images):6}  {count:11.1f}  {half:7.1%}  {bf16:8.1%}  {noisy:12.1%}", flush=True)


if __name__ == "__main__":
    main()
