"""What is measured: targets by their name."""

import shutil
from pathlib import Path

import pytest
import torch

import samclr
from samclr.config.evaluation import TargetConfig
from samclr.evaluation.targets import open_target
from samclr.models.backbone import create_backbone
from samclr.runs.before_after import BeforeAfter, keep_weights
from samclr.runs.card import model_card
from samclr.runs.loading import Loading
from samclr.runs.results import Result, Score, add_results
from samclr.runs.saved import load_config

RUN = Path(__file__).parents[2] / "formats" / "0.1" / "run"  # of two steps


def test_an_untrained_backbone_seeds_nothing_of_the_caller():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    target = open_target("small-cnn", TargetConfig(), untrained=True, seed=3)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(3)  # as it was seeded before
    again = open_target("small-cnn", TargetConfig(), untrained=True, seed=3)
    for one, other in zip(target.backbone.parameters(), again.backbone.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("which", "step"), [(None, 2), ("student", 2), ("best", 1), ("start", 0)])
def test_a_result_has_the_steps_of_its_own_weights(tmp_path, which, step):
    """And so has the card's line: the best step is before the run's end."""
    run = Path(shutil.copytree(RUN, tmp_path / "run"))
    config = load_config(run)
    BeforeAfter(settings="", chosen_by="top-1", best_step=1).write(run)
    for name, number in (("best", 1), ("start", 0)):
        keep_weights(run, name, number, create_backbone(config.model, 24).state_dict())
    target = open_target(str(run), TargetConfig(), untrained=False, seed=None, which=which)
    identity = target.identity()
    assert identity["step"] == step
    common = {"protocol": "knn", "on": "shades", "source": "", "settings": {}, "counts": {}}
    result = Result(**identity, **common, scores={"top1": Score(value=0.5, n=2)})
    add_results(run / "results.json", [result], {}, target.source, target.which)
    card = model_card(run, config, samclr.load_backbone(run, which), Loading(line="", example=(), library="timm"))
    assert f"| shades | trained, step {step:,} |" in card


def test_an_untrained_backbone_may_be_built_for_a_size():
    target = open_target("gmlp_ti16_224", TargetConfig(input_px=64), untrained=True, seed=None, image_px=64)
    assert target.model.input_px == 64
    assert target.backbone(torch.zeros(1, 3, 64, 64)).shape == (1, 128)


def test_a_backbone_that_is_loaded_or_exported_seeds_nothing_of_the_caller(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    samclr.export(RUN, tmp_path / "a.safetensors")
    samclr.load_backbone(RUN)
    samclr.load_backbone(tmp_path / "a.safetensors")
    assert torch.equal(torch.rand(3), expected)
