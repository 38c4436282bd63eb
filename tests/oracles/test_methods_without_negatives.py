"""BYOL, SimSiam, Barlow Twins, VICReg and SwAV against naive loops in float64 and lightly's losses and heads."""

import copy
import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, SwaVLoss, VICRegLoss
from lightly.models.modules import heads
from lightly.models.utils import update_momentum
from support.batches import random_batch

from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import LocalViews, ModelConfig, PretrainConfig
from samclr.config.registry import METHODS
from samclr.methods.create import create_method
from samclr.methods.losses import (
    cross_correlation,
    negative_cosine,
    self_distillation,
    sinkhorn_shares,
    variance_invariance_covariance,
)
from samclr.models.heads import SwavHead, plain_head, predictor_head, simsiam_head

FIVE = ["byol", "simsiam", "barlow", "vicreg", "swav"]
PROJECTOR = ProjectorConfig(projector_hidden=32, projector_out=8)


def method_of(name, num_local_views=0, **changes):
    config = METHODS[name].config(projector=PROJECTOR, **changes)
    local = LocalViews(num_local_views=num_local_views, local_size_px=12)
    return create_method(PretrainConfig(method=config, model=ModelConfig(backbone="small-cnn"), local=local), 10)


def swapped_prediction(scores, num_global=2, temperature=0.1):
    codes = [sinkhorn_shares(view, 0.05) for view in scores[:, :num_global].split(1, dim=1)]
    return self_distillation(scores, torch.cat(codes, 1), temperature)


def vicreg(embeddings):
    return variance_invariance_covariance(embeddings, 25.0, 25.0, 1.0)["loss"]


def lightlys_negative_cosine(p):
    z = p.detach().roll(1, 0)
    return (NegativeCosineSimilarity()(p[:, 0], z[:, 1]) + NegativeCosineSimilarity()(p[:, 1], z[:, 0])) / 2


# ---- losses ----


@pytest.mark.parametrize(
    ("ours", "theirs", "views"),
    [
        (lambda p: negative_cosine(p, p.roll(1, 0)), lightlys_negative_cosine, 2),
        (lambda z: cross_correlation(z, 0.005), lambda z: BarlowTwinsLoss()(z[:, 0], z[:, 1]), 2),
        (vicreg, lambda z: VICRegLoss()(z[:, 0], z[:, 1]), 2),
        (swapped_prediction, lambda s: SwaVLoss()(list(s[:, :2].unbind(1)), list(s[:, 2:].unbind(1)))[0], 5),
    ],
    ids=["negative_cosine", "cross_correlation", "vicreg", "swapped_prediction"],
)
def test_losses_and_gradients_equal_lightlys(ours, theirs, views):
    torch.manual_seed(0)
    mine = (torch.randn(24, views, 16) * 0.7).requires_grad_()
    other = mine.detach().clone().requires_grad_()
    loss, expected = ours(mine), theirs(other)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_negative_cosine_equals_a_loop_over_pairs_of_views():
    p, z = torch.randn(5, 3, 4, dtype=torch.float64), torch.randn(5, 3, 4, dtype=torch.float64)
    terms = [
        -float(p[i, v] @ z[i, w]) / (float(p[i, v].norm()) * float(z[i, w].norm()))
        for i in range(5)
        for v, w in permutations(range(3), 2)
    ]
    assert float(negative_cosine(p, z)) == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    pair = torch.stack([p[:, 0], p[:, 1]], 1), torch.stack([z[:, 0], z[:, 1]], 1)
    unit = [F.normalize(one, dim=-1) for one in pair]
    byol = (unit[0] - unit[1].flip(1)).square().sum(-1).mean(0).sum()  # the paper's equation 2 in both directions
    assert float(byol) == pytest.approx(4 + 4 * float(negative_cosine(*pair)), rel=1e-12)


def loop_statistics(z, v, w):
    """Means, biased deviations and products of two views, dimension by dimension."""
    b, d = len(z), z.shape[2]
    mean = [[sum(float(z[i, view, j]) for i in range(b)) / b for j in range(d)] for view in (v, w)]

    def product(j, k, first, second):
        views = (v, w)
        return sum(
            (float(z[i, views[first], j]) - mean[first][j]) * (float(z[i, views[second], k]) - mean[second][k])
            for i in range(b)
        )

    return product


