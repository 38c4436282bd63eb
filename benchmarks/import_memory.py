"""Peak memory of reading annotations: COCO's one file, and SA-1B's one file an image.

    python benchmarks/import_memory.py [--annotations 100000]

COCO: polygons of ten points. SA-1B: run lengths of 200 characters. Both a hundred an image.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PER_IMAGE = 100


def write_coco(folder: Path, count: int) -> Path:
    """One file, written annotation by annotation."""
    draw = random.Random(0)
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 480, "width": 640} for k in range(count // PER_IMAGE)]
    with open(folder / "coco.json", "w") as file:
        file.write(f'{{"images": {json.dumps(images)}, "annotations": [')
        for k in range(count):
            outline = [round(draw.uniform(50, 400), 2) for _ in range(20)]
            row = {"id": k, "image_id": k // PER_IMAGE, "category_id": 1, "iscrowd": 0, "area": 100.5}
            row |= {"bbox": [1.5, 2.5, 30.5, 40.5], "segmentation": [outline]}
            file.write((", " if k else "") + json.dumps(row))
        file.write("]}")
    return folder / "coco.json"


def write_sa1b(folder: Path, count: int) -> Path:
    """A file for each image."""
    draw = random.Random(0)
    for k in range(count // PER_IMAGE):
        rows = [
            {
                "id": number,
                "bbox": [1, 2, 3, 4],
                "predicted_iou": 0.9,
                "stability_score": 0.95,
                "point_coords": [[3.5, 4.5]],
                "segmentation": {"size": [480, 640], "counts": "".join(chr(draw.randint(48, 110)) for _ in range(200))},
            }
            for number in range(PER_IMAGE)
        ]
        image = {"image_id": k, "file_name": f"{k}.jpg", "height": 480, "width": 640}
        (folder / f"{k}.json").write_text(json.dumps({"image": image, "annotations": rows}))
    return folder


def read(source: Path) -> None:
    """In a process of its own: what reading adds to the peak, and what stays."""
    from samclr.regions.annotation_files import read_source

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

    before, start = resident_mb(), time.perf_counter()
    found = read_source(source)
    seconds, kept = time.perf_counter() - start, resident_mb() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before
    files = source.iterdir() if source.is_dir() else [source]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(found.entries):,} images, {size:.0f} MB: peak {peak:.0f} MB, kept {kept:.0f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=int, default=100_000)
    parser.add_argument("--read", type=Path, help="a file or folder of annotations that is there already")
    options = parser.parse_args()
    if options.read is not None:
        read(options.read)
        sys.exit()
    for write in (write_coco, write_sa1b):
        with tempfile.TemporaryDirectory() as folder:
            source = write(Path(folder), options.annotations)
            print(write.__name__.removeprefix("write_"), end=": ", flush=True)
            subprocess.run([sys.executable, __file__, "--read", str(source)], check=True)
