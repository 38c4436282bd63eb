"""NT-Xent against a naive loop in float64 and against lightly; memory, gradients and compilation of all losses."""

import inspect
import math
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from support.batches import random_batch
from support.losses import cases
from support.peak_memory import peak_bytes
from torch import Tensor

from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import ModelConfig, PretrainConfig
from samclr.config.registry import METHODS
from samclr.errors import ConfigError
from samclr.methods.create import create_method
from samclr.methods.loss_arguments import expect_views
from samclr.methods.losses import (
    centered_shares,
    cross_correlation,
    embedding_spread,
    negative_cosine,
    nt_xent,
    queue_contrast,
    region_contrast,
    self_distillation,
    sinkhorn_shares,
    variance_invariance_covariance,
)
from samclr.methods.metrics import pair_metrics
from samclr.methods.patch_losses import feature_distance, gram_distance, shares_cross_entropy


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


def test_a_query_without_negatives_has_a_term_and_a_gradient_of_zero():
    torch.manual_seed(2)
    queries, keys, queue = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8), F.normalize(torch.randn(5, 8))
    left_out = torch.zeros(3, 5, dtype=torch.bool)
    left_out[0] = True
    loss = queue_contrast(queries, keys, queue, 0.1, left_out)
    others = queue_contrast(queries[1:], keys[1:], queue, 0.1) * 2 / 3
    assert loss.item() == pytest.approx(others.item(), rel=1e-5)
    gradients = [torch.autograd.grad(of, queries)[0] for of in (loss, others)]
    assert torch.allclose(*gradients, atol=1e-6)
    assert (gradients[0][0] == 0).all()


@pytest.mark.parametrize("number", range(7))
def test_memory_stays_under_three_times_the_logits(number):
    loss, embeddings, rest, num_logits = cases(256)[number]
    embeddings = embeddings.clone().requires_grad_()

    def step():
        embeddings.grad = None
        loss(embeddings, *rest).backward()

    step()
    assert 1 < peak_bytes(step) / (4 * num_logits) <= 3


@pytest.mark.parametrize("number", range(7))
def test_gradients_are_those_of_finite_differences(number):
    loss, embeddings, rest, _ = cases(3, torch.float64)[number]
    assert torch.autograd.gradcheck(lambda x: loss(x, *rest), embeddings.requires_grad_())


@pytest.mark.parametrize("number", range(7))
def test_arguments_given_by_name_are_those_given_in_order(number):
    loss, embeddings, rest, _ = cases(6)[number]
    given = dict(zip(inspect.signature(loss).parameters, (embeddings, *rest), strict=False))
    assert torch.equal(loss(**given), loss(embeddings, *rest))


def test_half_precision_tensors_are_raised_by_whichever_way_they_are_given():
    z, shares = torch.randn(4, 2, 5).half(), torch.randn(4, 2, 5).softmax(-1).half()
    maps, queue = torch.randn(2, 3, 4, 4).half(), F.normalize(torch.randn(7, 5), dim=-1).half()
    for function, given in [
        (centered_shares, {"scores": z, "center": queue[0], "temperature": 0.5}),
        (sinkhorn_shares, {"scores": z, "temperature": 0.5}),
        (negative_cosine, {"predictions": z, "targets": z.flip(0)}),
        (cross_correlation, {"embeddings": z, "redundancy_weight": 0.1}),
        (queue_contrast, {"queries": z[:, 0], "keys": z[:, 1], "queue": queue, "temperature": 0.5}),
        (self_distillation, {"student": z, "teacher": shares, "temperature": 0.5}),
        (pair_metrics, {"embeddings": z, "image_index": torch.arange(4) // 2}),
        (gram_distance, {"maps": maps, "anchor": maps.flip(0)}),
        (feature_distance, {"maps": maps, "anchor": maps.flip(0)}),
        (shares_cross_entropy, {"student": z[0], "teacher": shares[0], "weights": shares[0, :, 0], "temperature": 0.5}),
    ]:
        raised = [one.float() if isinstance(one, Tensor) and one.dtype == torch.half else one for one in given.values()]
        first, *others = given
        by_name = {name: given[name] for name in others}
        for half in (function(**given), function(given[first], **by_name)):
            torch.testing.assert_close(half, function(*raised), rtol=0, atol=0)


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan"), None, "0.5"])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match=r"temperature is .*; expected a number over 0"):
        nt_xent(torch.randn(2, 2, 3), temperature)


@pytest.mark.parametrize("number", range(7))
def test_autocast_changes_no_gradient(number):
    loss, embeddings, rest, _ = cases(16)[number]
    gradients = []
    for enabled in (False, True):
        leaf = embeddings.detach().clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = loss(leaf, *rest)
        value.backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


ONE_VIEW = torch.ones(4, 1, 8)


@pytest.mark.parametrize(
    ("loss", "given", "said"),
    [
        (nt_xent, (ONE_VIEW, 0.5), "embeddings are [4 1 8]; expected two views or more, [b v d]"),
        (
            self_distillation,
            (ONE_VIEW, ONE_VIEW, 0.5),
            "student scores are [4 1 8]; expected two views or more, [b s k]",
        ),
        (negative_cosine, (ONE_VIEW, ONE_VIEW), "predictions are [4 1 8]; expected two views or more, [b v d]"),
        (
            cross_correlation,
            (ONE_VIEW, 0.1),
            "embeddings are [4 1 8]; expected two rows and two views or more, [b v d]",
        ),
        (
            variance_invariance_covariance,
            (ONE_VIEW.transpose(0, 1), 1.0, 1.0, 1.0),
            "embeddings are [1 4 8]; expected two rows and two views or more, [b v d]",
        ),
        (
            region_contrast,
            (ONE_VIEW[..., None], ONE_VIEW[..., None], ONE_VIEW > 0, torch.zeros(4, 8, dtype=torch.long), 0.5),
            "embeddings are [4 1 8 1]; expected two views or more, [b v r d]",
        ),
    ],
)
def test_what_has_no_pairs_or_no_statistics_is_refused(loss, given, said):
    with pytest.raises(ConfigError) as refused:
        loss(*given)
    assert str(refused.value) == said


def test_embeddings_without_views_are_refused():
    """By the losses, too; under pytest the checker of shapes comes first."""
    with pytest.raises(ConfigError, match=re.escape("embeddings are [4 8]; expected two views or more, [b v d]")):
        expect_views(torch.ones(4, 8))


@pytest.mark.parametrize("name", ["simclr", "moco", "byol", "simsiam", "barlow", "vicreg", "swav", "dino"])
def test_a_method_refuses_a_batch_of_one_view(name):
    projector = ProjectorConfig(projector_hidden=32, projector_out=8)
    config = PretrainConfig(method=METHODS[name].config(projector=projector), model=ModelConfig(backbone="small-cnn"))
    with pytest.raises(ConfigError, match=r"expected .*two views or more"):
        create_method(config, 10).loss(random_batch(views=(1,)))


COMPILE = """
import sys
sys.path[:0] = {path!r}
import torch
from support.batches import random_batch
from support.losses import cases
for loss, embeddings, rest, _ in cases(8):
    found = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = embeddings.detach().clone().requires_grad_()
        value = function(leaf, *rest)
        value.backward()
        found.append((value.detach(), leaf.grad))
    torch.testing.assert_close(found[1], found[0])
print("no graph breaks")
"""


@pytest.mark.slow
def test_losses_compile_as_one_graph():
    """Without graph breaks nothing waits for the host either. In a process of its own: shapes are not checked there."""
    code = COMPILE.format(path=sys.path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "no graph breaks\n", done.stderr[-2000:]
