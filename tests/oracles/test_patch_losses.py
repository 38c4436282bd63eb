"""Anchors and patch terms against naive loops in float64 and against lightly's; masks against lightly's."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import IBOTPatchLoss
from lightly.models.utils import random_block_mask

from samclr.methods.patch_losses import feature_distance, gram_distance, shares_cross_entropy, shares_of_others
from samclr.methods.patch_masks import block_masks


def cosine(a, b):
    return math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))


def test_the_anchors_distances_are_those_of_loops():
    student, anchor = torch.randn(3, 2, 5, 2, 3, requires_grad=True), torch.randn(3, 2, 5, 2, 3)
    a, b = (maps.detach().double().flatten(0, 1).flatten(2).transpose(1, 2).numpy() for maps in (student, anchor))
    pairs = list(itertools.product(range(6), range(6)))
    gram = [(cosine(a[n, i], a[n, j]) - cosine(b[n, i], b[n, j])) ** 2 for n in range(6) for i, j in pairs]
    feature = [1 - cosine(a[n, i], b[n, i]) for n in range(6) for i in range(6)]
    assert gram_distance(student, anchor).item() == pytest.approx(np.mean(gram), rel=1e-5)
    assert feature_distance(student, anchor).item() == pytest.approx(np.mean(feature), rel=1e-5)


@pytest.mark.parametrize("distance", [gram_distance, feature_distance])
def test_the_distances_follow_the_student_alone_and_not_the_scale(distance):
    student, anchor = torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 4, 3, 3, requires_grad=True)
    distance(student, anchor).backward()
    assert anchor.grad is None
    assert student.grad.abs().sum() > 0
    torch.testing.assert_close(distance(7 * student, anchor), distance(student, anchor / 3))
    assert distance(anchor * 2, anchor).item() == pytest.approx(0, abs=1e-6)
    half = distance(student.half(), anchor.half())  # as from autocast: computed in float32
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(distance(student, anchor).item(), rel=1e-2)


def test_a_rotation_of_all_features_is_free_under_gram_and_not_under_features():
    maps = torch.randn(2, 4, 3, 3)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4))
    turned = torch.einsum("dc,nchw->ndhw", rotation, maps)
    assert gram_distance(turned, maps).item() == pytest.approx(0, abs=1e-6)
    assert feature_distance(turned, maps).item() > 0.1


def test_the_masked_patch_loss_is_lightlys():
    mask = torch.rand(5, 4, 4) < 0.4
    mask[3] = False  # a view without masked patches counts with a loss of zero
    m = int(mask.sum())
    student, scores, center = torch.randn(m, 9, requires_grad=True), torch.randn(m, 9), torch.randn(9)
    theirs = IBOTPatchLoss(output_dim=9, teacher_temp=0.07, student_temp=0.1)
    theirs.center.center = center[None].clone()
    expected = theirs(scores, student, mask)
    weights = (1 / mask.sum((1, 2)))[mask.nonzero()[:, 0]] / len(mask)
    found = shares_cross_entropy(student, F.softmax((scores - center) / 0.07, -1), weights, 0.1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_a_region_learns_from_the_other_views_that_show_it():
    group = torch.tensor([0, 1, 0, 2, 1, 2, 2])  # two, two and three views
    student, shares = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64).softmax(-1)
    terms = [
        -float((shares[t] * F.log_softmax(student[s] / 0.3, -1)).sum())
        for s in range(7)
        for t in range(7)
        if s != t and group[s] == group[t]
    ]
    others = shares_of_others(shares, group, 4)
    found = shares_cross_entropy(student, others, torch.full((7,), 1 / len(terms), dtype=torch.float64), 0.3)
    assert found.item() == pytest.approx(np.mean(terms), rel=1e-12)


def masks_of(step, views=range(64), grid=(14, 14)):
    return block_masks(3, step, views, 64, grid, 0.5, (0.1, 0.5))


def test_masks_cover_what_lightlys_do():
    random.seed(0)
    ours = np.concatenate([masks_of(step) for step in range(20)])
    theirs = np.concatenate([random_block_mask((64, 14, 14)).numpy() for _ in range(20)])
    shares, expected = (np.sort(masks.mean((1, 2))).reshape(20, 64).mean(1) for masks in (ours, theirs))
    np.testing.assert_allclose(shares, expected, atol=0.01)  # every twentieth of their distributions
    border = [np.mean(masks[:, :, 0]) / np.mean(masks) for masks in (ours, theirs)]
    assert border[0] == pytest.approx(border[1], abs=0.08)  # blocks seldom reach the border
    edges = [np.mean(masks[:, 1:] != masks[:, :-1]) for masks in (ours, theirs)]
    assert edges[0] == pytest.approx(edges[1], rel=0.08)  # as coarse as theirs
    assert (ours.any((1, 2)).reshape(20, 64).sum(1) == 32).all()  # half of each step's views


def test_masks_are_of_seed_and_step_and_of_no_rank():
    whole = masks_of(7)
    parts = [masks_of(7, range(first, first + 16)) for first in range(0, 64, 16)]
    assert (np.concatenate(parts) == whole).all()
    assert (masks_of(8) != whole).any()
    assert (block_masks(4, 7, range(64), 64, (14, 14), 0.5, (0.1, 0.5)) != whole).any()


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (3, 8), (32, 32)])
def test_masks_of_any_grid_stay_within_their_share(grid):
    masks = block_masks(0, 0, range(40), 40, grid, 1.0, (0.3, 0.6))
    shares = masks.mean((1, 2))
    assert shares.max() <= 0.6
    assert (shares.mean() > 0.35) == (grid in [(3, 8), (32, 32)])  # a block of four finds no place in the smallest
