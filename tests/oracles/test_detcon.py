"""DetCon against lightly's losses and a naive loop; what a view does not show counts for nothing."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DetConBLoss, DetConSLoss
from lightly.models.utils import update_momentum
from support.batches import random_batch

from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import ModelConfig, PretrainConfig, ViewsConfig
from samclr.errors import ConfigError
from samclr.methods.create import create_method
from samclr.methods.detcon_spec import DetconConfig
from samclr.methods.losses import nt_xent, region_contrast
from samclr.methods.metrics import embedding_metrics
from samclr.methods.simclr_spec import SimclrConfig
from samclr.models.maps import pool_regions


def naive(embeddings, keys, shown, region, temperature, image=None):
    """The definition, anchor by anchor."""
    b, v, r, _ = embeddings.shape
    unit, key = F.normalize(embeddings, dim=-1), F.normalize(keys, dim=-1)
    places = [(i, w, p) for i in range(b) for w in range(v) for p in range(r) if shown[i, w, p]]
    terms = []
    for i, w, p in places:
        positives = [o for o in places if o[0] == i and o[1] != w and o[2] == p]
        if not positives:
            continue
        logits = {}
        for o in places:
            same_region = int(region[o[0], o[2]]) == int(region[i, p])
            if same_region and o not in positives:
                continue  # itself, or the same region in another row
            if image is not None and image[o[0]] == image[i] and not same_region:
                continue
            logits[o] = float(unit[i, w, p] @ key[o[0], o[1], o[2]]) / temperature
        log_total = math.log(sum(math.exp(value) for value in logits.values()))
        terms.append(sum(log_total - logits[o] for o in positives) / len(positives))
    return sum(terms) / max(len(terms), 1)


def drawn(views=2, dtype=torch.float64, b=5, r=4, d=6):
    torch.manual_seed(0)
    embeddings, keys = torch.randn(b, views, r, d, dtype=dtype) * 3, torch.randn(b, views, r, d, dtype=dtype)
    shown = torch.rand(b, views, r) < 0.6
    region = torch.arange(b * r).view(b, r)
    region[1, 2], shown[:, :, 3], region[:, 3] = region[0, 1], False, -1  # a region in two rows; places without any
    return embeddings, keys, shown, region


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("image", [None, torch.tensor([0, 0, 1, 2, 1])])
@pytest.mark.parametrize("is_shared", [True, False])
def test_the_loss_equals_the_naive_loop(views, image, is_shared):
    embeddings, keys, shown, region = drawn(views)
    keys = embeddings if is_shared else keys
    found = region_contrast(embeddings, keys, shown, region, 0.2, image)
    assert float(found) == pytest.approx(naive(embeddings, keys, shown, region, 0.2, image), rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["shared", "momentum"])
def test_it_equals_lightlys_with_its_gradient(form, dtype):
    """Which is the sum of the means of both directions, and so twice ours."""
    embeddings, keys, shown, region = drawn(dtype=dtype)
    shown, region = torch.ones_like(shown), torch.arange(20).view(5, 4)
    ours, theirs = embeddings.requires_grad_(), embeddings.detach().clone().requires_grad_()
    loss = region_contrast(ours, ours if form == "shared" else keys, shown, region, 0.2)
    masks = region, region
    if form == "shared":
        other = DetConSLoss(temperature=0.2)(theirs[:, 0], theirs[:, 1], *masks)
    else:
        other = DetConBLoss(temperature=0.2)(theirs[:, 0], theirs[:, 1], keys[:, 0], keys[:, 1], *masks)
    (2 * loss).backward()
    other.backward()
    assert 2 * loss.item() == pytest.approx(other.item(), rel=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_regions_of_one_view_alone_are_negatives_as_lightlys_are():
    """In lightly's terms the other view has another region in their place; it takes the mean over all places."""
    embeddings, keys, _, _ = drawn()
    region, lone = torch.arange(20).view(5, 4), torch.tensor([2, 7, 8, 15])
    other = region.clone().flatten()
    other[lone] += 100
    theirs = DetConBLoss(temperature=0.2)(*embeddings.unbind(1), *keys.unbind(1), region, other.view(5, 4))
    ids = torch.cat([region, 100 + region], 1)  # the second half of the places is the second view's own
    wide = [torch.cat([x, torch.zeros_like(x)], 2) for x in (embeddings, keys)]
    shown = torch.zeros(5, 2, 8, dtype=torch.bool)
    shown[:, :, :4] = True
    for place in lone.tolist():
        row, slot = divmod(place, 4)
        for tensor in wide:
            tensor[row, 1, 4 + slot] = tensor[row, 1, slot]
        shown[row, 1, slot], shown[row, 1, 4 + slot] = False, True
    ours = region_contrast(wide[0], wide[1], shown, ids, 0.2)
    assert 2 * float(ours) * (20 - len(lone)) / 20 == pytest.approx(float(theirs), rel=1e-6)