def test_cross_correlation_equals_a_loop():
    z, terms = torch.randn(7, 3, 4, dtype=torch.float64), []
    for v, w in ((0, 1), (0, 2), (1, 2)):
        product = loop_statistics(z, v, w)
        for j in range(4):
            for k in range(4):
                scale = math.sqrt((product(j, j, 0, 0) / 7 + 1e-5) * (product(k, k, 1, 1) / 7 + 1e-5))
                entry = product(j, k, 0, 1) / 7 / scale
                terms.append((1 - entry) ** 2 if j == k else 0.02 * entry**2)
    assert float(cross_correlation(z, 0.02)) == pytest.approx(sum(terms) / 3, rel=1e-12)


def test_vicreg_equals_a_loop():
    z = torch.randn(7, 3, 4, dtype=torch.float64) * 0.8
    expected = {"invariance": 0.0, "variance": 0.0, "covariance": 0.0}
    for v, w in ((0, 1), (0, 2), (1, 2)):
        product = loop_statistics(z, v, w)
        differences = [float(z[i, v, j] - z[i, w, j]) ** 2 for i in range(7) for j in range(4)]
        expected["invariance"] += 3 * sum(differences) / 28 / 3
        for one in (0, 1):
            lacks = [max(0.0, 1 - math.sqrt(product(j, j, one, one) / 6 + 1e-4)) for j in range(4)]
            expected["variance"] += 5 * sum(lacks) / 4 / 2 / 3
            covariances = [product(j, k, one, one) / 6 for j, k in permutations(range(4), 2)]
            expected["covariance"] += 2 * sum(c**2 for c in covariances) / 4 / 3
    found = {name: float(term) for name, term in variance_invariance_covariance(z, 3.0, 5.0, 2.0).items()}
    assert found.pop("loss") == pytest.approx(sum(expected.values()), rel=1e-12)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_stay_in_float32_under_autocast(dtype):
    embeddings = torch.randn(8, 2, 16) * 40
    for loss in (lambda z: negative_cosine(z, z), lambda z: cross_correlation(z, 0.005), vicreg, swapped_prediction):
        expected = loss(embeddings)
        with torch.autocast("cpu", dtype):
            torch.testing.assert_close(loss(embeddings), expected)
            half = loss(embeddings.to(dtype))
        assert half.dtype == torch.float32
        assert torch.isfinite(half)


def test_collapse_costs_what_each_paper_says():
    same = torch.ones(8, 2, 4)
    assert float(negative_cosine(same, same)) == pytest.approx(-1)  # the least: the loss alone does not show it
    assert float(cross_correlation(same, 0.005)) == pytest.approx(4)  # no correlation in any dimension
    assert float(vicreg(same)) == pytest.approx(25 * 0.99)
    assert float(swapped_prediction(same)) == pytest.approx(math.log(4))


# ---- heads ----


def same_weights(theirs, ours):
    ours.load_state_dict({key.removeprefix("layers."): value for key, value in theirs.state_dict().items()})
    return theirs, ours


@pytest.mark.parametrize(
    ("theirs", "ours", "width"),
    [
        (lambda: heads.BYOLProjectionHead(20, 32, 8), lambda: plain_head(20, PROJECTOR, 2), 20),
        (lambda: heads.BYOLPredictionHead(8, 12, 8), lambda: predictor_head(PROJECTOR, 12), 8),
        (lambda: heads.SimSiamProjectionHead(20, 32, 8), lambda: simsiam_head(20, PROJECTOR), 20),
        (lambda: heads.SimSiamPredictionHead(8, 12, 8), lambda: predictor_head(PROJECTOR, 12), 8),
        (lambda: heads.BarlowTwinsProjectionHead(20, 32, 8), lambda: plain_head(20, PROJECTOR, 3), 20),
        (lambda: heads.VICRegProjectionHead(20, 32, 8), lambda: plain_head(20, PROJECTOR, 3), 20),
    ],
    ids=["byol", "byol-predictor", "simsiam", "simsiam-predictor", "barlow", "vicreg"],
)
def test_heads_equal_lightlys_with_the_same_weights(theirs, ours, width):
    theirs, ours = same_weights(theirs(), ours())
    features = torch.randn(6, width)
    torch.testing.assert_close(ours(features), theirs(features))


