"""kNN and a linear probe of any backbone, on images of your own: which shape is it?

python examples/knn_probe.py [IMAGES]
"""

import numpy as np
import timm
import torch
from generated import draw_shape, num_steps
from PIL import Image

from samclr.config import IMAGENET
from samclr.evaluation import extract_features, knn, linear_probe

SHAPES = ("disc", "box", "triangle")


def labelled_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [n 3 64 64] as uint8, and which shape each shows."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(SHAPES), count)
    images = []
    for label in labels:
        image = Image.new("RGB", (64, 64), (40, 40, 40))
        draw_shape(image, SHAPES[label], random, left=int(random.integers(2, 34)))
        images.append(np.asarray(image).transpose(2, 0, 1))
    return np.stack(images), labels


if __name__ == "__main__":
    count = num_steps(300)
    torch.manual_seed(0)
    backbone = timm.create_model("resnet10t", num_classes=0)  # or samclr.load_backbone("runs/photos")
    (train, labels), (test, test_labels) = labelled_images(count, 0), labelled_images(count // 2, 1)
    features, test_features = (extract_features(backbone, images, normalisation=IMAGENET) for images in (train, test))
    print(f"kNN {knn(features, labels, test_features, test_labels):.1%}")
    print(f"linear probe {linear_probe(features, labels, test_features, test_labels):.1%}")
