"""Gradients and states of several ranks, and of micro-batches, equal those of one rank on the joined batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from many_ranks import METHODS, train

SCRIPT = Path(__file__).parents[1] / "many_ranks.py"


def in_process(name: str, out: Path, ranks: int, micro: int = 0) -> dict[str, torch.Tensor]:
    """Run the script on so many ranks of this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*command, str(SCRIPT), name, str(out), str(micro)],
        capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out)


def one_rank(name: str, micro: int | None = None, dropout: float = 0.0) -> dict[str, torch.Tensor]:
    try:
        return train(name, micro, dropout)
    finally:
        torch.set_default_dtype(torch.float32)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert sum(key.startswith("gradient") for key in found) >= 8
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", list(METHODS))
def test_two_ranks_equal_one(name, tmp_path):
    found = in_process(name, tmp_path / "found.pt", 2)
    assert found["spread over ranks"] == 0
    assert_equal(found, one_rank(name))


@pytest.mark.parametrize("name", ["simclr", "moco", "dino"])
def test_four_ranks_in_micro_batches_equal_one(name, tmp_path):
    found = in_process(name, tmp_path / "found.pt", 4, micro=1)
    assert found["spread over ranks"] == 0
    assert_equal(found, one_rank(name))


@pytest.mark.parametrize("micro", [2, 3, 8])
@pytest.mark.parametrize("name", list(METHODS))
def test_micro_batches_have_the_whole_batchs_gradient(name, micro):
    assert_equal(one_rank(name, micro), one_rank(name))


@pytest.mark.parametrize("name", ["simclr", "dino"])
def test_random_layers_draw_the_same_in_both_passes(name):
    """With dropout, the gradient is that of the very masks which the loss saw: checked by a finite difference."""
    gradients = one_rank(name, 2, dropout=0.3)
    again = one_rank(name, 2, dropout=0.3)
    assert_equal(gradients, again)
