"""MoCo and DINO against naive loops in float64 and against lightly's modules; queue, centre and momentum with them."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.modules import DINOProjectionHead, MoCoProjectionHead
from lightly.models.utils import update_momentum
from support.batches import random_batch

from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import AugmentConfig, LocalViews, ModelConfig, PretrainConfig, ViewGroup
from samclr.methods.create import create_method
from samclr.methods.dino_spec import DinoConfig
from samclr.methods.losses import (
    centered_shares,
    nt_xent,
    queue_contrast,
    self_distillation,
    sinkhorn_shares,
)
from samclr.methods.metrics import effective_rank, pair_metrics
from samclr.methods.moco_spec import MocoConfig
from samclr.methods.queue import Queue
from samclr.methods.simclr_spec import SimclrConfig
from samclr.models.heads import DinoHead, moco_head
from samclr.models.momentum import follow, momentum_copy, scheduled_momentum

PROJECTOR = ProjectorConfig(projector_hidden=32, projector_out=8)


def tiny(method, **changes) -> PretrainConfig:
    method = replace(method, temperature=0.2, projector=PROJECTOR)
    return replace(PretrainConfig(method=method, model=ModelConfig(backbone="small-cnn")), **changes)


# ---- SimCLR ----


def test_other_regions_of_the_image_can_be_left_out_of_the_negatives():
    embeddings = torch.randn(6, 2, 5, dtype=torch.float64)
    image = torch.tensor([0, 0, 1, 2, 1, 3])
    unit = F.normalize(embeddings, dim=-1)
    terms = []
    for i in range(6):
        for v in range(2):
            total = sum(
                math.exp(float(unit[i, v] @ unit[j, w]) / 0.3)
                for j in range(6)
                for w in range(2)
                if (i, v) != (j, w) and (i == j or image[i] != image[j])
            )
            terms.append(math.log(total) - float(unit[i, v] @ unit[i, 1 - v]) / 0.3)
    assert float(nt_xent(embeddings, 0.3, image)) == pytest.approx(np.mean(terms), rel=1e-12)
    assert float(nt_xent(embeddings, 0.3, torch.arange(6))) == pytest.approx(float(nt_xent(embeddings, 0.3)), rel=1e-12)


# ---- MoCo ----


def test_one_sided_term_equals_a_loop_and_lightlys():
    queries, keys = torch.randn(5, 8), torch.randn(5, 8)
    theirs = NTXentLoss(temperature=0.1, memory_bank_size=(12, 8))
    theirs(torch.randn(12, 8, requires_grad=True), torch.randn(12, 8))  # fills their bank
    bank = theirs.memory_bank.bank.clone()
    queue = bank if bank.shape == (12, 8) else bank.T
    loss = queue_contrast(queries, keys, queue, 0.1)
    assert float(loss) == pytest.approx(float(theirs(queries.clone().requires_grad_(), keys).detach()), rel=1e-5)
    q, k, bank64 = (F.normalize(t.double().detach(), dim=-1) for t in (queries, keys, queue))
    terms = [
        -math.log(
            math.exp(float(q[i] @ k[i]) / 0.1)
            / (math.exp(float(q[i] @ k[i]) / 0.1) + sum(math.exp(float(q[i] @ n) / 0.1) for n in bank64))
        )
        for i in range(5)
    ]
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)


def test_the_queue_keeps_the_last_keys_in_their_place():
    queue, naive = Queue(7, 3), []
    for step in range(6):
        keys, image = torch.randn(3, 3), torch.full((3,), step)
        queue.enqueue(keys, image)
        naive += [(F.normalize(key, dim=0), step) for key in keys]
    found = {tuple(np.round(key.tolist(), 5)): int(i) for key, i in zip(queue.keys, queue.image_index, strict=True)}
    assert found == {tuple(np.round(key.tolist(), 5)): i for key, i in naive[-7:]}
    queue.enqueue(torch.randn(20, 3), torch.arange(20))  # more than it holds
    assert sorted(queue.image_index.tolist()) == list(range(13, 20))


@pytest.mark.parametrize("symmetric", [True, False])
def test_moco_enqueues_once_and_follows(symmetric):
    options = MocoConfig(queue_size=16, symmetric=symmetric, ema_momentum=0.9)
    method = create_method(tiny(options), 10)
    before, online = copy.deepcopy(method.momentum_encoder), copy.deepcopy(method.queue.keys)
    with torch.no_grad():
        for parameter in method.online_encoder.parameters():
            parameter.add_(0.1)
    batch = random_batch()
    output = method.loss(batch)
    assert torch.equal(method.queue.keys, online)  # loss changes no state
    method.after_step(0, output.pending)
    new = 12 if symmetric else 6
    assert int(method.queue.next_row) == new
    assert (method.queue.image_index[:new] >= 0).all()
    assert (method.queue.image_index[new:] < 0).all()
    update_momentum(method.online_encoder, before, m=0.9)  # lightly's
    for ours, theirs in zip(method.momentum_encoder.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_mocos_loss_is_the_mean_of_both_directions_and_leaves_the_own_image_out():
    method = create_method(tiny(MocoConfig(queue_size=8, same_image_negatives="ignore")), 10)
    method.eval()  # so that passes can be made apart
    batch = random_batch()
    method.queue.enqueue(torch.randn(8, 8), torch.tensor([0, 0, 1, 1, 2, 2, 9, 9]))
    pixels = batch.groups[0].pixels
    queries = [F.normalize(method.online_encoder(pixels[:, v]), dim=-1).double() for v in range(2)]
    keys = [F.normalize(method.momentum_encoder(pixels[:, v]), dim=-1).double() for v in range(2)]
    terms = []
    for v in range(2):
        for i in range(6):
            others = [
                k.double()
                for k, im in zip(method.queue.keys, method.queue.image_index, strict=True)
                if im != batch.image_index[i]
            ]
            logits = torch.stack([queries[v][i] @ keys[1 - v][i], *(queries[v][i] @ k for k in others)]) / 0.2
            terms.append((torch.logsumexp(logits, 0) - logits[0]).item())
    assert float(method.loss(batch).loss.detach()) == pytest.approx(np.mean(terms), rel=1e-4)


def test_shuffled_key_parts_change_batch_norm_alone():
    together, apart = (create_method(tiny(MocoConfig(queue_size=8, key_splits=splits)), 10) for splits in (1, 3))
    batch = random_batch()
    torch.testing.assert_close(together.eval().targets(batch.pixels, 0)[0], apart.eval().targets(batch.pixels, 0)[0])
    assert not torch.allclose(together.train().targets(batch.pixels, 0)[0], apart.train().targets(batch.pixels, 0)[0])


# ---- DINO ----


def test_dinos_loss_equals_a_loop_and_lightlys():
    student, scores = torch.randn(4, 5, 9), torch.randn(4, 2, 9)
    theirs = DINOLoss(output_dim=9, teacher_temp=0.05, student_temp=0.1, center_momentum=0.9)
    theirs.center = torch.randn(1, 1, 9)
    center = theirs.center.flatten().clone()
    shares = centered_shares(scores, center, 0.05)
    ours = self_distillation(student, shares, 0.1)
    assert float(ours) == pytest.approx(float(theirs(list(scores.unbind(1)), list(student.unbind(1)))), rel=1e-5)
    terms = [
        -float(
            (
                F.softmax((scores[i, t].double() - center) / 0.05, 0) * F.log_softmax(student[i, s].double() / 0.1, 0)
            ).sum()
        )
        for i in range(4)
        for t in range(2)
        for s in range(5)
        if s != t
    ]
    assert float(ours) == pytest.approx(np.mean(terms), rel=1e-5)
    # after the step the centre has moved as theirs did
    method = create_method(tiny(DinoConfig(num_prototypes=9)), 10)
    method.center.copy_(center)
    method.after_step(0, {"scores_sum": scores.sum((0, 1)), "num_scores": 8})
    torch.testing.assert_close(method.center, theirs.center.flatten())


def test_sinkhorn_balances_prototypes():
    scores = torch.randn(16, 2, 4, dtype=torch.float64)
    shares = sinkhorn_shares(scores, 0.5)
    naive = torch.exp(scores.flatten(0, 1) / 0.5)
    for _ in range(3):
        naive = naive / naive.sum(0) / 4
        naive = naive / naive.sum(1, keepdim=True) / 32
    torch.testing.assert_close(shares.flatten(0, 1), naive * 32)
    torch.testing.assert_close(shares.sum(-1), torch.ones(16, 2, dtype=torch.float64))
    used = shares.flatten(0, 1).sum(0)
    assert used.max() / used.min() < 1.3 < torch.softmax(scores / 0.5, -1).flatten(0, 1).sum(0).max() / 6
    assert torch.isfinite(sinkhorn_shares(torch.tensor([[[1e4, 0.0]], [[0.0, 1e4]]]), 0.01)).all()


def test_dinos_method_is_its_parts():
    config = tiny(DinoConfig(num_prototypes=12), local=LocalViews(num_local_views=3, local_size_px=12))
    method = create_method(config, 10)
    batch = random_batch(views=(2, 3), sides=(16, 12))
    assert [group.role for group in config.groups] == ["global", "local"]
    output = method.loss(batch)
    with torch.no_grad():
        teacher = method.momentum_encoder.views(batch.pixels[0])
        student = torch.cat([method.online_encoder.views(group) for group in batch.pixels], 1)
    loss = DINOLoss(output_dim=12, student_temp=0.2)(list(teacher.unbind(1)), list(student.unbind(1)))
    assert float(output.loss.detach()) == pytest.approx(float(loss), rel=1e-4)
    assert torch.equal(method.center, torch.zeros(12))


def test_frozen_prototypes_get_no_gradient():
    method = create_method(tiny(DinoConfig(num_prototypes=12, freeze_steps=2)), 10)
    gradients = []
    for step in (1, 2):
        method.zero_grad()
        method.loss(random_batch(step)).loss.backward()
        gradients.append(float(method.online_encoder.head.prototypes.grad.abs().sum()))
    assert gradients[0] == 0 < gradients[1]


def test_teacher_temperature_and_momentum_schedules():
    options = DinoConfig(num_prototypes=4, teacher_temperature=0.07, teacher_temperature_steps=10)
    method = create_method(tiny(options), 100)
    assert [round(method.teacher_temperature(step), 4) for step in (0, 5, 10, 90)] == [0.04, 0.055, 0.07, 0.07]
    assert scheduled_momentum(0.99, None, 50, 100) == 0.99
    assert scheduled_momentum(0.996, 1.0, 0, 100) == pytest.approx(0.996)
    assert scheduled_momentum(0.996, 1.0, 50, 100) == pytest.approx(0.998)
    assert scheduled_momentum(0.996, 1.0, 100, 100) == pytest.approx(1.0)


# ---- heads and precision ----


def test_heads_equal_lightlys_with_the_same_weights():
    features = torch.randn(6, 20)
    theirs, ours = DINOProjectionHead(20, 32, 8, 11, batch_norm=True), DinoHead(20, PROJECTOR, 11)
    ours.layers.load_state_dict(
        {k.removeprefix("layers."): v for k, v in theirs.state_dict().items() if "layers." in k}
    )
    ours.prototypes.data.copy_(theirs.last_layer.weight_v)
    torch.testing.assert_close(ours(features), theirs(features))
    theirs, ours = MoCoProjectionHead(20, 32, 8), moco_head(20, replace(PROJECTOR, projector_norm=False))
    ours.load_state_dict({k.removeprefix("layers."): v for k, v in theirs.state_dict().items()})
    torch.testing.assert_close(ours(features), theirs(features))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_stay_in_float32_under_autocast(dtype):
    embeddings, queue = torch.randn(8, 2, 16), F.normalize(torch.randn(32, 16), dim=-1)
    scores = torch.randn(8, 2, 16) * 10
    exact = (
        nt_xent(embeddings, 0.07),
        queue_contrast(embeddings[:, 0], embeddings[:, 1], queue, 0.07),
        self_distillation(scores, centered_shares(scores, torch.zeros(16), 0.04), 0.1),
    )
    with torch.autocast("cpu", dtype):
        found = (
            nt_xent(embeddings, 0.07),
            queue_contrast(embeddings[:, 0], embeddings[:, 1], queue, 0.07),
            self_distillation(scores, centered_shares(scores, torch.zeros(16), 0.04), 0.1),
        )
        half = sinkhorn_shares(scores.to(dtype), 0.04)
    for ours, expected in zip(found, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, expected)
    assert half.dtype == torch.float32
    assert torch.isfinite(half).all()


def test_the_momentum_copy_is_trained_by_nobody():
    module = torch.nn.Linear(3, 2)
    copied = momentum_copy(module)
    assert not any(p.requires_grad for p in copied.parameters())
    follow(copied, module, 0.5)
    torch.testing.assert_close(copied.weight, module.weight.detach())


# ---- metrics ----


def test_metrics_equal_their_formulas():
    embeddings = torch.randn(6, 2, 5, dtype=torch.float64)
    image = torch.tensor([0, 0, 1, 1, 2, 3])
    unit = F.normalize(embeddings, dim=-1)
    found = pair_metrics(embeddings, image)
    assert float(found["alignment"]) == pytest.approx(float((unit[:, 0] - unit[:, 1]).pow(2).sum(-1).mean()))
    pairwise = torch.pdist(unit.flatten(0, 1)).pow(2)
    assert float(found["uniformity"]) == pytest.approx(float((-2 * pairwise).exp().mean().log()))
    same = [float(unit[i, v] @ unit[j, w]) for i, j in ((0, 1), (2, 3)) for v in range(2) for w in range(2)]
    assert float(found["similarity_same_image"]) == pytest.approx(np.mean(same))
    positive = [float(unit[i, 0] @ unit[i, 1]) for i in range(6)]
    assert float(found["similarity_positive"]) == pytest.approx(np.mean(positive))
    assert pair_metrics(embeddings, torch.arange(6))["similarity_same_image"].isnan()
    assert pair_metrics(embeddings, torch.zeros(6, dtype=torch.long))["similarity_other_image"].isnan()
    assert float(effective_rank(torch.eye(7))) == pytest.approx(7, rel=1e-4)
    assert float(effective_rank(torch.ones(9, 4))) == pytest.approx(1, abs=1e-3)
    assert all(value.isnan() for value in pair_metrics(embeddings * torch.nan, image).values())


def test_every_method_says_what_chance_is():
    for options in (SimclrConfig(), MocoConfig(queue_size=63), DinoConfig(num_prototypes=32)):
        config = tiny(options, group=ViewGroup(size_px=16), augment=AugmentConfig())
        method = create_method(config, 10)
        output = method.loss(random_batch(rows=6))
        assert output.chance_loss == pytest.approx(
            {"simclr": math.log(11), "moco": math.log(64), "dino": math.log(32)}[options.name]
        )
