"""Memory and start-up of a training process as the data set grows: 1e3 to 1e6 images, 20 regions each.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--images 1000 100000 1000000]

A generated bank (real rows, sparse files of pixels) and region index. Each size runs in a process of its own, twice:
what the process holds for itself (RssAnon; mapped files are not counted, the system may drop them) before and after
bank, index and planner are open and ten steps are planned, and the seconds that takes. The goal is 64 bytes an image
and 32 a region. Listing files and reading a store are not part of it.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from samclr.parts import PartsFolder

REGIONS_PER_IMAGE, HEIGHT, WIDTH, BATCH = 20, 480, 640, 256


def name_of(number: int) -> str:
    """An id as long as those of Cityscapes."""
    return f"leftImg8bit/train/city/city_{number:09d}_000019_leftImg8bit.png"


def buckets_of(folder: "PartsFolder", num_images: int) -> dict[int, list[int]]:
    """Numbers of the images in each bucket."""
    buckets: dict[int, list[int]] = {}
    for number in range(num_images):
        buckets.setdefault(folder.bucket_of(name_of(number)), []).append(number)
    return buckets


def write_bank(path: Path, num_images: int) -> None:
    """Parts as pack makes them of empty files of 1970, with pixels of zeros that take no room."""
    from samclr.parts import OK, PartsFolder
    from samclr.scenes.bank import BANK_SCHEMA, KIND

    folder = PartsFolder.create_or_open(path, KIND, {"max_side": None}, num_images)
    image_bytes = HEIGHT * WIDTH * 4
    for bucket, numbers in buckets_of(folder, num_images).items():
        rows = [
            {
                "image_id": name_of(number), "content_hash": f"{number:032x}", "height": HEIGHT, "width": WIDTH,
                "status": OK, "file_size": 0, "mtime_ns": 0, "bank_height": HEIGHT, "bank_width": WIDTH,
                "offset": place * image_bytes,
            }
            for place, number in enumerate(numbers)
        ]  # fmt: skip

        def make_part(companion: Path, rows: list[dict[str, object]] = rows) -> pa.Table:
            with open(companion, "wb") as pixels:
                pixels.truncate(len(rows) * image_bytes + 1)
            return pa.Table.from_pylist(rows, schema=BANK_SCHEMA)

        folder.publish(bucket, make_part)


def own_bytes() -> int:
    """Memory that this process holds for itself, after giving back what it can."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    return rss_anon()


def rss_anon() -> int:
    """Memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not say what memory is a process's own")


def measure(folder: Path, num_images: int) -> dict[str, float]:
    """Bytes and seconds of opening everything and planning ten steps."""
    from plans import generated_index

    from samclr.config import AugmentConfig, ViewGroup, ViewsConfig
    from samclr.scenes.bank import SceneBank
    from samclr.scenes.refs import SceneRef
    from samclr.views.plan import ViewPlanner

    regions = generated_index(folder, num_images, REGIONS_PER_IMAGE)
    refs = [SceneRef(image_id=name_of(number), path="") for number in range(num_images)]
    before, start = own_bytes(), time.perf_counter()
    bank = SceneBank(folder / "bank", refs)
    planner = ViewPlanner(
        image_hw=bank.native_hw, regions=regions, seed=0, images_per_step=BATCH,
        views=ViewsConfig(strategy="region"), groups=(ViewGroup(),), augment=AugmentConfig(),
    )  # fmt: skip
    for step in range(10):
        planner.plan(step)
    seconds = time.perf_counter() - start
    return {"bytes": own_bytes() - before, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "IMAGES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(Path(arguments.one[0]), int(arguments.one[1]))))
        return
    print("  images     regions    own MB  bytes an image  allowed  seconds, first and second time")
    for num_images in arguments.images:
        with tempfile.TemporaryDirectory() as name:
            write_bank(Path(name) / "bank", num_images)
            runs = []
            for _ in range(2):
                command = [sys.executable, __file__, "--one", name, str(num_images)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout))
            own = np.array([run["bytes"] for run in runs]).max()
            print(
                f"{num_images:8} {num_images * REGIONS_PER_IMAGE:11} {own / 1e6:9.1f} {own / num_images:15.1f} "
                f"{64 + 32 * REGIONS_PER_IMAGE:8} {runs[0]['seconds']:9.2f} {runs[1]['seconds']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
