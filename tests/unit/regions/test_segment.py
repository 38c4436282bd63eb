"""What the job says of its segmenter."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

import samclr
from samclr.config.sam import ComputeConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.regions import segment
from samclr.regions.sam.catalogue import SHIPPED
from samclr.regions.segment import told


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            SegmenterConfig(),
            "felzenszwalb (the default: needs no model and no GPU; a SAM finds whole objects)",
        ),
        (SegmenterConfig(segmenter="labels"), "labels (ground truth: --labels DIR)"),
        (SegmenterConfig(segmenter="sam-digits", compute=ComputeConfig(device="cpu")), "sam-digits on cpu"),
    ],
)
def test_the_segmenter_and_why_it_is_this_one(config, text):
    assert told(config) == text


def test_segment_says_it_first(scenes, tmp_path, call):
    status, _, said = call("segment", scenes, "--out", tmp_path / "store", "--workers", 1)
    assert status == 0
    assert said.splitlines()[0].startswith("segmenter: felzenszwalb (the default: needs no model and no GPU")


def test_a_model_that_was_changed_is_loaded_again(scenes, tmp_path):
    model = tmp_path / "sam"
    shutil.copytree(SHIPPED, model)
    options = {"segmenter": str(model), "points_per_side": 4, "pred_iou_thresh": 0.1, "workers": 1, "device": "cpu"}
    before = samclr.segment(scenes / "a", out=tmp_path / "before", **options)
    assert segment._loaded.cache_info().currsize == 0  # and holds no memory of the device
    weights = load_file(model / "model.safetensors")
    mask_token = "mask_decoder.mask_tokens.weight"
    save_file(weights | {mask_token: -weights[mask_token]}, model / "model.safetensors", {"format": "pt"})
    after = samclr.segment(scenes / "a", out=tmp_path / "after", **options)
    assert after.maker["weights"] != before.maker["weights"]
    assert any(before[one].regions != after[one].regions for one in before)
