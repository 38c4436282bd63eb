"""Our mask generator against the authors' own generators and classes, with the same weights."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from segment_anything.utils.amg import generate_crop_boxes
from sklearn.datasets import load_digits
from support.original_sams import original_generator
from support.sam_models import KINDS, MEAN, STD, as_loaded, digits_sam, tiny_sam

from samclr.config.sam import MaskConfig
from samclr.demo.scenes import clutter, digit_ink
from samclr.regions.sam.decoder import PromptDecoder
from samclr.regions.sam.generator import Mask, MaskGenerator
from samclr.regions.sam.grids import crop_boxes, point_grid
from samclr.regions.sam.model import SamModels, load_sam

# (height, width): square, wide, tall, tiny, large
SIZES = {"square": (96, 96), "wide": (70, 160), "tall": (150, 60), "tiny": (40, 44), "large": (420, 560)}
DIGITS = load_digits().images


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Digits in random tones on smooth clutter, about fourteen however large the picture is."""
    random = np.random.default_rng(seed)
    canvas = clutter(max(height, width), random)[:height, :width].copy()
    side = max(6, int((height * width / 30) ** 0.5))
    squares: list[tuple[int, int]] = []
    for _ in range(200):
        top, left = int(random.integers(0, height - side + 1)), int(random.integers(0, width - side + 1))
        if all(max(abs(top - t), abs(left - x)) >= side for t, x in squares):
            squares.append((top, left))
            ink = digit_ink(DIGITS[int(random.integers(500))] / 16.0, side)[..., None]
            window = canvas[top : top + side, left : left + side]
            window[:] = (1 - ink) * window + ink * random.uniform(0.75, 1.0)
    return np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def ours(
    net: Any, config: MaskConfig, images: list[np.ndarray], pool: ThreadPoolExecutor, **more: Any
) -> list[list[Mask]]:
    with torch.inference_mode():
        return MaskGenerator(as_loaded(net), config, pool, **{"memory_bytes": 100_000_000} | more).generate(images)


def reference(net: Any, config: MaskConfig, image: np.ndarray) -> list[dict[str, Any]]:
    settings = {
        name: getattr(config, name)
        for name in (
            "points_per_side", "pred_iou_thresh", "stability_score_thresh", "stability_score_offset", "box_nms_thresh",
            "crop_n_layers", "crop_nms_thresh", "crop_overlap_ratio", "crop_n_points_downscale_factor",
            "min_mask_region_area",
        )
    }  # fmt: skip
    return original_generator(net, MEAN, STD, **settings).generate(image)


def assert_same(mine: list[Mask], theirs: list[dict[str, Any]], size: tuple[int, int]) -> None:
    """Equal count; each of theirs has one of ours with the same point, pixels but for two, and score within 5e-6.

    Two pixels may fall on the other side by rounding; as many may move the stability.
    """
    assert len(mine) == len(theirs)
    left = list(range(len(mine)))
    for other in theirs:
        area = other["segmentation"]
        rles = [{"size": list(size), "counts": mine[i].rle} for i in left]
        overlaps = coco_mask.iou(rles, [area], [0])[:, 0]
        close = [
            k
            for k in np.flatnonzero(overlaps >= 1 - 2 / max(other["area"], 2))
            if abs(mine[left[k]].predicted_iou - other["predicted_iou"]) < 5e-6
            and np.allclose(mine[left[k]].point_xy, other["point_coords"][0], atol=1e-3)
        ]
        assert close, f"no mask of ours for {other['bbox']}; best IoU {overlaps.max():.4f}"
        match = mine[left.pop(close[0])]
        assert abs(match.stability_score - other["stability_score"]) <= 2 / other["area"]
        x, y, w, h = other["bbox"]
        assert np.abs(np.subtract(match.box_inclusive, (x, y, x + w, y + h))).max() <= 1
        assert abs(match.area_px - other["area"]) <= 2
        assert list(match.crop_box[:2]) == other["crop_box"][:2]


