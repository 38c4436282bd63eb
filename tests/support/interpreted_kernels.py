"""The GPU kernels against the CPU's, in Triton's interpreter; test_gpu_kernels.py runs this in a process of its own.

The interpreter must be switched on (TRITON_INTERPRET=1) before Triton is imported. It works on tensors of the CPU.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from samclr.bank.bank import SceneBank, pack_scenes
from samclr.config.normalisation import Normalisation
from samclr.config.pretrain import AugmentConfig, ViewGroup, ViewsConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import RunError
from samclr.regions.index import RegionIndex
from samclr.scenes.fill import FillOptions
from samclr.views import gpu, placement
from samclr.views.augment import augment_batched, augment_on_cpu
from samclr.views.crop import ViewCropper, levels_for
from samclr.views.gpu import GpuCropper, augment_on_gpu
from samclr.views.loader import ViewLoader
from samclr.views.plan import AugmentDraws, ViewPlanner
from support.scenes import box_scene

ODD = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
CPU = torch.device("cpu")
SIZES = [(100, 90), (20, 90), (1, 1), (37, 53)]


@pytest.fixture(params=[None, 60])
def bank(tmp_path, request):
    (tmp_path / "scenes").mkdir()
    for number, (width, height) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scenes" / f"{number}.png")
    refs = list_scenes([tmp_path / "scenes"])
    pack_scenes(refs, tmp_path / "bank", request.param, FillOptions())
    return SceneBank(tmp_path / "bank", refs)


@pytest.mark.parametrize("size_px", [8, 18])
def test_crops_equal_the_cpus(bank, size_px):
    """Of all levels, enlarged and shrunk, whole images and single pixels; float32 rounding moves few values by one."""
    random = np.random.default_rng(0)
    images = np.arange(8) % len(SIZES)
    boxes = []
    for row, image in enumerate(images):
        height, width = bank.native_hw[image]
        h, w = (max(int(side * (0.5 if row < 4 else random.uniform(0.05, 1))), 1) for side in (height, width))
        x, y = random.integers(0, width - w + 1), random.integers(0, height - h + 1)
        boxes.append([[x, y, x + w, y + h], [0, 0, width, height]])
    boxes = np.array(boxes)
    if size_px == 8 and bank.bank_hw[0].tolist() == [90, 100]:
        sides = (boxes[..., 2:] - boxes[..., :2]).min(-1).reshape(-1)
        assert set(levels_for(sides / size_px)) == {0, 1, 2, 3}
    expected = ViewCropper(bank).crop(images, boxes, size_px).astype(int)
    found = GpuCropper(bank, CPU).crop(images, boxes, size_px)
    assert found.shape == (8, 2, 3, size_px, size_px)
    difference = np.abs(found.numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


@pytest.mark.parametrize("size", [(11, 11), (3, 7), (1, 1)])
def test_augmentation_equals_the_cpus(size):
    random, b = np.random.default_rng(0), (24, 2)
    jitter = random.random(b) < 0.8
    factors = [np.where(jitter, random.uniform(0.2, 1.8, b), 1) for _ in range(3)]
    drawn = AugmentDraws(
        flip=random.random(b) < 0.5,
        jitter=jitter,
        jitter_order=np.arange(48).reshape(b) % 24,
        brightness=factors[0],
        contrast=factors[1],
        saturation=factors[2],
        hue=np.where(jitter, random.uniform(-0.5, 0.5, b), 0),
        grey=random.random(b) < 0.2,
        blur_sigma=np.where(random.random(b) < 0.5, random.uniform(0.1, 2, b), 0),
        solarise=random.random(b) < 0.3,
    )
    pixels = torch.randint(0, 256, (*b, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = augment_on_gpu(pixels, drawn, ODD)
    torch.testing.assert_close(found, augment_on_cpu(pixels, drawn, ODD), rtol=0, atol=2e-5)
    torch.testing.assert_close(found, augment_batched(pixels, drawn, ODD), rtol=0, atol=2e-5)


def test_the_loader_takes_either_cropper(tmp_path):
    """Backgrounds are mixed on the device too."""
    (tmp_path / "scenes").mkdir()
    for number in range(4):
        Image.fromarray(box_scene(number)[0]).save(tmp_path / "scenes" / f"{number}.png")
    refs = list_scenes([tmp_path / "scenes"])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    boxes = np.tile(np.array([[4, 4, 40, 40]], np.int32), (4, 1))
    grid = np.zeros((4, 32, 32), np.uint8)
    grid[:, :16] = 255
    regions = RegionIndex(
        start=np.arange(5), box_xyxy=boxes, mask_box_xyxy=boxes, area_px=np.full(4, 500), grid=grid, segment_errors=0
    )
    planner = ViewPlanner(
        image_hw=bank.native_hw, regions=regions, seed=0, images_per_step=4,
        views=ViewsConfig(background_mix_prob=0.5), groups=(ViewGroup(size_px=12),), augment=AugmentConfig(),
    )  # fmt: skip
    views = []
    for cropper in (ViewCropper(bank), GpuCropper(bank, CPU)):
        ((plan, (crops,)),) = ViewLoader(planner, cropper, range(1))
        assert plan.counts["mixed_backgrounds"] > 0
        views.append(crops.int())
    assert (views[0] - views[1]).abs().max() <= 1


def test_auto_takes_the_gpu_if_half_of_its_free_memory_is_enough(bank, monkeypatch):
    monkeypatch.setattr(placement, "kernels_missing", lambda device: None)
    size = sum(len(part) for part in bank.parts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size, 8 * size))
    cropper, note = placement.open_cropper(bank, CPU, "auto", 3)
    assert isinstance(cropper, GpuCropper)
    assert note == f"bank: {size / 1e9:.2f} GB on cpu"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size - 2, 8 * size))
    cropper, _ = placement.open_cropper(bank, CPU, "auto", 3)
    assert isinstance(cropper, ViewCropper)
    assert isinstance(placement.open_cropper(bank, CPU, "device", 3)[0], GpuCropper)


def test_a_size_whose_views_are_wrong_is_made_otherwise_and_said(monkeypatch, caplog):
    """ptxas 12.8 made wrong code of a blur at 24 px; the kernel was right."""
    assert gpu.views_differ(CPU, 12, 10) < 2e-5
    assert placement.kernels_agree(CPU, 12, 10)
    monkeypatch.setattr(gpu, "augment_on_gpu", lambda pixels, drawn: augment_on_cpu(pixels, drawn) + 0.1)
    assert not placement.kernels_agree(CPU, 12, 11)
    assert "views of 12x11 px made by samclr's kernels on cpu differ from the CPU's by up to 0.1" in caplog.text


def test_crops_that_are_not_the_cpus_are_refused(bank, monkeypatch):
    cropper, crop = GpuCropper(bank, CPU), ViewCropper.crop
    boxes = np.tile(np.array([0, 0, 1, 1]), (4, 2, 1))
    monkeypatch.setattr(ViewCropper, "crop", lambda *given: crop(*given) // 2)
    with pytest.raises(RunError, match=r"crops of 8 px made on cpu differ from the CPU's by .* give .bank_on. map"):
        cropper.crop(np.arange(4), boxes, 8)
