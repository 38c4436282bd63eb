"""The recipe that continues trained weights, from its refusal to the sentence on what was gained."""

import pytest
import torch
from safetensors.torch import save_file
from support.command import SMALL_FLAGS
from support.scenes import write_labelled

import samclr
from samclr.config.pretrain import ModelConfig
from samclr.models.backbone import create_backbone
from samclr.runs.directory import read_metrics


@pytest.fixture
def adapted(scenes, tmp_path, here):
    """The words of a run, and the weights that it begins with."""
    torch.manual_seed(7)
    weights = create_backbone(ModelConfig(backbone="small-cnn")).state_dict()
    save_file(weights, tmp_path / "start.safetensors")
    assert here("segment", scenes, "--out", tmp_path / "store").returncode == 0
    words = ["pretrain", "adapt", "--scenes", scenes, "--regions", tmp_path / "store", "--out", tmp_path / "run"]
    words += [*SMALL_FLAGS, "--global-batch-size", 8, "--steps", 3, "--projector-hidden", 32]
    return [*words, "--head-warmup-steps", 1, "--warmup-steps", 1], weights


def test_without_weights_it_is_refused(adapted, here):
    done = here(*adapted[0])
    assert done.returncode != 0
    assert done.stderr.endswith("samclr: error: adapt continues trained weights; name them with --pretrained\n")


def test_what_it_gained_over_its_start_is_the_reports_first_sentence(adapted, tmp_path, here):
    words, weights = adapted
    done = here(*words, "--pretrained", tmp_path / "start.safetensors")
    assert done.returncode == 0, done.stderr
    assert "anchor_feature" in read_metrics(tmp_path / "run")[-1]
    other = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    save_file(other, tmp_path / "start.safetensors")  # the anchor holds what the run began with
    start = samclr.load_backbone(tmp_path / "run", which="start").state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in weights.items())
    ended = samclr.load_backbone(tmp_path / "run").state_dict()
    statistics = [name for name in weights if "running" in name]
    assert statistics
    assert all(torch.equal(ended[name], weights[name]) for name in statistics)  # frozen
    assert not all(torch.equal(ended[name], tensor) for name, tensor in weights.items())
    measure = "--on", write_labelled(tmp_path / "labelled"), "--image-px", 24, "--device", "cpu"
    for which in ((), ("--which", "start")):
        done = here("evaluate", tmp_path / "run", *measure, *which)
        assert done.returncode == 0, done.stderr
        here("report", tmp_path / "run")
        page = (tmp_path / "run" / "report.html").read_text()
        if not which:
            assert "The weights that it began with were not measured on labelled" in page
            assert "--which start" in page
    assert "its start" in page
    assert "were not measured on" not in page
