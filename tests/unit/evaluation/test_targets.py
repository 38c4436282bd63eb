"""What is measured: targets by their name."""

import torch

from samclr.config.evaluation import TargetConfig
from samclr.evaluation.targets import open_target


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
