"""The supervised ceiling: which class each region has, and that it is told."""

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from support.runs import small_config

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.demo.ceiling import NO_CLASS, region_classes, train_told
from samclr.demo.data import make_data
from samclr.models.backbone import create_backbone
from samclr.regions.segment import segment_scenes
from samclr.runs.directory import read_json
from samclr.scenes.fill import FillOptions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve scenes and their ground truth as regions: the k-th is of the k-th digit."""
    data = tmp_path_factory.mktemp("data")
    make_data(data, 12)
    labels = SegmenterConfig(segmenter="labels", labels=data / "labels", ignore_label=(0,))
    segment_scenes(list_scenes([data / "scenes"]), labels, data / "store", FillOptions(num_workers=1))
    return data


@pytest.fixture
def config(data):
    return small_config(data / "scenes", data / "store")


def test_a_region_has_the_class_of_its_digit_and_one_of_clutter_has_none(config, data, tmp_path):
    told = read_json(data / "classes.json", {})
    found = region_classes(config, data)
    assert [sorted(found[5 * n : 5 * n + 5]) for n in range(12)] == [sorted(told[f"{n:05d}.png"]) for n in range(12)]
    shutil.copytree(data / "labels", tmp_path / "labels")
    shutil.copy(data / "classes.json", tmp_path)
    Image.new("L", (96, 96)).save(tmp_path / "labels/00000.png")  # after segmenting: no digit is known there any more
    assert region_classes(config, tmp_path).tolist() == [NO_CLASS] * 5 + found[5:].tolist()


def test_it_learns_from_the_classes_alone(config, data):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained = train_told(replace(config, optim=replace(config.optim, steps=3)), data)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(config.seed)
    untrained = create_backbone(config.model, config.group.size_px)
    moved = [not torch.equal(a, b) for a, b in zip(trained.parameters(), untrained.parameters(), strict=True)]
    assert all(moved)
    assert not trained.training
