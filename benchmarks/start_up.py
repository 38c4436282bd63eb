"""Start-up and memory of a run as its data set grows, the first time (the region index is made) and the second.

    OMP_NUM_THREADS=1 python benchmarks/start_up.py [--images 1000 10000] [--workers 2]
    OMP_NUM_THREADS=1 python benchmarks/start_up.py --commands [--repeats 5]

With --commands: processor time, in processes of their own, until `evaluate` and `pretrain` reach the first line of
their job, until a wrong word is refused, and of importing the libraries that they need alone.

Generated rows: each image of 480x640 has 20 ellipses, the lists of 64 images repeated. The scenes are empty files, the
bank's pixels sparse ones. Each start is a process of its own that does all a run does before its first step but build
the model: list the scenes, see that none was changed, open bank and index, make one plan. Memory is that without a file
behind it (RssAnon) of this process, not its helpers: at most (peak), and once started (held), of which the goal is 64
bytes an image and 32 a region.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from features import rss_anon, watched

if TYPE_CHECKING:
    from samclr.storage.parts import PartsFolder
    from samclr.views.data import TrainingData

REGIONS_PER_IMAGE, HEIGHT, WIDTH, BATCH, DISTINCT = 20, 480, 640, 256, 64


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
    from samclr.bank.bank import KIND
    from samclr.bank.rows import BANK_SCHEMA
    from samclr.storage.parts import OK, PartsFolder

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


def ellipses(seed: int) -> list[dict[str, object]]:
    """Regions of one image as the store keeps them."""
    from pycocotools import mask as coco_mask

    random = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    regions = []
    for _ in range(REGIONS_PER_IMAGE):
        centre, axes = random.uniform(0, (HEIGHT, WIDTH)), random.uniform(20, 120, 2)
        inside = ((y - centre[0]) / axes[0]) ** 2 + ((x - centre[1]) / axes[1]) ** 2 < 1
        rle = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
        left, top, width, height = (int(side) for side in coco_mask.toBbox(rle))
        regions.append(
            {"box_xyxy": [left, top, left + width, top + height], "area_px": int(inside.sum()), "rle": rle["counts"],
             "predicted_iou": 0.9, "stability_score": 0.9, "point_xy": None}
        )  # fmt: skip
    return regions


def write_store(path: Path, num_images: int) -> None:
    """Parts as segment makes them."""
    from samclr.regions.store import KIND, STORE_SCHEMA
    from samclr.storage.parts import OK, PartsFolder

    regions = pa.array([ellipses(seed) for seed in range(DISTINCT)], STORE_SCHEMA.field("regions").type)
    folder = PartsFolder.create_or_open(path, KIND, {"segmenter": "generated"}, num_images)
    for bucket, found in buckets_of(folder, num_images).items():
        numbers = np.array(found)
        ids, hashes = [name_of(number) for number in numbers], [f"{number:032x}" for number in numbers]
        same = {"height": HEIGHT, "width": WIDTH, "status": OK, "file_size": 0, "mtime_ns": 0, "segment_s": 0.1}
        columns = {name: [value] * len(numbers) for name, value in same.items()}
        columns |= {"image_id": ids, "content_hash": hashes, "regions": regions.take(numbers % DISTINCT)}
        rows = pa.table({name: columns[name] for name in STORE_SCHEMA.names}, STORE_SCHEMA)
        folder.publish(bucket, lambda companion, rows=rows: rows)


def write_files(folder: Path, num_images: int) -> None:
    """Empty files of 1970, which is what the bank's rows say of them."""
    for number in range(num_images):
        path = folder / name_of(number)
        if number == 0:
            path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, ns=(0, 0))


def start(folder: Path, num_workers: int) -> dict[str, float]:
    """Seconds to the first plan, the peak of memory, and what is still held then."""
    from samclr.config.pretrain import DataConfig, OptimConfig, PretrainConfig, RuntimeConfig, ViewsConfig
    from samclr.views.data import prepare_data

    config = PretrainConfig(
        data=DataConfig(scenes=(folder / "scenes",), bank=folder / "bank", regions=folder / "store"),
        views=ViewsConfig(strategy="region"),
        optim=OptimConfig(global_batch_size=BATCH),
        runtime=RuntimeConfig(workers=num_workers),
    )

    held: list[TrainingData] = []

    def to_first_plan() -> float:
        held.append(prepare_data(config))
        held[0].planner.plan(0)
        return float(held[0].counts()["regions"])

    before = rss_anon()
    found = watched(to_first_plan)
    gc.collect()
    pa.default_memory_pool().release_unused()
    return found | {"held": rss_anon() - before}


