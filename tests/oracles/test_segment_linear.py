"""Linear segmentation at the papers' settings against the loop of Leopart's code, torch's StepLR and torchmetrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.scenes import write_shapes
from torchmetrics import JaccardIndex

from samclr.config import EvaluationConfig, IntervalConfig, SegmentLinearConfig
from samclr.config.normalisation import normalisation_of
from samclr.config.pretrain import ModelConfig
from samclr.datasets.labelled_scenes import IGNORED
from samclr.draws import epoch_order
from samclr.evaluation.inputs import open_dense_set
from samclr.evaluation.patches import feature_map, resize
from samclr.evaluation.protocols.base import DenseTask
from samclr.evaluation.protocols.segment_linear import SegmentLinear
from samclr.evaluation.segment_head import head_of, pixel_loss, train_head
from samclr.evaluation.square_scenes import RandomSquares, resize_labels
from samclr.models.backbone import create_backbone
from samclr.scenes.decode import load_scene

CPU = torch.device("cpu")
CONFIG = SegmentLinearConfig(
    segment_linear=True, segment_px=48, segment_mask_px=20, segment_epochs=5, segment_batch_size=2,
    segment_drop_epochs=2, segment_lr=300.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return create_backbone(ModelConfig(backbone="small-cnn")).eval()


@pytest.fixture
def task(tmp_path, backbone):
    shapes = open_dense_set(write_shapes(tmp_path / "shapes", num_train=5))
    config = EvaluationConfig(interval=IntervalConfig(bootstrap=100))
    return DenseTask(backbone=backbone, config=config, device=CPU, cache=tmp_path / "cache", scenes=shapes)


@torch.no_grad()
def map_of(backbone, pixels):
    return feature_map(backbone, normalisation_of(backbone)(torch.from_numpy(pixels)[None].float() / 255), 0)


def papers_head(backbone, scenes):
    """Features enlarged to the masks' size, then the convolution; SGD and StepLR of torch."""
    head = head_of(128, 3, 0)
    optimizer = torch.optim.SGD(head.parameters(), lr=300.0, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    squares = RandomSquares(side_px=48, scale=(0.8, 1.0), seed=0, flip=True)
    for epoch in range(5):
        order = epoch_order(0, epoch, len(scenes))
        for first in (0, 2):  # the fifth image is left out
            maps, masks = [], []
            for number in order[first : first + 2].tolist():
                shown = load_scene(scenes.refs[number]).pixels
                pixels, labels = squares.cut(epoch, number, shown, scenes.label_map(number))
                maps.append(F.interpolate(map_of(backbone, pixels), (20, 20), mode="bilinear"))
                masks.append(F.interpolate(torch.from_numpy(labels)[None, None].float(), (20, 20), mode="nearest"))
            loss = F.cross_entropy(head(torch.cat(maps)), torch.cat(masks)[:, 0].long(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return head


def test_training_is_that_of_the_papers_code(task):
    head = train_head(task.backbone, task.scenes.train, range(5), CONFIG, 48, 0, CPU, task.cache)
    wanted = papers_head(task.backbone, task.scenes.train)
    torch.testing.assert_close(head.weight, wanted.weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(head.bias, wanted.bias, atol=1e-4, rtol=1e-3)


def test_the_mious_are_those_of_torchmetrics_at_three_sizes(task):
    (outcome,) = SegmentLinear(CONFIG).measure(task)
    head = train_head(task.backbone, task.scenes.train, range(5), CONFIG, 48, 0, CPU, task.cache)
    scenes, found = task.scenes.test, {}
    for name in ("miou", "miou_full_size", "miou_mask_size"):
        index = JaccardIndex("multiclass", num_classes=3, average="macro", ignore_index=IGNORED)
        for number in range(len(scenes)):
            labels = scenes.label_map(number)
            square = resize_labels(labels, (48, 48))
            counted = {"miou": square, "miou_full_size": labels, "miou_mask_size": square}[name]
            wanted = torch.from_numpy(counted)[None, None].float()
            size = (20, 20) if name == "miou_mask_size" else counted.shape
            wanted = F.interpolate(wanted, size, mode="nearest")[:, 0].long()
            maps = map_of(task.backbone, resize(load_scene(scenes.refs[number]).pixels, (48, 48)))
            with torch.no_grad():
                index.update(head(F.interpolate(maps, size, mode="bilinear")).argmax(1), wanted)
        found[name] = float(index.compute())
    assert {name: outcome.scores[name].value for name in found} == pytest.approx(found, abs=1e-3)
    assert outcome.scores["miou"].low <= outcome.scores["miou"].value <= outcome.scores["miou"].high
    assert (np.sum(outcome.details["confusion"], 0) > 0).sum() > 1  # more than one class is predicted
    assert (outcome.counts["num_train"], outcome.counts["num_test"]) == (5, 3)


def test_scores_enlarged_are_the_convolution_of_features_enlarged():
    random = torch.Generator().manual_seed(0)
    head, maps = head_of(6, 4, 1), torch.randn(2, 6, 5, 5, generator=random)
    labels = torch.randint(0, 4, (2, 11, 11), generator=random)
    labels[0, :4] = IGNORED
    loss, counted = pixel_loss(head, maps, labels)
    logits = head(F.interpolate(maps, (11, 11), mode="bilinear"))
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, ignore_index=IGNORED))
    assert counted == (labels != IGNORED).sum()
    nothing, none = pixel_loss(head, maps, torch.full_like(labels, IGNORED))
    assert (float(nothing.detach()), int(none)) == (0.0, 0)


def test_the_head_is_drawn_as_torch_does_and_leaves_its_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    ours, again, other = head_of(400, 30, 0), head_of(400, 30, 0), head_of(400, 30, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(ours.weight, again.weight)
    assert not torch.equal(ours.weight, other.weight)
    theirs = torch.nn.Conv2d(400, 30, 1)
    for name in ("weight", "bias"):
        own, wanted = getattr(ours, name), getattr(theirs, name)
        assert own.abs().max() <= 1 / 20
        assert float(own.detach().std()) == pytest.approx(float(wanted.detach().std()), rel=0.3)


def test_fewer_images_than_a_batch_are_one_batch(task):
    config = replace(CONFIG, segment_batch_size=128)
    head = train_head(task.backbone, task.scenes.train, range(5), config, 48, 0, CPU, task.cache)
    assert np.isfinite(head.weight.detach().numpy()).all()
    assert not torch.equal(head.weight, head_of(128, 3, 0).weight)