def test_one_region_a_row_is_simclrs_loss():
    embeddings, _, _, _ = drawn(3)
    rows = embeddings[:, :, :1]
    shown = torch.ones(rows.shape[:3], dtype=torch.bool)
    found = region_contrast(rows, rows, shown, torch.arange(5)[:, None], 0.3)
    assert float(found) == pytest.approx(float(nt_xent(rows[:, :, 0], 0.3)), rel=1e-12)


def test_without_a_pair_the_loss_is_zero_and_so_is_its_gradient():
    embeddings, keys, shown, region = drawn()
    embeddings.requires_grad_()
    loss = region_contrast(embeddings, keys, torch.zeros_like(shown), region, 0.2)
    loss.backward()
    assert loss.item() == 0
    assert not embeddings.grad.any()


def test_what_is_not_shown_changes_nothing():
    embeddings, keys, shown, region = drawn()
    hidden = ~shown[..., None]
    found = region_contrast(embeddings, keys, shown, region, 0.2)
    other = region_contrast(embeddings + 9 * hidden, keys - 9 * hidden, shown, region, 0.2)
    assert float(found) == pytest.approx(float(other), rel=1e-12)


def tiny(backbone="small-cnn", carried=4, **changes):
    method = DetconConfig(
        projector=ProjectorConfig(projector_hidden=16, projector_out=8), predictor_hidden=9, **changes
    )
    views = ViewsConfig(strategy="image", carried_regions=carried)
    return PretrainConfig(method=method, views=views, model=ModelConfig(backbone=backbone))


@pytest.mark.parametrize(
    ("backbone", "side", "cells"), [("small-cnn", 16, 2), ("resnet18", 64, 2), ("test_vit3", 64, 4)]
)
@pytest.mark.parametrize("form", ["shared", "momentum"])
def test_a_step_is_the_papers(form, backbone, side, cells):
    """Pooled features through the heads; the loss of both directions; gradients in backbone and heads alone."""
    method = create_method(tiny(backbone, form=form, temperature=0.2), 10).eval()
    batch = random_batch(sides=(side,), carried=4, map_sides=(cells,))
    output = method.loss(batch)
    (group,), encoder = batch.groups, method.online_encoder
    embeddings = []
    for view in range(2):
        _, maps = encoder.features_and_map(group.pixels[:, view])
        pooled = pool_regions(maps, batch.shown_shares[0][:, view])
        embeddings.append(encoder.head(pooled.flatten(0, 1)).unflatten(0, (6, 4)))
    keys = embeddings = torch.stack(embeddings, 1)
    if form == "momentum":
        embeddings = method.predictor(embeddings.flatten(0, 2)).unflatten(0, (6, 2, 4))
    expected = naive(embeddings.detach().double(), keys.detach().double(), group.region_shown, batch.carried, 0.2)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert output.metrics["regions_per_row"] == group.region_shown.all(1).sum(1).float().mean()
    assert {"embedding_spread", "similarity_positive", "effective_rank"} < output.metrics.keys()
    output.loss.backward()
    graded = {name.split(".")[0] for name, weight in method.named_parameters() if weight.grad is not None}
    assert graded == {"online_encoder"} | ({"predictor"} if form == "momentum" else set())


def test_the_momentum_encoder_follows_by_its_schedule():
    method = create_method(tiny(form="momentum", ema_momentum=0.9, ema_momentum_end=1.0), 4)
    before = copy.deepcopy(method.momentum_encoder)
    with torch.no_grad():
        for parameter in method.online_encoder.parameters():
            parameter.add_(0.1)
    method.after_step(2, method.loss(random_batch(carried=4)).pending)
    update_momentum(method.online_encoder, before, m=0.95)  # halfway along the cosine
    for ours, theirs in zip(method.momentum_encoder.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    method.after_step(4, {})
    for ours, theirs in zip(method.momentum_encoder.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert create_method(tiny(), 4).momentum_encoder is None


@pytest.mark.parametrize("number", [8, 1, 0])
def test_metrics_count_only_the_rows_that_are_there(number):
    torch.manual_seed(0)
    embeddings, image, counted = torch.randn(12, 2, 5), torch.arange(12) // 3, torch.zeros(12, dtype=torch.bool)
    counted[torch.randperm(12)[:number]] = True
    found = embedding_metrics(embeddings, image, 0, counted)
    if number == 0:
        assert found["embedding_spread"].isnan()
        return
    expected = embedding_metrics(embeddings[counted], image[counted], 0)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4, nan_ok=True
    )


def test_it_is_refused_without_regions_and_others_with_them():
    with pytest.raises(ConfigError, match="carried_regions is 0; expected 1 or more: detcon pools features under the"):
        tiny(carried=0)
    with pytest.raises(ConfigError, match="carried_regions is 4; expected 0: simclr does not look at the regions"):
        replace(tiny(), method=SimclrConfig())
