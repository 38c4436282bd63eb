"""Enlarging, measuring and encoding masks against PyTorch's interpolation and pycocotools."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask

from samclr.regions.sam.masks import Enlarging, encode_rle, measure, measure_dense

# low-resolution side, model image, native height and width: enlarging, shrinking, odd, one pixel wide
CASES = [(64, 64, 40, 90), (64, 96, 96, 96), (256, 1024, 700, 431), (64, 256, 33, 700), (64, 64, 7, 5), (64, 64, 1, 50)]


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def blobs(low, number, seed=0):
    """Smooth random logits, among them one that is nowhere positive and one that is positive everywhere."""
    coarse = torch.randn(number, 1, 9, 9, generator=torch.Generator().manual_seed(seed)) * 6
    logits = F.interpolate(coarse, (low, low), mode="bicubic")[:, 0]
    logits[-1], logits[-2] = -5.0, 5.0
    logits[-3, 3:9, 4:7] = 9.0
    return logits.contiguous()


def axes(low, model, height, width, squash):
    used = (model, model)
    if not squash:
        scale = model / max(height, width)
        used = int(height * scale + 0.5), int(width * scale + 0.5)
    via = None if squash else model
    return used, (Enlarging.of(low, via, used[0], height), Enlarging.of(low, via, used[1], width))


def enlarged(logits, model, used, height, width, squash):
    full = logits[:, None]
    if not squash:
        full = F.interpolate(full, (model, model), mode="bilinear")[..., : used[0], : used[1]]
    return F.interpolate(full, (height, width), mode="bilinear")[:, 0]


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_against_pytorch(case, squash, pool):
    low, model, height, width = case
    logits = blobs(low, 9)
    used, (rows, columns) = axes(low, model, height, width, squash)
    full = enlarged(logits, model, used, height, width, squash)
    dense = rows.dense(logits.device) @ logits @ columns.dense(logits.device).T
    torch.testing.assert_close(dense, full, atol=2e-4, rtol=1e-4)
    sure = (full.abs() > 1e-3) & ((full - 1).abs() > 1e-3) & ((full + 1).abs() > 1e-3)
    expected = (full > 1).sum((1, 2)) / (full > -1).sum((1, 2))
    measured = measure(logits, rows, columns, 1.0, pool, 10**9)
    by_products = measure_dense(logits, rows, columns, 1.0, 5 * height * width * 12)
    slack = (~sure).sum((1, 2)) / (full > -1).sum((1, 2)).clamp(min=1)
    for name, found in (("compiled", measured), ("dense", by_products)):
        assert torch.equal(found.stability.isnan(), expected.isnan()), name
        assert ((found.stability - expected).nan_to_num(0).abs() <= slack + 1e-6).all(), name
    for number in range(len(logits)):
        mask = (full[number] > 0).numpy()
        rle, area_px = encode_rle(logits[number].numpy(), rows, columns, (0, 0), width, height)
        decoded = coco_mask.decode({"size": [height, width], "counts": rle}).astype(bool)
        assert (decoded != mask)[sure[number].numpy()].sum() == 0
        assert area_px == decoded.sum()
        if sure[number].all():
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max(), ys.max()] if len(xs) else [0, 0, 0, 0]
            assert measured.boxes[number].tolist() == box
            assert by_products.boxes[number].tolist() == box


@pytest.mark.parametrize("offset", [(0, 0), (11, 5), (30, 20)])
def test_a_crop_s_mask_placed_in_its_image(offset):
    logits = blobs(64, 6)
    _, (rows, columns) = axes(64, 64, 60, 50, False)
    height, width = 80, 80
    for low in logits.numpy():
        inside = coco_mask.decode({"size": [60, 50], "counts": encode_rle(low, rows, columns, (0, 0), 50, 60)[0]})
        expected = np.zeros((height, width), np.uint8)
        expected[offset[1] : offset[1] + 60, offset[0] : offset[0] + 50] = inside
        rle, _ = encode_rle(low, rows, columns, offset, width, height)
        np.testing.assert_array_equal(coco_mask.decode({"size": [height, width], "counts": rle}), expected)
        assert rle == coco_mask.encode(np.asfortranarray(expected))["counts"]


def test_more_runs_than_the_first_buffer_holds():
    stripes = np.where(np.arange(64) % 2, 5.0, -5.0).astype(np.float32)[:, None] * np.ones((1, 64), np.float32)
    axis = Enlarging.of(64, 64, 64, 640)
    rle, area_px = encode_rle(stripes, axis, axis, (0, 0), 640, 640)
    decoded = coco_mask.decode({"size": [640, 640], "counts": rle})
    assert area_px == decoded.sum() > 0
    assert (np.diff(decoded[:, 0].astype(int)) != 0).sum() == 63


@pytest.mark.parametrize("is_wide", [False, True])
def test_a_mask_in_the_padding_alone_is_empty(is_wide, pool):
    """As the dense way has it; of a photo of 2000x100 px the model's square is mostly padding."""
    logits = torch.full((2, 256, 256), -5.0)
    logits[0, 100:140, 60:200] = 5.0
    logits[1, 2:10, 60:200] = 5.0
    long, short = Enlarging.of(256, 1024, 1024, 2000), Enlarging.of(256, 1024, 51, 100)
    if not is_wide:
        logits = logits.mT.contiguous()
    rows, columns = (short, long) if is_wide else (long, short)
    found, expected = (
        measure(logits, rows, columns, 1.0, pool, 1 << 30),
        measure_dense(logits, rows, columns, 1.0, 1 << 30),
    )
    torch.testing.assert_close(found.stability, expected.stability, equal_nan=True)
    assert found.boxes.tolist() == expected.boxes.tolist()
    assert found.boxes[0].tolist() == [0, 0, 0, 0]
    height, width = len(rows.first), len(columns.first)
    for logit, empty in zip(logits.numpy(), (True, False), strict=True):
        counts, area_px = encode_rle(logit, rows, columns, (0, 0), width, height)
        assert (area_px == 0) == empty
        assert int(coco_mask.area({"counts": counts, "size": [height, width]})) == area_px