LIBRARIES = {"evaluate": ("torch", "timm"), "pretrain": ("torch", "timm", "lightning_fabric")}
JOBS = {
    "evaluate": ("samclr.evaluation.calls", "results_of_each"),
    "pretrain": ("samclr.training.pretrain", "pretrain"),
}
# Runs a command up to the first line of its job, or to its refusal.
TO_FIRST_LINE = """
import builtins, json, sys, time
arguments, job, name = json.loads(sys.argv[1])
plain = builtins.__import__

def watched(*given, **named):  # the command takes its job from this module just before it calls it
    module = plain(*given, **named)
    if given[0] == job and name in (given[3] or ()):
        setattr(sys.modules[job], name, begun)
    return module

def begun(*_, **__):
    raise SystemExit(0)

builtins.__import__ = watched
from samclr.cli.main import main
try:
    main(arguments)
except SystemExit as end:
    print(json.dumps([time.process_time(), end.code, "torch" in sys.modules]))
"""


def processor_s(code: str, argument: str, repeats: int) -> tuple[float, list[object]]:
    """Least processor seconds of a process that prints them first in a list, and the rest of that list."""
    found = []
    for _ in range(repeats):
        command = [sys.executable, "-c", code, argument]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return min(one[0] for one in found), found[0][1:]


def write_inputs(folder: Path) -> None:
    """A labelled set, scenes and an empty region store."""
    from PIL import Image

    for part in ("set/train/a", "set/train/b", "set/test/a", "set/test/b", "scenes"):
        (folder / part).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / part / "0.png")
    write_store(folder / "store", 0)


def measure_commands(repeats: int) -> None:
    """Print a row for each command, and one for each way to be refused."""
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name))
        words = {
            "evaluate": ["evaluate", "resnet18", "--untrained", "--on", f"{name}/set"],
            "pretrain": ["pretrain", "samclr", "--scenes", f"{name}/scenes", "--regions", f"{name}/store"],
        }
        words["pretrain"] += ["--out", f"{name}/run"]
        print("command   libraries, s  first line, s  beyond, s")
        for command, libraries in LIBRARIES.items():
            imports = f"import {', '.join(libraries)}\nimport json, time\nprint(json.dumps([time.process_time()]))"
            least = processor_s(imports, "", repeats)[0]
            first, (status, _) = processor_s(TO_FIRST_LINE, json.dumps([words[command], *JOBS[command]]), repeats)
            assert status == 0, f"{command} was refused"
            print(f"{command:8} {least:13.2f} {first:14.2f} {first - least:10.2f}", flush=True)
        wrong = {
            "evaluate, no such run": [*words["evaluate"][:1], f"{name}/none", *words["evaluate"][2:]],
            "evaluate, no such set": [*words["evaluate"][:-1], f"{name}/none"],
            "evaluate, unknown option": [*words["evaluate"], "--none", "1"],
            "pretrain, no such scenes": [*words["pretrain"][:3], f"{name}/none", *words["pretrain"][4:]],
            "pretrain, no such store": [*words["pretrain"][:5], f"{name}/none", *words["pretrain"][6:]],
            "pretrain, unknown recipe": ["pretrain", "none", *words["pretrain"][2:]],
            "pretrain, unknown option": [*words["pretrain"], "--none", "1"],
        }
        print("refused                   until then, s  status  torch imported")
        for what, given in wrong.items():
            until, (status, has_torch) = processor_s(TO_FIRST_LINE, json.dumps([given, "", ""]), repeats)
            print(f"{what:25} {until:13.2f} {status:7} {'yes' if has_torch else 'no':>15}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--commands", action="store_true", help="measure the commands' start instead")
    parser.add_argument("--repeats", type=int, default=5, help="processes of each kind, of which the quickest counts")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.commands:
        measure_commands(arguments.repeats)
        return
    if arguments.one:
        folder, workers = arguments.one
        print(json.dumps(start(Path(folder), int(workers))))
        return
    print("  images   regions  first, s  ms an image  peak MB  second, s  peak MB  held MB  bytes an image  allowed")
    for num_images in arguments.images:
        with tempfile.TemporaryDirectory() as name:
            write_files(Path(name) / "scenes", num_images)
            write_bank(Path(name) / "bank", num_images)
            write_store(Path(name) / "store", num_images)
            runs = []
            for _ in range(2):
                command = [sys.executable, __file__, "--one", name, str(arguments.workers)]
                environment = os.environ | {"SAMCLR_CACHE": f"{name}/cache"}
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
                runs.append(json.loads(done.stdout))
            first, second = runs
            regions = int(second["result"])
            allowed = 64 + 32 * regions / num_images
            print(
                f"{num_images:8} {regions:9} {first['seconds']:9.1f} {first['seconds'] / num_images * 1e3:12.2f} "
                f"{first['peak'] / 1e6:8.0f} {second['seconds']:10.2f} {second['peak'] / 1e6:8.0f} "
                f"{second['held'] / 1e6:8.1f} {second['held'] / num_images:15.0f} {allowed:8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
