"""Gradients and states of several ranks, and of micro-batches, equal those of one rank on the joined batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.many_ranks import METHODS, batch_of, config_of, is_of_vit, plain_method, train

from samclr.training.devices import create_fabric, set_up
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer

SCRIPT = Path(__file__).parents[1] / "support/many_ranks.py"


def on_ranks(names: list[str], out: Path, ranks: int, micro: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """Run the script on so many ranks of this machine, all methods in one launch."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    path = os.pathsep.join(filter(None, (str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, str(SCRIPT), str(out), str(micro), *names],
        capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


def one_rank(name: str, micro: int | None = None) -> dict[str, torch.Tensor]:
    try:
        return train(name, micro)
    finally:
        torch.set_default_dtype(torch.float32)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert sum(key.startswith("gradient") for key in found) >= 8
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(("ranks", "micro"), [(2, 0), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_ranks_equal_one(ranks, micro, tmp_path):
    for name, found in on_ranks(list(METHODS), tmp_path / "found.pt", ranks, micro).items():
        assert found["spread over ranks"] == 0, name
        assert_equal(found, one_rank(name))


@pytest.mark.parametrize("micro", [2, 3, 8])
@pytest.mark.parametrize("name", list(METHODS))
def test_micro_batches_have_the_whole_batchs_gradient(name, micro):
    assert_equal(one_rank(name, micro), one_rank(name))


RANDOM_LAYERS = ["simclr", "moco", "dino", "byol", "simsiam", "detcon-momentum", "dino-terms", "moco-anchor"]


@pytest.mark.parametrize("name", RANDOM_LAYERS)
def test_random_layers_draw_the_same_in_both_passes(name):
    """With dropout: the gradient of the parts encoded in one graph, in the same order of draws."""
    torch.set_default_dtype(torch.float64)
    try:
        config, batch = config_of(name, 3), batch_of(0, name)
        fabric = create_fabric(config)
        method = plain_method(config, 0.3, is_of_vit(name))
        whole = (batch.pixels, *method.regions_of(batch))
        parts = [[tuple(group[first : first + 3] for group in groups) for groups in whole] for first in range(0, 8, 3)]
        torch.manual_seed(1)
        targets = [method.targets(pixels, 0, *seen) for pixels, *seen in parts]
        embedded = [method.embed(pixels, 0, *seen) for pixels, *seen in parts]
        joined = [tuple(map(torch.cat, zip(*tensors, strict=True))) for tensors in (embedded, targets)]
        method.contrast(*joined, batch).loss.backward()
        expected = [(p, p.grad.clone()) for p in method.parameters() if p.grad is not None]
        wrapped, _ = set_up(fabric, method, create_optimizer(method, config.optim), config.runtime)
        method.zero_grad()
        torch.manual_seed(1)
        backward(fabric, wrapped, batch, 3)
        for parameter, gradient in expected:
            torch.testing.assert_close(parameter.grad, gradient)
    finally:
        torch.set_default_dtype(torch.float32)
