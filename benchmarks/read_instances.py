"""What it costs to look up the annotations of COCO's size once, and to read those of single images after that.

python benchmarks/read_instances.py
"""

import json
import pickle
import random
import resource
import tempfile
import time
from pathlib import Path

from samclr.datasets.annotation_index import indexed, place_of
from samclr.scenes.refs import LabelFile, SceneRef

NUM_IMAGES = 100_000


def write(path: Path) -> int:
    """A JSON of instances as COCO writes it, with 5 to 10 polygons an image; returns how many."""
    draw, count = random.Random(0), 0
    with path.open("w") as file:
        names = ({"file_name": f"{k:012d}.jpg", "height": 480, "width": 640, "id": k} for k in range(NUM_IMAGES))
        file.write('{"images": [' + ", ".join(map(json.dumps, names)) + '], "annotations": [')
        for number in range(NUM_IMAGES):
            for _ in range(draw.choice((5, 7, 10))):
                points = [round(draw.uniform(0, 480), 2) for _ in range(2 * draw.choice((12, 24, 40)))]
                one = {"segmentation": [points], "area": 702.1, "iscrowd": 0, "image_id": number * 7919 % NUM_IMAGES}
                one |= {"bbox": [473.07, 395.93, 38.65, 28.67], "category_id": 18, "id": count}
                file.write((", " if count else "") + json.dumps(one))
                count += 1
        file.write('], "categories": [{"id": 18, "name": "dog"}]}')
    return count


def peak_mb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print size, time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        count = write(path)
        label = LabelFile(path=str(path), rule="coco", kind="instances")
        names = [f"train2017/{number:012d}.jpg" for number in range(NUM_IMAGES)]
        refs = [SceneRef(image_id=name, path=name, label=label) for name in names]
        before, cpu = peak_mb(), time.process_time()
        refs = indexed(refs)
        print(f"{path.stat().st_size / 1e6:.0f} MB of JSON, {NUM_IMAGES:,} images, {count:,} annotations")
        print(f"looked up in {time.process_time() - cpu:.1f} s of one core, {peak_mb() - before:.0f} MB more memory")
        print(f"scenes as worker processes get them: {len(pickle.dumps(refs)) / 1e6:.0f} MB for all of them together")
        cpu = time.process_time()
        with path.open("rb") as file:
            for ref in refs[:1000]:
                for offset, length in place_of(ref.label.index).spans if ref.label else ():
                    file.seek(offset)
                    json.loads(file.read(length))
        print(f"annotations of an image read again in {time.process_time() - cpu:.2f} ms")


if __name__ == "__main__":
    main()