def test_swavs_head_equals_lightlys_with_the_same_weights():
    projector, ours = heads.SwaVProjectionHead(20, 32, 8), SwavHead(20, PROJECTOR, 11)
    same_weights(projector, ours.layers)
    prototypes = heads.SwaVPrototypes(8, 11)
    prototypes.heads[0].weight.data.normal_()
    prototypes.heads[0].bias.data.zero_()  # the paper's have none
    ours.prototypes.data.copy_(prototypes.heads[0].weight)
    prototypes.normalize()
    ours.normalize_prototypes()
    features = torch.randn(6, 20)
    torch.testing.assert_close(ours(features), prototypes(F.normalize(projector(features), dim=-1)))


# ---- methods ----


@pytest.mark.parametrize("name", FIVE)
def test_loss_changes_no_state_but_batch_norms(name):
    method = method_of(name)
    before = copy.deepcopy(method.state_dict())
    output = method.loss(random_batch())
    kept = [key for key in before if "running_" not in key and "num_batches" not in key]
    assert all(torch.equal(method.state_dict()[key], before[key]) for key in kept)
    assert output.chance_loss == (pytest.approx(math.log(3000)) if name == "swav" else None)
    assert 0.1 < float(output.metrics["embedding_spread"]) < 2
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_byols_loss_is_both_directions_and_its_copy_follows():
    method, batch = method_of("byol", predictor_hidden=12, ema_momentum=0.9).eval(), random_batch()
    pixels = batch.pixels[0]
    p = [method.predictor(method.online_encoder(pixels[:, view])) for view in range(2)]
    z = [method.momentum_encoder(pixels[:, view]) for view in range(2)]
    expected = (NegativeCosineSimilarity()(p[0], z[1]) + NegativeCosineSimilarity()(p[1], z[0])) / 2
    assert float(method.loss(batch).loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    with torch.no_grad():
        for parameter in method.online_encoder.parameters():
            parameter.add_(0.1)
    theirs = copy.deepcopy(method.momentum_encoder)
    update_momentum(method.online_encoder, theirs, m=0.9)
    method.after_step(0, {})
    for ours, other in zip(method.momentum_encoder.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other)


def test_simsiams_gradient_stops_at_what_is_predicted():
    method, batch = method_of("simsiam", predictor_hidden=12).eval(), random_batch()
    pixels = batch.pixels[0]
    z = [method.online_encoder(pixels[:, view]) for view in range(2)]
    p = [method.predictor(one) for one in z]
    criterion = NegativeCosineSimilarity()
    expected = (criterion(p[0], z[1].detach()) + criterion(p[1], z[0].detach())) / 2
    gradients = torch.autograd.grad(expected, list(method.parameters()))
    loss = method.loss(batch).loss
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    for ours, theirs in zip(torch.autograd.grad(loss, list(method.parameters())), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_swavs_method_is_its_parts_with_local_views():
    method = method_of("swav", num_local_views=3, num_prototypes=12)
    batch = random_batch(views=(2, 3), sides=(16, 12))
    with torch.no_grad():
        large, small = (method.online_encoder.views(group) for group in batch.pixels)
    expected = SwaVLoss()(list(large.unbind(1)), list(small.unbind(1)))
    assert float(method.loss(batch).loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_swavs_prototypes_stay_on_the_sphere_and_are_frozen_at_first():
    method = method_of("swav", num_prototypes=12, freeze_steps=2)
    prototypes = method.online_encoder.head.prototypes
    gradients = []
    for step in (1, 2):
        method.zero_grad()
        method.loss(random_batch(step)).loss.backward()
        gradients.append(float(prototypes.grad.abs().sum()))
    assert gradients[0] == 0 < gradients[1]
    torch.testing.assert_close(prototypes.norm(dim=-1), torch.ones(12))
    prototypes.data.mul_(3)
    method.after_step(2, {})
    torch.testing.assert_close(prototypes.norm(dim=-1), torch.ones(12))
