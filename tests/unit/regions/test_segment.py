"""What the job says of its segmenter."""

import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from support.scenes import write_scenes

import samclr
from samclr.config.sam import ComputeConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.regions import segment
from samclr.regions.sam.catalogue import SHIPPED
from samclr.regions.segment import segment_scenes, told
from samclr.scenes.fill import FillOptions


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


def test_an_image_that_needs_more_memory_than_the_machine_has_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr("samclr.processes.memory_share.machine_memory", lambda: 2**30)
    write_scenes(tmp_path / "scenes", 2)
    Image.new("RGB", (2500, 2000)).save(tmp_path / "scenes" / "large.png")
    refs = list_scenes([tmp_path / "scenes"])
    _, report = segment_scenes(refs, SegmenterConfig(), tmp_path / "store", FillOptions())
    (message,) = report.errors.values()
    needs = "felzenszwalb at 2500x2000 px would take about 1.75 GB of memory, here at most 0.54 GB"
    assert message == f"{needs}; make the image smaller, or name another segmenter"
