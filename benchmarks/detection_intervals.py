"""What intervals of average precision cost at the size of COCO's val2017, on generated boxes.

    python benchmarks/detection_intervals.py

5,000 images, 80 classes, 7 objects and 100 detections an image; seconds of processor time.
"""

import time

import numpy as np

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.detection.instances import ImageInstances
from samclr.evaluation.detection.precision import Detections, match, precisions, resampled_precisions
from samclr.evaluation.detection.voc_precision import VOC_RULES, match_by_voc
from samclr.scenes.refs import SceneRef

IMAGES, CLASSES, OBJECTS, FOUND = 5000, 80, 7, 100


def boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corners = random.uniform(0, 500, (count, 2))
    return np.concatenate([corners, corners + random.uniform(20, 130, (count, 2))], 1)


def main() -> None:
    random, images, found = np.random.default_rng(0), [], []
    for number in range(IMAGES):
        there, labels = boxes(random, OBJECTS), random.integers(0, CLASSES, OBJECTS)
        images.append(
            ImageInstances(
                ref=SceneRef(image_id=str(number), path=""), size=(640, 640), boxes_xyxy=there, labels=labels,
                is_crowd=np.zeros(OBJECTS, bool), rles=(),
            )
        )  # fmt: skip
        others = boxes(random, FOUND - OBJECTS), random.integers(0, CLASSES, FOUND - OBJECTS)
        found.append(
            Detections(
                boxes_xyxy=np.concatenate([there + random.normal(0, 6, there.shape), others[0]]),
                labels=np.concatenate([labels, others[1]]), scores=random.random(FOUND), rles=(),
            )
        )  # fmt: skip
    start = time.process_time()
    matches = match(images, found, CLASSES, "bbox")
    print(f"matching: {time.process_time() - start:.1f} s")
    start = time.process_time()
    by_voc = match_by_voc(images, found, CLASSES)
    print(f"matching by VOC's rule: {time.process_time() - start:.1f} s")
    for name, rule, own in (("COCO", precisions, matches), *((name, rule, by_voc) for name, rule in VOC_RULES.items())):
        rule(own, np.ones(IMAGES))  # which compiles
        start = time.process_time()
        resampled_precisions(own, IntervalConfig(bootstrap=100), rule)
        print(f"100 resamples, {name}: {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    main()
