"""DINO's terms: regions and masked patches, of their parts and against loops; without them today's DINO."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss, IBOTPatchLoss
from support.batches import random_batch

from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import LocalViews, ModelConfig, PretrainConfig, ViewGroup, ViewsConfig
from samclr.errors import ConfigError
from samclr.methods.create import create_method
from samclr.methods.dino_spec import DinoConfig
from samclr.methods.dino_terms import region_loss, taught_regions
from samclr.methods.losses import sinkhorn_shares
from samclr.methods.patch_masks import block_masks
from samclr.models.maps import features_and_map, pool_regions

VIT, K = "test_vit", 12
BOTH = {"region_weight": 0.5, "masked_patch_weight": 2.0}


def method_of(backbone=VIT, size_px=64, projector_norm=False, projector_hidden=16, **settings):
    projector = ProjectorConfig(projector_hidden=projector_hidden, projector_out=8, projector_norm=projector_norm)
    method = DinoConfig(projector=projector, num_prototypes=K, temperature=0.2, **settings)
    local = LocalViews(num_local_views=3, local_size_px=size_px // 2)
    views = ViewsConfig(strategy="image", carried_regions=4 if method.wants_regions else 0)
    config = PretrainConfig(
        method=method, model=ModelConfig(backbone=backbone), views=views, local=local, group=ViewGroup(size_px=size_px),
        seed=5,
    )  # fmt: skip
    return create_method(config, 10)


def batch_of(step=0, size_px=64, patch_px=16, carried=4):
    sides = (size_px, size_px // 2)
    return random_batch(step, 6, (2, 3), sides, carried=carried, map_sides=tuple(side // patch_px for side in sides))


def test_off_is_todays_dino_and_on_adds_to_its_weights():
    """Same names, same values; terms come after all of them, so a seed gives the same weights with and without."""
    plain, more = method_of(), method_of(**BOTH)
    assert not any("own" in name or "mask" in name or "region" in name for name in plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, more.state_dict()[name]), name
    assert plain.regions_of(batch_of(carried=0)) == ()
    plain.loss(batch_of(carried=0))


@pytest.mark.parametrize("head", ["own", "shared"])
def test_the_loss_is_that_of_its_parts(head):
    method = method_of(region_head=head, masked_patch_head=head, masked_view_frac=0.75, **BOTH)
    batch = batch_of()
    for center in (method.center, method.region_center, method.patch_center):
        center.copy_(torch.randn(K))
    with torch.no_grad():
        method.online_encoder.mask_token.copy_(torch.randn(64))
        for parameter in method.momentum_encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    output = method.loss(batch)

    masks = torch.from_numpy(block_masks(5, 0, range(12), 12, (4, 4), 0.75, (0.1, 0.5)))
    assert masks.flatten(1).any(1).sum() > 5
    student, teacher = method.online_encoder, method.momentum_encoder
    pixels = batch.pixels[0].flatten(0, 1)

    def hidden(module, inputs, tokens):  # [n h w c]: test_vit takes any size
        tokens = tokens.clone()
        tokens[masks] = student.mask_token
        return tokens

    with torch.no_grad():
        of_teacher = features_and_map(teacher.backbone, pixels)
        handle = student.backbone.patch_embed.register_forward_hook(hidden)
        of_student = features_and_map(student.backbone, pixels)
        handle.remove()

        def head_of(encoder, term):
            return encoder.own_heads[term] if head == "own" else encoder.head

        global_student, global_teacher = student.head(of_student[0]), teacher.head(of_teacher[0])
        views = [*global_student.unflatten(0, (6, 2)).unbind(1), *student.views(batch.pixels[1]).unbind(1)]
        dino = DINOLoss(output_dim=K, student_temp=0.2, teacher_temp=0.04)
        dino.center = method.center[None, None].clone()
        image = dino(list(global_teacher.unflatten(0, (6, 2)).unbind(1)), views)

        ibot = IBOTPatchLoss(output_dim=K, student_temp=0.2, teacher_temp=0.04)
        ibot.center.center = method.patch_center[None].clone()
        student_patches, teacher_patches = (
            head_of(encoder, "patch")(maps.permute(0, 2, 3, 1)[masks])
            for encoder, (_, maps) in ((student, of_student), (teacher, of_teacher))
        )
        patch = ibot(teacher_patches, student_patches, masks)

        shares = batch.groups[0].region_shares.flatten(0, 1)
        pooled = [
            head_of(encoder, "region")(pool_regions(maps, shares).flatten(0, 1)).unflatten(0, (6, 2, 4))
            for encoder, (_, maps) in ((student, of_student), (teacher, of_teacher))
        ]
        shown = batch.groups[0].region_shown
        opinion = F.softmax((pooled[1] - method.region_center) / 0.04, -1)
        terms = [
            -(opinion[b, 1 - v, r] * F.log_softmax(pooled[0][b, v, r] / 0.2, -1)).sum()
            for b in range(6)
            for v in range(2)
            for r in range(4)
            if shown[b, 0, r] and shown[b, 1, r]
        ]
        region = torch.stack(terms).mean()
    assert len(terms) >= 8
    for name, expected in (("image_loss", image), ("region_loss", region), ("patch_loss", patch)):
        assert output.metrics[name].item() == pytest.approx(expected.item(), rel=1e-4), name
    assert output.loss.item() == pytest.approx((image + 0.5 * region + 2 * patch).item(), rel=1e-4)
    assert output.chance_loss == pytest.approx(math.log(K) * (1 + 0.5 + 2 * 9 / 12))

    output.loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    before = method.region_center.clone(), method.patch_center.clone()
    method.after_step(0, output.pending)
    taught = taught_regions(shown)
    for center, old, scores in (
        (method.region_center, before[0], pooled[1][taught]),
        (method.patch_center, before[1], teacher_patches),
    ):
        torch.testing.assert_close(center, 0.9 * old + 0.1 * scores.mean(0), rtol=1e-4, atol=1e-5)


def test_a_hidden_patch_tells_nothing_of_itself_and_local_views_are_whole():
    method = method_of(masked_patch_weight=1.0, masked_view_frac=1.0).eval()
    batch = batch_of(carried=0)
    ((masks,),) = method.regions_of(batch)
    pixels = batch.pixels[0].clone()
    patches = masks.repeat_interleave(16, 2).repeat_interleave(16, 3)[:, :, None].expand_as(pixels)
    pixels[patches] = 7.0
    changed = (pixels, batch.pixels[1])
    before, after = (method.embed(views, 0, (masks,)) for views in (batch.pixels, changed))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(before[1], method.online_encoder.views(batch.pixels[1]))
    teacher = [method.targets(views, 0, (masks,))[1] for views in (batch.pixels, changed)]
    assert not torch.allclose(*teacher, atol=1e-3)
    assert method.online_encoder.patch_mask.mask is None


def test_masks_go_with_the_step():
    method, batches = method_of(masked_patch_weight=1.0), [batch_of(step, carried=0) for step in (0, 1)]
    first, second = (method.regions_of(batch)[0][0] for batch in batches)
    assert (first != second).any()
    assert torch.equal(first, method.regions_of(batches[0])[0][0])


def test_three_views_teach_each_other():
    torch.manual_seed(0)
    taught = taught_regions(torch.rand(5, 3, 4) < 0.6)
    m = int(taught.sum())
    student, shares = torch.randn(m, 6, dtype=torch.float64), torch.randn(m, 6, dtype=torch.float64).softmax(-1)
    places = taught.nonzero().tolist()
    terms = [
        -float((shares[t] * F.log_softmax(student[s] / 0.3, -1)).sum())
        for s, (b, v, r) in enumerate(places)
        for t, (c, w, q) in enumerate(places)
        if (b, r) == (c, q) and v != w
    ]
    assert region_loss(student, shares, taught, 0.3).item() == pytest.approx(np.mean(terms), rel=1e-12)


@pytest.mark.parametrize("centering", ["center", "sinkhorn"])
def test_a_step_that_shows_no_region_twice_teaches_none_and_moves_no_center(centering):
    method = method_of("small-cnn", 16, region_weight=1.0, centering=centering)
    batch = batch_of(size_px=16, patch_px=8)
    batch.groups[0].region_shown[:, 1] = False
    output = method.loss(batch)
    output.loss.backward()
    assert output.metrics["region_loss"] == 0
    assert output.loss.item() == pytest.approx(output.metrics["image_loss"].item())
    method.region_center.fill_(0.3)
    method.after_step(0, output.pending)
    assert torch.equal(method.region_center, torch.full((K,), 0.3))
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.online_encoder.parameters())


def test_sinkhorn_of_nothing_is_nothing():
    assert sinkhorn_shares(torch.empty(1, 0, 4), 0.1).shape == (1, 0, 4)


@pytest.mark.parametrize(
    ("backbone", "size_px", "settings", "words"),
    [
        ("small-cnn", 16, {"masked_patch_weight": 1.0}, "masked_patch_weight needs a ViT, .*; SmallCnn is not one"),
        ("resnet18", 32, {"masked_patch_weight": 1.0}, "ResNet is not one of timm's: leave `masked_patch_weight` at 0"),
        ("small-cnn", 16, {"region_weight": 1.0, "region_head": "shared"}, "patches have 128 channels and"),
    ],
)
def test_what_a_backbone_cannot_do_is_refused(backbone, size_px, settings, words):
    with pytest.raises(ConfigError, match=words):
        method_of(backbone, size_px, **settings)


def test_views_of_too_few_patches_are_refused():
    with pytest.raises(ConfigError, match="a view of 32 px has 2 x 2 patches; masked_patch_weight expects 3 a side"):
        method_of(size_px=32, masked_patch_weight=1.0).loss(batch_of(size_px=32, carried=0))
    with pytest.raises(ValueError, match="carry no regions"):
        method_of(region_weight=1.0).loss(batch_of(carried=0))


@pytest.mark.parametrize(("backbone", "patch_px"), [("resnet18", 32), ("eva02_tiny_patch14_224", 14)])
def test_other_backbones_learn_from_regions_and_vits_from_patches(backbone, patch_px):
    """A CNN; and DINOv3's class of ViTs, with rotary positions."""
    patch = {} if backbone == "resnet18" else {"masked_patch_weight": 1.0}
    method = method_of(backbone, 4 * patch_px, projector_norm=True, region_weight=1.0, **patch)
    output = method.loss(batch_of(size_px=4 * patch_px, patch_px=patch_px))
    output.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.online_encoder.parameters())
    assert {"region_loss", *(["patch_loss"] if patch else [])} <= set(output.metrics)
