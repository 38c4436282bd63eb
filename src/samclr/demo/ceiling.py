"""The demo's supervised ceiling: the same backbone, views and steps as the region arm, but told the classes."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import nn

from samclr.config.pretrain import PretrainConfig
from samclr.demo.data import CLASSES_FILE
from samclr.models.backbone import create_backbone, feature_width
from samclr.models.resolve import resolve_config
from samclr.processes.stopping import stop_signals, stopped
from samclr.runs.directory import read_json
from samclr.scenes.images import open_image
from samclr.training.optim import create_optimizer, set_rates
from samclr.views.data import num_workers, open_scenes
from samclr.views.region_views import RegionViews

NUM_CLASSES = 10
NO_CLASS = -100  # of a region without a digit: the loss leaves it out


def train_told(config: PretrainConfig, data: Path) -> nn.Module:
    """The backbone of a run of region views, trained by the cross-entropy of a linear layer on its features instead.

    It begins with the same weights, and sees the same views in the same order.

    Raises:
        Stopped: by SIGTERM or Ctrl-C; nothing is kept.
    """
    config = resolve_config(config, tell=False)
    views = RegionViews.from_config(config)
    classes = torch.from_numpy(np.append(region_classes(config, data), NO_CLASS))  # the last: without regions
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        backbone = create_backbone(config.model, config.group.size_px)
        model = nn.Sequential(backbone, nn.Linear(feature_width(backbone), NUM_CLASSES))
    model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer(model, config.optim)
    with stop_signals() as stop:
        for batch in views:
            set_rates(optimizer, batch.step, len(views), config.optim)
            pixels = batch.pixels[0]
            told = classes[batch.region_index].repeat_interleave(pixels.shape[1])
            loss = F.cross_entropy(model(pixels.flatten(0, 1)), told, ignore_index=NO_CLASS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if stop.is_set():
                raise stopped("stopped; rerun the same command to resume")
    return backbone.eval()


def region_classes(config: PretrainConfig, data: Path) -> Int[np.ndarray, "r"]:
    """The class of each region that the filter keeps: that of the digit with most ink in its box, else NO_CLASS."""
    bank, regions = open_scenes(config.data, config.filter, num_workers(config))
    assert regions is not None, "the ceiling is that of an arm with regions"
    digits: dict[str, list[int]] = read_json(data / CLASSES_FILE, {})
    found = np.full(len(regions.area_px), NO_CLASS)
    for image, (image_id, _) in enumerate(bank.names()):
        with open_image(data / "labels" / image_id) as opened:
            labels = np.asarray(opened)
        for region in range(regions.start[image], regions.start[image + 1]):
            x0, y0, x1, y1 = regions.mask_box_xyxy[region]
            ink = np.bincount(labels[y0:y1, x0:x1].reshape(-1), minlength=2)[1:]
            if ink.any():
                found[region] = digits[image_id][int(ink.argmax())]
    return found
