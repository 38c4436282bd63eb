"""Files for Detectron2 and mmdetection: their names of tensors, the same features, the scale of the mean."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from support.runs import small_config

import samclr
from samclr.config.pretrain import ModelConfig, PretrainConfig, ViewsConfig
from samclr.errors import RunError, UsageError
from samclr.models.backbone import create_backbone
from samclr.runs.detector_layouts import check_detector_layout, detectron2_name
from samclr.runs.saved import load_config
from samclr.training.pretrain import pretrain


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "scenes").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"scenes/{number}.png")
    config = replace(small_config(folder / "scenes", recipe="simclr", steps=1), views=ViewsConfig(strategy="image"))
    config = replace(config, group=replace(config.group, size_px=32))
    model = ModelConfig(backbone="resnet18", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    pretrain(replace(config, model=model), folder / "resnet18")
    return folder


def by_detectron2(weights, pixels):
    """Detectron2's ResNet-18 (BasicStem and BasicBlock of its modeling/backbone/resnet.py), by its names alone."""

    def conv(x, name, stride, padding):
        x = F.conv2d(x, torch.from_numpy(weights[f"{name}.weight"]), stride=stride, padding=padding)
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(torch.from_numpy(weights[f"{name}.norm.{part}"]) for part in parts))

    x = F.max_pool2d(conv(pixels, "stem.conv1", 2, 3).relu(), 3, 2, 1)
    for stage in (2, 3, 4, 5):
        for block in (0, 1):
            name, stride = f"res{stage}.{block}", 2 if stage > 2 and block == 0 else 1
            way = conv(conv(x, f"{name}.conv1", stride, 1).relu(), f"{name}.conv2", 1, 1)
            if f"{name}.shortcut.weight" in weights:
                x = conv(x, f"{name}.shortcut", stride, 0)
            x = (way + x).relu()
    return x


def test_detectron2_computes_our_maps(runs, tmp_path):
    written = samclr.export(runs / "resnet18", tmp_path / "b.pkl", layout="detectron2")
    saved = pickle.loads(written.read_bytes())
    assert (saved["matching_heuristics"], saved["__author__"].split()[0]) == (True, "samclr")
    assert all(isinstance(array, np.ndarray) for array in saved["model"].values())
    backbone, pixels = samclr.load_backbone(runs / "resnet18"), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(by_detectron2(saved["model"], pixels), backbone.forward_features(pixels))
    card = (tmp_path / "b.pkl.md").read_text()
    assert "cfg.MODEL.PIXEL_MEAN = [102.0, 127.5, 153.0]  # of values from 0 to 255" in card
    assert "cfg.MODEL.PIXEL_STD = [51.0, 63.75, 76.5]" in card
    assert "RES2_OUT_CHANNELS = 64" in card
    assert 'cfg.INPUT.FORMAT = "RGB"' in card


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_names_are_those_of_detectron2s_own_script(name):
    """tools/convert-torchvision-to-d2.py, by its rules: replacements in the order in which they stand there."""
    with torch.device("meta"):
        names = list(create_backbone(ModelConfig(backbone=name)).state_dict())
    for ours in names:
        theirs = ours if "layer" in ours else f"stem.{ours}"
        for number in (1, 2, 3, 4):
            theirs = theirs.replace(f"layer{number}", f"res{number + 1}")
        for number in (1, 2, 3):
            theirs = theirs.replace(f"bn{number}", f"conv{number}.norm")
        theirs = theirs.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        assert detectron2_name(ours) == theirs


def test_mmdetection_gets_torchvisions_names(runs, tmp_path):
    written = samclr.export(runs / "resnet18", tmp_path / "b.pth", layout="mmdet")
    state = torch.load(written, weights_only=True)
    theirs = torchvision.models.resnet18()
    missing, unknown = theirs.load_state_dict(state, strict=False)
    assert (sorted(missing), unknown) == (["fc.bias", "fc.weight"], [])
    card = (tmp_path / "b.pth.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {}
    exec(program, names)
    model = names["model"]
    assert model["backbone"]["init_cfg"] == {"type": "Pretrained", "checkpoint": "b.pth"}
    assert model["data_preprocessor"] == {
        "mean": [102.0, 127.5, 153.0], "std": [51.0, 63.75, 76.5], "bgr_to_rgb": True,
    }  # fmt: skip
    assert model["neck"]["in_channels"] == [64, 128, 256, 512]
    assert len(program.splitlines()) <= 14


@pytest.mark.parametrize("layout", ["detectron2", "mmdet"])
def test_other_backbones_are_refused(runs, tmp_path, layout):
    for model, text in (
        (
            ModelConfig(backbone="vit_tiny_patch16_224"),
            "has no vit_tiny_patch16_224 with stem standard; expected",
        ),
        (ModelConfig(backbone="resnet18", stem="conv3x3-stride1"), "has no resnet18 with stem conv3x3-stride1"),
        (ModelConfig(backbone="resnet18", model_args=("layers=(2,2,2,3)",)), "with stem standard and `model_args`"),
    ):
        with pytest.raises(RunError, match=f"{layout} .*{text}"):
            check_detector_layout(layout, PretrainConfig(model=model))
    with pytest.raises(UsageError, match="end it with"):
        samclr.export(runs / "resnet18", tmp_path / "b.bin", layout=layout)


def test_the_command_says_the_line(runs, tmp_path, call):
    status, out, _ = call("export", runs / "resnet18", "--out", tmp_path / "b.pkl", "--layout", "detectron2")
    assert status == 0
    assert out.startswith(f'cfg.MODEL.WEIGHTS = "{tmp_path}/b.pkl"  # all lines of configuration')


def test_a_tag_names_weights_and_no_other_model(runs, tmp_path):
    config = load_config(runs / "resnet18")
    pretrain(replace(config, model=replace(config.model, backbone="resnet18.a1_in1k")), tmp_path / "tagged")
    for layout, name in (("detectron2", "a.pkl"), ("mmdet", "a.pth"), ("torchvision", "a.safetensors")):
        samclr.export(tmp_path / "tagged", tmp_path / name, layout=layout)
    assert "backbone = torchvision.models.resnet18()" in (tmp_path / "a.safetensors.md").read_text()
    assert "DEPTH = 18" in (tmp_path / "a.pkl.md").read_text()
