"""What a view plan costs: 1e3 to 1e6 images with 1 to 200 regions each, milliseconds a step of 256 images.

    OMP_NUM_THREADS=1 python benchmarks/plans.py

The region index is generated and memory-mapped, as in a run. `start` is the time until the first plan is there: it
draws one permutation of all images. The image strategy on the same images stands beside it.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from samclr.config.pretrain import AugmentConfig, Strategy, ViewGroup, ViewsConfig
from samclr.regions.index import RegionIndex
from samclr.views.plan import ViewPlanner

BATCH, STEPS, IMAGE_PX = 256, 50, 512
CASES = ((1_000, 1), (1_000, 200), (100_000, 200), (1_000_000, 1), (1_000_000, 20))


def generated_index(folder: Path, num_images: int, per_image: int) -> RegionIndex:
    """Every region is one box; the boxes lie in a file."""
    count = num_images * per_image
    boxes = np.lib.format.open_memmap(folder / "boxes.npy", "w+", np.int32, (count, 4))
    boxes[:] = (100, 100, 300, 300)
    boxes.flush()
    mapped = np.load(folder / "boxes.npy", mmap_mode="r")
    return RegionIndex(
        start=np.arange(num_images + 1) * per_image,
        box_xyxy=mapped,
        mask_box_xyxy=mapped,
        area_px=np.broadcast_to(np.int64(40_000), (count,)),
        grid=np.broadcast_to(np.uint8(255), (count, 32, 32)),
        segment_errors=0,
    )


def milliseconds(num_images: int, strategy: Strategy, regions: RegionIndex) -> tuple[float, float]:
    """Until the first plan is there, and of each plan after it."""
    start = time.perf_counter()
    planner = ViewPlanner(
        image_hw=np.full((num_images, 2), IMAGE_PX, np.int32),
        regions=None if strategy == "image" else regions,
        seed=0,
        images_per_step=BATCH,
        views=ViewsConfig(strategy=strategy),
        groups=(ViewGroup(),),
        augment=AugmentConfig(),
    )
    planner.plan(0)
    first = time.perf_counter()
    for step in range(1, STEPS + 1):
        planner.plan(step)
    return (first - start) * 1e3, (time.perf_counter() - first) / STEPS * 1e3


def main() -> None:
    print(" images  regions/image  image: start ms  step ms  region: start ms  step ms")
    for num_images, per_image in CASES:
        with tempfile.TemporaryDirectory() as name:
            regions = generated_index(Path(name), num_images, per_image)
            image, region = (milliseconds(num_images, strategy, regions) for strategy in ("image", "region"))
            print(
                f"{num_images:7} {per_image:14} {image[0]:16.1f} {image[1]:8.2f} {region[0]:17.1f} {region[1]:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
