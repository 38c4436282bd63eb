"""Backbones whose layers share parameters, as CoaT's do, in the files that a run and its export are."""

import torch
from safetensors.torch import load
from torch import nn

from samclr.runs.before_after import keep_weights, kept_weights
from samclr.runs.export import weights_bytes


def test_weights_that_share_memory_are_written_by_each_of_their_names(tmp_path):
    layer, table = nn.Linear(4, 3), torch.arange(12.0)
    backbone = nn.Sequential(layer, nn.ReLU(), layer)
    backbone.register_buffer("first", table[:8])
    backbone.register_buffer("last", table[4:])
    expected = backbone.state_dict()
    keep_weights(tmp_path, "start", 0, expected)
    for found in (load(weights_bytes(backbone, {"format": "pt"})), kept_weights(tmp_path, "start")):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
