"""NT-Xent against a naive loop in float64 and against lightly."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss

from samclr.methods.losses import embedding_spread, nt_xent


def naive(embeddings, temperature):
    """The definition, anchor by anchor."""
    unit = [[v / v.norm() for v in row] for row in embeddings.double()]
    flat = [(row, view) for row in range(len(unit)) for view in range(len(unit[0]))]
    total = 0.0
    for row, view in flat:
        anchor = unit[row][view]
        others = [(r, v) for r, v in flat if (r, v) != (row, view)]
        log_sum = math.log(sum(math.exp(float(anchor @ unit[r][v]) / temperature) for r, v in others))
        positives = [float(anchor @ unit[r][v]) / temperature for r, v in others if r == row]
        total += sum(log_sum - p for p in positives) / len(positives)
    return total / len(flat)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 0.5])
@pytest.mark.parametrize("views", [2, 3])
def test_equals_the_naive_loop(temperature, views):
    torch.manual_seed(0)
    embeddings = torch.randn(7, views, 5) * 3
    assert float(nt_xent(embeddings, temperature)) == pytest.approx(naive(embeddings, temperature), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_lightlys_with_its_gradient(temperature):
    torch.manual_seed(1)
    ours = torch.randn(32, 2, 16, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    loss, other = nt_xent(ours, temperature), NTXentLoss(temperature)(theirs[:, 0], theirs[:, 1])
    loss.backward()
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_half_precision_is_computed_in_float32():
    embeddings = torch.randn(8, 2, 16)
    loss = nt_xent(embeddings.bfloat16(), 0.07)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_equal_embeddings_give_the_loss_of_chance():
    assert float(nt_xent(torch.ones(16, 2, 4), 0.2)) == pytest.approx(math.log(31), rel=1e-5)


def test_spread_is_one_on_the_sphere_and_zero_when_collapsed():
    torch.manual_seed(0)
    assert float(embedding_spread(torch.randn(4000, 32))) == pytest.approx(1.0, abs=0.02)
    assert float(embedding_spread(torch.ones(10, 32))) < 1e-5