def thresholds(kind: str) -> dict[str, float]:
    """At which sam-digits keeps 20 to 200 masks of such a picture, duplicates among them."""
    score = 0.68 if kind in ("sam2", "edgetam", "sam3_tracker") else 0.75  # those pass it through a sigmoid
    return {"pred_iou_thresh": score, "stability_score_thresh": 0.9, "box_nms_thresh": 0.9, "crop_nms_thresh": 0.9}


@pytest.mark.parametrize(("size", "crop_n_layers"), [*((size, 0) for size in SIZES), ("tiny", 1), ("wide", 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_masks_as_the_reference(kind, size, crop_n_layers, pool):
    config = MaskConfig(
        points_per_side=16, crop_n_layers=crop_n_layers, crop_n_points_downscale_factor=2, **thresholds(kind)
    )
    net, image = digits_sam(kind), picture(*SIZES[size])
    theirs = reference(net, config, image)
    (mine,) = ours(net, config, [image], pool)
    print(f"{kind}, {size}, {crop_n_layers} crop layers: {len(theirs)} masks")
    assert 20 <= len(theirs) <= 200
    assert_same(mine, theirs, SIZES[size])


@pytest.mark.parametrize("size", ["tiny", "wide"])
@pytest.mark.parametrize("crop_n_layers", [0, 2])
def test_sam_digits_as_it_ships_is_a_sam_of_its_own_epsilon(crop_n_layers, size, pool):
    """Against the authors' SAM whose two-way blocks have the epsilon that config.json states: trained with it."""
    net = load_sam("sam-digits", torch.device("cpu")).net
    config = MaskConfig(
        points_per_side=16, crop_n_layers=crop_n_layers, crop_n_points_downscale_factor=2, **thresholds("sam")
    )
    image = picture(*SIZES[size], seed=1)
    (mine,) = ours(net, config, [image], pool)
    assert len(mine) >= 20
    assert_same(mine, reference(net, config, image), SIZES[size])


def test_a_batch_of_images_gives_what_each_gives_alone(pool):
    config, net = MaskConfig(points_per_side=12, **thresholds("sam")), digits_sam("sam")
    images = [picture(*size, seed=k) for k, size in enumerate(SIZES.values())]
    together = ours(net, config, images, pool, encode_together=3)
    for image, masks in zip(images, together, strict=True):
        (alone,) = ours(net, config, [image], pool)
        assert [mask.rle for mask in masks] == [mask.rle for mask in alone]
    assert sum(map(len, together)) > 50


@pytest.mark.parametrize("memory_bytes", [1, 2_000_000, 2_000_000_000])
def test_memory_changes_no_mask(memory_bytes, pool):
    config, net = MaskConfig(points_per_side=12, **thresholds("sam")), digits_sam("sam")
    image = picture(96, 96)
    (expected,) = ours(net, config, [image], pool)
    (found,) = ours(net, config, [image], pool, memory_bytes=memory_bytes)
    assert len(found) == len(expected) > 10
    for mine, other in zip(found, expected, strict=True):
        assert (mine.box_inclusive, mine.area_px) == (other.box_inclusive, other.area_px)


@pytest.mark.parametrize("stage", ["encode", "prompt"])
def test_out_of_memory_halves_and_goes_on(stage, pool, monkeypatch, capsys):
    config, net = MaskConfig(points_per_side=12, **thresholds("sam")), digits_sam("sam")
    images = [picture(96, 96, seed) for seed in range(4)]
    expected = ours(net, config, images, pool)
    if stage == "encode":
        allowed, whole = 1, SamModels.encode

        def encode(self, prepared):
            if len(prepared) > allowed:
                raise torch.OutOfMemoryError("too many")
            return whole(self, prepared)

        monkeypatch.setattr(SamModels, "encode", encode)
    else:
        allowed, prompt = 5, PromptDecoder.prompt

        def small_prompt(self, encoded, tokens):
            if tokens.shape[0] * tokens.shape[1] > allowed:
                raise torch.OutOfMemoryError("too many")
            return prompt(self, encoded, tokens)

        monkeypatch.setattr(PromptDecoder, "prompt", small_prompt)
    found = ours(net, config, images, pool)
    assert [len(masks) for masks in found] == [len(masks) for masks in expected]
    said = capsys.readouterr().err
    assert "out of memory: images encoded together halved to 1, continuing" in said or "points decoded together" in said


@pytest.mark.parametrize("size", [(480, 640), (500, 333), (97, 101), (40, 6), (5, 5), (3, 2), (1, 1), (1, 2000)])
def test_crops_are_the_references_but_for_those_that_hold_nothing(size):
    for overlap_ratio in (0, 512 / 1500, 0.9):
        theirs = list(zip(*generate_crop_boxes(size, 6, overlap_ratio), strict=True))
        held = [(tuple(box), layer) for box, layer in theirs if box[0] < box[2] and box[1] < box[3]]
        assert crop_boxes(size, 6, overlap_ratio) == held
        if min(size) < 7:
            assert len(held) < len(theirs)


@pytest.mark.parametrize("size", [(40, 6), (5, 5), (1, 2)])
def test_crop_layers_look_into_small_and_thin_images_where_the_reference_crashes(size, pool):
    config = MaskConfig(
        points_per_side=8, crop_n_layers=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, crop_nms_thresh=1.0
    )
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    with pytest.raises((ZeroDivisionError, ValueError)):
        reference(digits_sam("sam"), config, image)
    (whole,), (found,) = (
        ours(digits_sam("sam"), replace(config, crop_n_layers=layers), [image], pool) for layers in (0, 2)
    )
    assert len({mask.crop_box for mask in found}) > 1
    assert {mask.rle for mask in whole} <= {mask.rle for mask in found}


def test_a_crop_layer_without_survivors_gives_none_where_the_reference_crashes(pool):
    config = MaskConfig(points_per_side=4, crop_n_layers=1, pred_iou_thresh=2.0)
    net, image = digits_sam("sam"), picture(96, 96)
    with pytest.raises(IndexError):
        reference(net, config, image)
    assert ours(net, config, [image], pool) == [[]]


def test_scores_that_are_no_numbers_are_a_fault_of_the_image(pool):
    net = tiny_sam("sam")
    with torch.no_grad():
        net.mask_decoder.iou_prediction_head.proj_out.bias.fill_(float("nan"))
    with pytest.raises(ArithmeticError, match="not finite; try `precision` float32"):
        ours(net, MaskConfig(points_per_side=4), [picture(64, 64)], pool)


@pytest.mark.parametrize("kind", ["sam2", "edgetam", "sam3_tracker"])
@pytest.mark.parametrize("size", [(96, 128), (128, 96)])
def test_squashing_models_look_into_every_quarter_of_an_image_that_is_no_square(kind, size, pool):
    height, width = size
    config = MaskConfig(
        points_per_side=16, **thresholds(kind) | {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.8}
    )
    (masks,) = ours(digits_sam(kind), config, [picture(height, width)], pool)
    points = np.array([mask.point_xy for mask in masks])
    boxes = np.array([mask.box_inclusive for mask in masks])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    for places in (points, middle):
        in_quarter = {(x > width / 2, y > height / 2) for x, y in places}
        assert len(in_quarter) == 4
    grid = point_grid(16) * (width, height)
    assert grid[:, 1].max() > 0.95 * height
    assert {tuple(p) for p in points.round(3)} <= {tuple(p) for p in grid.round(3)}


@pytest.mark.parametrize("min_area", [15, 400])
def test_small_holes_and_islands_go_as_in_the_reference(min_area, pool):
    pytest.importorskip("cv2")
    config = MaskConfig(points_per_side=12, min_mask_region_area=min_area, **thresholds("sam"))
    net, image = digits_sam("sam"), picture(200, 200)
    theirs = reference(net, config, image)
    (mine,) = ours(net, config, [image], pool)
    (untouched,) = ours(net, replace(config, min_mask_region_area=0), [image], pool)
    assert_same(mine, theirs, (200, 200))
    assert {mask.area_px for mask in mine} != {mask.area_px for mask in untouched}
