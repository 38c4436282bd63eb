"""Dense tasks against torchmetrics, torch's own enlarging, scikit-learn and naive loops."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from samclr.config import DenseConfig
from samclr.config.normalisation import IMAGENET
from samclr.config.pretrain import ModelConfig
from samclr.datasets.labelled_scenes import IGNORED
from samclr.errors import ConfigError, EvaluationError
from samclr.evaluation import segmentation
from samclr.evaluation.patches import input_size, num_stages, patch_features, patch_px, stage_number
from samclr.evaluation.protocols.dense import retrieval, train_probe
from samclr.evaluation.segmentation import (
    class_ious,
    confusion,
    enlarge_argmax,
    iou_counts,
    miou_and_accuracy,
    patch_shares,
)
from samclr.models.backbone import create_backbone
from samclr.views.augment import normalise

CPU = torch.device("cpu")


def label_maps(classes=5, absent=(), size=(6, 40, 30)):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, size).astype(np.uint8)
    predicted = np.where(random.random(size) < 0.4, labels, random.integers(0, classes, size)).astype(np.uint8)
    for number in absent:
        labels[labels == number] = 0
        predicted[predicted == number] = 0
    labels[random.random(size) < 0.2] = IGNORED
    return labels, predicted


@pytest.mark.parametrize("absent", [(), (3,)])
def test_iou_as_torchmetrics(absent):
    labels, predicted = label_maps(absent=absent)
    counts = sum(iou_counts(confusion(a, b, 5)) for a, b in zip(labels, predicted, strict=True))
    wanted, given = torch.from_numpy(labels).long(), torch.from_numpy(predicted).long()
    each = MulticlassJaccardIndex(5, average=None, ignore_index=IGNORED)(given, wanted)
    micro = MulticlassAccuracy(5, average="micro", ignore_index=IGNORED)(given, wanted)
    ious = class_ious(counts)
    present = [number for number in range(5) if number not in absent]
    assert ious[present].tolist() == pytest.approx(each[present].tolist())
    assert np.isnan(ious[list(absent)]).all()
    macro = MulticlassJaccardIndex(5, average="macro", ignore_index=IGNORED)(given, wanted)
    assert miou_and_accuracy(counts).tolist() == pytest.approx([float(macro), float(micro)])


def test_a_class_that_is_only_predicted_is_not_averaged():
    labels, predicted = np.zeros((1, 4), np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    counts = iou_counts(confusion(labels, predicted, 3))
    assert class_ious(counts)[:2].tolist() == [0.5, 0.0]
    assert miou_and_accuracy(counts).tolist() == [0.5, 0.5]
    nothing = iou_counts(confusion(np.full((1, 4), IGNORED, np.uint8), predicted, 3))
    assert miou_and_accuracy(nothing).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("grid", "size"), [((3, 4), (48, 64)), ((3, 4), (50, 61)), ((5, 7), (3, 4)), ((1, 1), (9, 9))])
@pytest.mark.parametrize("numbers", [10, 10**6])
def test_enlarging_is_that_of_torch(grid, size, numbers, monkeypatch):
    monkeypatch.setattr(segmentation, "NUMBERS_AT_ONCE", numbers)
    scores = torch.randn(6, *grid, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0].argmax(0)
    assert (enlarge_argmax(scores, size) == wanted.numpy()).mean() > 0.999


@pytest.mark.parametrize(("size", "grid"), [((12, 16), (3, 4)), ((13, 10), (4, 3)), ((3, 2), (6, 5))])
def test_shares_of_patches_are_counted_pixel_by_pixel(size, grid):
    labels = label_maps(size=size)[0]
    found = patch_shares(labels, grid, 5)
    sums, sizes = np.zeros((*grid, 5)), np.zeros(grid)
    for y in range(size[0]):
        for x in range(size[1]):
            place = int((y + 0.5) * grid[0] / size[0]), int((x + 0.5) * grid[1] / size[1])
            sizes[place] += 1
            if labels[y, x] != IGNORED:
                sums[(*place, labels[y, x])] += 1
    np.testing.assert_allclose(found, sums / np.maximum(sizes, 1)[..., None], atol=1e-6)


def separable(num=600, width=16, classes=4):
    random = np.random.default_rng(1)
    labels = random.integers(0, classes, num)
    features = random.normal(size=(num, width)) + 4 * np.eye(width)[labels] + 50.0
    return torch.tensor(features, dtype=torch.float32), labels


def test_the_dense_probe_comes_near_logistic_regression():
    features, labels = separable()
    shares = torch.eye(4)[labels]
    score = train_probe(features[:400], shares[:400], DenseConfig(dense_steps=300, dense_batch_size=64), CPU)
    oracle = LogisticRegression(max_iter=1000).fit(features[:400] - 50, labels[:400])
    ours = (score(features[400:]).argmax(1).numpy() == labels[400:]).mean()
    assert ours == pytest.approx(oracle.score(features[400:] - 50, labels[400:]), abs=0.02)
    assert ours > 0.9


def test_the_dense_loss_is_the_cross_entropy_of_all_pixels():
    """With shares as targets a patch counts as the mean over its pixels, ignored ones left out."""
    labels = label_maps(classes=3, size=(8, 8))[0]
    logits = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(logits[None], (8, 8), mode="nearest")
    wanted = F.cross_entropy(pixels, torch.from_numpy(labels)[None].long(), ignore_index=IGNORED)
    shares = torch.from_numpy(patch_shares(labels, (2, 2), 3)).reshape(4, 3)
    found = -(shares * logits.flatten(1).T.log_softmax(1)).sum() / shares.sum()
    torch.testing.assert_close(found, wanted)


def test_retrieval_is_a_weighted_mean_over_the_nearest():
    random = torch.Generator().manual_seed(0)
    features, queries = torch.randn(50, 8, generator=random), torch.randn(9, 8, generator=random)
    shares = torch.rand(50, 3, generator=random)
    config = DenseConfig(dense_k=4, dense_temperature=0.1)
    found = retrieval(features, shares, config, CPU)(queries)
    for query, ours in zip(queries, found, strict=True):
        similarity = F.cosine_similarity(query[None], features)
        near = similarity.argsort(descending=True)[:4]
        weights = (similarity[near] / 0.1).exp()
        wanted = sum(w * shares[row] / shares[row].sum() for w, row in zip(weights, near, strict=True)) / weights.sum()
        torch.testing.assert_close(ours, wanted)
    few = retrieval(features, shares, DenseConfig(dense_k=2, dense_memory=2), CPU)(queries)
    assert few.shape == (9, 3)
    torch.testing.assert_close(few.sum(1), torch.ones(9))


# ---- patch features ----


def pixels(height, width, n=2):
    return np.random.default_rng(0).integers(0, 256, (n, 3, height, width), dtype=np.uint8)


def as_input(images):
    return normalise(torch.from_numpy(images).float() / 255)


def test_the_last_map_of_a_resnet_is_what_it_averages():
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="resnet18")).train()
    images = pixels(64, 96)
    found = patch_features(backbone, images, stage_number(backbone, None), CPU)
    assert found.shape == (2, 512, 2, 3)
    assert backbone.training
    with torch.no_grad():
        torch.testing.assert_close(found.mean((2, 3)), backbone.eval()(as_input(images)))
    assert patch_features(backbone, images, 2, CPU).shape == (2, 128, 8, 12)
    assert (num_stages(backbone), patch_px(backbone)) == (5, 32)


def test_patch_tokens_of_a_vit_without_its_class_token():
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="vit_tiny_patch16_224"))
    images = pixels(32, 80)
    found = patch_features(backbone, images, stage_number(backbone, None), CPU)
    with torch.no_grad():
        tokens = backbone.eval().forward_features(as_input(images))
    assert tokens.shape == (2, 1 + 2 * 5, 192)
    torch.testing.assert_close(found, tokens[:, 1:].transpose(1, 2).reshape(2, 192, 2, 5))
    assert patch_px(backbone) == 16


def test_the_small_cnn_has_one_map():
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="small-cnn"))
    images = pixels(16, 32)
    found = patch_features(backbone, images, stage_number(backbone, None), CPU)
    assert found.shape == (2, 128, 2, 4)
    with torch.no_grad():
        wanted = backbone.eval()(as_input(images))
    torch.testing.assert_close(F.adaptive_avg_pool2d(found, 2).flatten(1), wanted)
    with pytest.raises(EvaluationError, match=r"`dense_stage` 1: the backbone has stages 0 to 0"):
        stage_number(backbone, 1)


def test_what_shows_no_maps_or_takes_no_such_size_is_said():
    with pytest.raises(EvaluationError, match=r"Flatten has no feature maps .* such as a ResNet, ConvNeXt or ViT"):
        stage_number(torch.nn.Flatten(), None)
    fixed = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(ConfigError, match="VisionTransformer does not say how its input is normalised"):
        patch_features(fixed, pixels(32, 32), 11, CPU)
    fixed.normalisation = IMAGENET
    with pytest.raises(EvaluationError, match="the backbone does not accept images of 32x80 px: "):
        patch_features(fixed, pixels(32, 80), 11, CPU)


@pytest.mark.parametrize(
    ("size", "short", "multiple", "wanted"),
    [((360, 480), 360, 32, (352, 480)), ((1024, 2048), 360, 16, (352, 720)), ((5, 9), 8, 32, (32, 32))],
)
def test_inputs_are_whole_patches(size, short, multiple, wanted):
    assert input_size(*size, short, multiple) == wanted
