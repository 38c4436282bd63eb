"""Training on a real GPU: every method in every precision, micro-batches, resuming, compiling; features and masks."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from sklearn.datasets import load_digits
from support.runs import small_config
from support.scenes import write_scenes

from samclr import load_backbone
from samclr.config import ModelConfig
from samclr.config.registry import METHODS
from samclr.config.sam import MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.demo.scenes import compose_scene
from samclr.regions.sam.generator import MaskGenerator
from samclr.regions.sam.model import load_sam
from samclr.regions.segment import segment_scenes
from samclr.runs.checkpoint import load_checkpoint
from samclr.runs.directory import read_metrics
from samclr.runs.saved import checkpoints
from samclr.scenes.fill import FillOptions
from samclr.training.pretrain import pretrain

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
TOLERANCE = {"float32": 5e-3, "bfloat16": 5e-2, "float16": 2e-2}  # relative, of the first loss: TF32 is 5e-3 at worst


@pytest.fixture(scope="module")
def scenes_and_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    scenes = write_scenes(folder / "scenes", 12, folder / "labels")
    settings = SegmenterConfig(segmenter="labels", labels=folder / "labels", ignore_label=(0,))
    segment_scenes(list_scenes([scenes]), settings, folder / "store", FillOptions())
    return scenes, folder / "store"


def losses_of(config, run, **runtime):
    pretrain(replace(config, runtime=replace(config.runtime, **runtime)), run)
    return np.array([row["loss"] for row in read_metrics(run)])


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_in_every_precision(method, scenes_and_store, tmp_path):
    config = small_config(*scenes_and_store, METHODS[method].recipes[1].config.recipe, steps=3)
    expected = losses_of(config, tmp_path / "cpu")
    for precision, tolerance in TOLERANCE.items():
        for micro_batch_size in (None, 5):
            run = tmp_path / f"{precision}-{micro_batch_size}"
            found = losses_of(config, run, device="cuda", precision=precision, micro_batch_size=micro_batch_size)
            assert np.isfinite(found).all()
            if micro_batch_size is None:
                assert found[0] == pytest.approx(expected[0], rel=tolerance, abs=0.02), precision


@pytest.mark.parametrize("recipe", ["simclr", "sammoco", "samdino"])
def test_resuming_continues_on_the_gpu(recipe, scenes_and_store, tmp_path):
    config = small_config(*scenes_and_store, recipe, steps=6)
    whole = losses_of(config, tmp_path / "whole", device="cuda", precision="float16")
    parts = losses_of(config, tmp_path / "parts", device="cuda", precision="float16", checkpoint_every_s=0)
    newest, _ = checkpoints(tmp_path / "parts")
    newest.unlink()
    assert load_checkpoint(tmp_path / "parts")["steps_done"] == 5
    parts = losses_of(config, tmp_path / "parts", device="cuda", precision="float16", checkpoint_every_s=0)
    np.testing.assert_allclose(parts, whole, rtol=1e-2)  # kernels of a GPU add in any order


def test_compiled_steps(scenes_and_store, tmp_path):
    config = small_config(*scenes_and_store, "samclr", steps=2)
    config = replace(config, model=ModelConfig(backbone="resnet18", stem="conv3x3-stride2"))  # no test's shape checks
    plain = losses_of(config, tmp_path / "plain", device="cuda")
    compiled = losses_of(config, tmp_path / "compiled", device="cuda", compile=True)
    assert compiled[0] == pytest.approx(plain[0], rel=5e-3)


def test_features_equal_the_cpus(scenes_and_store, tmp_path):
    config = small_config(*scenes_and_store, "simclr", steps=2)
    losses_of(config, tmp_path / "run", device="cuda")
    backbone = load_backbone(tmp_path / "run")
    pixels = torch.randn(16, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = backbone(pixels)
        found = backbone.cuda()(pixels.cuda()).cpu()
    assert float((found - expected).norm() / expected.norm()) < 2e-3


def test_sams_masks_equal_the_cpus():
    strokes = [digit / 16.0 for digit in load_digits().images[:20]]
    images = [compose_scene(strokes, np.random.default_rng(number))[0] for number in range(4)]
    found = {}
    for device in ("cpu", "cuda"):
        model = load_sam("sam-digits", torch.device(device))
        with ThreadPoolExecutor(2) as pool, torch.inference_mode():
            found[device] = MaskGenerator(model, MaskConfig(points_per_side=8), pool, 10**9).generate(images)
    for image, expected, masks in zip(images, found["cpu"], found["cuda"], strict=True):
        rles = [[{"size": list(image.shape[:2]), "counts": m.rle} for m in some] for some in (expected, masks)]
        assert len(expected) == len(masks) > 0
        assert coco_mask.iou(rles[0], rles[1], [0] * len(rles[1])).max(1).min() > 0.9
