"""What only a real GPU shows of its kernels: launches from two threads, and that training takes their views."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.runs import small_config

from samclr.config.normalisation import Normalisation
from samclr.runs.directory import read_metrics
from samclr.training.pretrain import pretrain
from samclr.views import gpu
from samclr.views.augment import augment
from samclr.views.crop import ViewCropper
from samclr.views.data import prepare_data
from samclr.views.loader import ViewLoader
from samclr.views.placement import open_cropper

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("place", ["device", "pinned"])
def test_views_equal_the_cpus(scenes, place):
    config = small_config(scenes, None, "simclr", steps=6)
    data = prepare_data(config)
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    cropper, note = open_cropper(data.bank, device, place, 1)
    assert place == "device" or "pinned" in note
    odd = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    loaders = [ViewLoader(data.planner, way, range(6)) for way in (ViewCropper(data.bank), cropper)]
    for (plan, (expected,)), (_, (found,)) in zip(*loaders, strict=True):
        assert found.device == device
        assert (found.cpu().int() - expected.int()).abs().max() <= 1
        drawn = plan.groups[0].augment
        torch.testing.assert_close(
            augment(expected.to(device), drawn, odd).cpu(), augment(expected, drawn, odd), rtol=0, atol=1e-4
        )


def test_training_does_not_depend_on_where_the_bank_lies(scenes, tmp_path):
    config = small_config(scenes, None, "simclr", steps=3)
    losses = []
    for place in ("device", "map"):
        runtime = replace(config.runtime, device="cuda", bank_on=place)
        pretrain(replace(config, runtime=runtime), tmp_path / place)
        losses.append(read_metrics(tmp_path / place)[0]["loss"])
    assert np.isfinite(losses).all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_pinned_bank_gives_its_memory_back(scenes, monkeypatch):
    """Memory that stays registered cannot be pinned by whoever has it next."""
    bank, given_back = prepare_data(small_config(scenes, None, "simclr", steps=6)).bank, []
    unregister = gpu.unregister
    monkeypatch.setattr(gpu, "unregister", lambda place: given_back.append((place, unregister(place))))
    cropper, _ = open_cropper(bank, torch.device("cuda"), "pinned", 1)
    place = cropper._pixels.data_ptr()
    del cropper
    assert given_back == [(place, None)]


@pytest.mark.parametrize("size", [8, 20, 24, 32, 40, 48, 64, 84, 96, 98, 100, 112, 126, 128, 160, 182, 192, 224, 256])
def test_views_of_every_size_equal_the_cpus(size):
    assert gpu.views_differ(torch.device("cuda"), size, size) < 1e-4
    assert gpu.views_differ(torch.device("cuda"), size, size + 3) < 1e-4
