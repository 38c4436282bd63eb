"""Crops from the bank against Pillow's antialiased crop-and-resize, and their boxes against torchvision's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import RandomResizedCrop

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.datasets.sources import list_scenes
from samclr.draws import uniforms
from samclr.scenes.fill import FillOptions
from samclr.views.crop import ViewCropper
from samclr.views.random_crop import NUM_CROP_COLUMNS, random_resized_crops

RATIO = (3 / 4, 4 / 3)


@pytest.mark.parametrize(("codec", "mean_db", "low_db"), [("raw", 36, 30), ("jpeg", 38, 27)])
@pytest.mark.parametrize("size_px", [32, 96])
def test_crops_equal_pillows(photo_folder, photographs, tmp_path, size_px, codec, mean_db, low_db):
    """Scales from 1/8 (eight output pixels a source pixel) to 4 and beyond: PSNR in the mean, and at 1 %."""
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec)
    cropper = ViewCropper(SceneBank(tmp_path / "bank", refs), num_threads=2)
    random = np.random.default_rng(0)
    height, width = photographs[0].shape[:2]
    boxes = []
    for _ in range(300):
        scale = 2 ** random.uniform(-3, min(np.log2(height / size_px), 3))
        aspect = np.exp(random.uniform(*np.log(RATIO)) / 2)
        w = int(np.clip(round(size_px * scale * aspect), 1, width))
        h = int(np.clip(round(size_px * scale / aspect), 1, height))
        x, y = random.integers(0, width - w + 1), random.integers(0, height - h + 1)
        boxes.append([x, y, x + w, y + h])
    images = random.integers(0, 2, len(boxes))
    ours = cropper.crop(images, np.array(boxes)[:, None], size_px)[:, 0].transpose(0, 2, 3, 1)
    psnr = []
    for image, box, view in zip(images, boxes, ours, strict=True):
        crop = Image.fromarray(photographs[image]).crop(tuple(int(v) for v in box))
        theirs = np.asarray(crop.resize((size_px, size_px), Image.Resampling.BILINEAR), np.float64)
        psnr.append(10 * np.log10(255**2 / max(((theirs - view) ** 2).mean(), 1e-2)))
    assert np.mean(psnr) >= mean_db
    assert np.percentile(psnr, 1) >= low_db


def test_threads_change_nothing(photo_folder, tmp_path):
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    boxes = np.array([[[0, 0, 100 + i, 90], [5, 5, 60, 60 + i]] for i in range(9)])
    one, three = (ViewCropper(bank, threads).crop(np.arange(9) % 2, boxes, 32) for threads in (1, 3))
    assert (one == three).all()


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (427, 640, (0.08, 1.0)),
        (100, 100, (0.5, 1.0)),
        (40, 200, (0.08, 1.0)),
        (30, 90, (0.5, 1.0)),
        (9, 8, (0.08, 1.0)),
    ],
)
def test_boxes_follow_torchvisions_distribution(height, width, scale):
    count = 4000
    windows = np.tile([0, 0, width, height], (count, 1))
    numbers = uniforms(0, 64, 0, np.arange(count), NUM_CROP_COLUMNS)
    ours, fallback = random_resized_crops(windows, numbers, scale, RATIO)
    torch.manual_seed(0)
    transform, image = RandomResizedCrop(8, scale=scale, ratio=RATIO), torch.zeros(3, height, width)
    drawn = [transform.make_params([image]) for _ in range(count)]
    theirs = np.array([[p["left"], p["top"], p["left"] + p["width"], p["top"] + p["height"]] for p in drawn])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 2] <= width).all()
    assert (ours[:, 3] <= height).all()
    for column in range(4):
        assert kolmogorov_distance(ours[:, column], theirs[:, column]) < 0.045  # 1.95 * sqrt(2 / 4000): p = 0.001
    sides = [boxes[:, 2:] - boxes[:, :2] for boxes in (ours, theirs)]
    assert kolmogorov_distance(sides[0].prod(1), sides[1].prod(1)) < 0.045
    if width / height >= 3 and scale == (0.5, 1.0):
        assert fallback.all()
        assert (theirs == ours).all()


def test_crops_lie_in_their_windows():
    windows = np.array([[10, 20, 50, 45], [0, 0, 1, 1], [3, 3, 4, 60]] * 200)
    boxes, _ = random_resized_crops(windows, uniforms(1, 64, 0, np.arange(600), NUM_CROP_COLUMNS), (0.08, 1.0), RATIO)
    assert (boxes[:, :2] >= windows[:, :2]).all()
    assert (boxes[:, 2:] <= windows[:, 2:]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def kolmogorov_distance(first: np.ndarray, second: np.ndarray) -> float:
    values = np.unique(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())
