"""In-context segmentation against a naive loop over open-hummingbird's arithmetic, and squares against torchvision.

Open-hummingbird's own code is run beside ours by benchmarks/beside_hummingbird.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv
from PIL import Image
from support.scenes import SHAPES, write_shapes
from torchmetrics.classification import MulticlassJaccardIndex

import samclr.draws as draws
from samclr.config import EvaluationConfig, InContextConfig, IntervalConfig
from samclr.config.normalisation import normalisation_of
from samclr.config.pretrain import ModelConfig
from samclr.datasets.labelled_scenes import IGNORED
from samclr.evaluation.context_memory import JITTER, SCALE, context_memory, rarest_first
from samclr.evaluation.inputs import open_dense_set
from samclr.evaluation.patches import feature_map
from samclr.evaluation.protocols.base import DenseTask
from samclr.evaluation.protocols.in_context import InContext
from samclr.evaluation.square_scenes import RandomSquares, resize_labels, whole_patches
from samclr.models.backbone import create_backbone
from samclr.scenes.decode import load_scene

CPU = torch.device("cpu")
PX, GRID, EPOCHS = 48, 6, 2
CONFIG = InContextConfig(
    in_context=True, in_context_px=PX, in_context_memory=(8 * 5, 8 * 30), in_context_k=7, in_context_epochs=EPOCHS
)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return create_backbone(ModelConfig(backbone="small-cnn")).eval()


@pytest.fixture
def task(tmp_path, backbone):
    shapes = open_dense_set(write_shapes(tmp_path / "shapes"))
    config = EvaluationConfig(interval=IntervalConfig(bootstrap=100))
    return DenseTask(backbone=backbone, config=config, device=CPU, cache=tmp_path / "cache", scenes=shapes)


@torch.no_grad()
def patches_of(backbone, pixels):
    batch = normalisation_of(backbone)(torch.from_numpy(pixels)[None].float() / 255)
    return feature_map(backbone, batch, 0)[0].flatten(1).T


def naive_memory(backbone, scenes, num_crops, size):
    """Of each crop the size // num_crops patches of the smallest score, with their label distributions."""
    squares, keys, values = RandomSquares(side_px=PX, scale=SCALE, seed=0, jitter=JITTER, corners=True), [], []
    for epoch in range(EPOCHS):
        for number in range(len(scenes)):
            pixels, labels = squares.cut(
                epoch, number, load_scene(scenes.refs[number]).pixels, scenes.label_map(number)
            )
            labels = np.where(labels == IGNORED, 0, labels)  # as its ignored pixels become class 0, background
            cells = [labels[8 * y : 8 * y + 8, 8 * x : 8 * x + 8] for y in range(GRID) for x in range(GRID)]
            frequency = {c: sum(c in cell for cell in cells) for c in range(3)}
            lots = draws.uniforms(0, draws.STREAM_SELECT, epoch, number, GRID**2)[0]
            scores = [lot * sum(frequency[c] for c in set(cell.ravel())) for cell, lot in zip(cells, lots, strict=True)]
            features = patches_of(backbone, pixels)
            for place in np.argsort(scores)[: size // num_crops]:
                keys.append(features[place] / features[place].norm())
                values.append(torch.tensor([(cells[place] == c).mean() for c in range(3)]))
    return torch.stack(keys), torch.stack(values).float()


def naive_miou(backbone, scenes, keys, values):
    """Counted at 48 px, label maps by torch's nearest."""
    predicted, wanted = [], []
    for number in range(len(scenes)):
        image = Image.fromarray(load_scene(scenes.refs[number]).pixels)
        square = np.asarray(image.resize((PX, PX), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        answers = []
        for query in patches_of(backbone, np.ascontiguousarray(square)):
            similarity = F.cosine_similarity(query[None], keys)
            near = similarity.argsort(descending=True)[:7]
            weights = (similarity[near] / 0.02).softmax(0)
            answers.append((weights[:, None] * values[near]).sum(0))
        grid = torch.stack(answers).T.reshape(1, 3, GRID, GRID)
        predicted.append(F.interpolate(grid, (PX, PX), mode="bilinear").argmax(1))
        labels = torch.from_numpy(scenes.label_map(number))[None, None]
        wanted.append(F.interpolate(labels, (PX, PX), mode="nearest")[0].long())
    index = MulticlassJaccardIndex(3, average="macro", ignore_index=IGNORED)
    return float(index(torch.cat(predicted), torch.cat(wanted)))


def test_the_miou_is_that_of_a_naive_loop_for_each_memory(task):
    outcomes = InContext(CONFIG).measure(task)
    assert [(one.variant, one.counts["num_patches"]) for one in outcomes] == [("", 40), ("240", 240)]
    for size, outcome in zip(CONFIG.in_context_memory, outcomes, strict=True):
        keys, values = naive_memory(task.backbone, task.scenes.train, 8, size)
        wanted = naive_miou(task.backbone, task.scenes.test, keys, values)
        score = outcome.scores["miou"]
        assert score.value == pytest.approx(wanted, abs=1e-3)  # 0.1 point
        assert score.low <= score.value <= score.high
        assert outcome.settings["in_context_memory"] == size
        assert abs(outcome.scores["miou_full_size"].value - score.value) < 0.1


@pytest.mark.parametrize("sizes", [(40, 240), (3, 240), (3, 5)])
def test_a_smaller_memory_is_what_it_would_be_alone(task, sizes):
    """5 and 3 patches are fewer than one of each of 8 crops: a seeded choice of crops gives one each."""
    config = replace(CONFIG, in_context_memory=sizes, in_context_k=3)
    given = (task.backbone, task.scenes.train, range(4))
    both = context_memory(*given, config, PX, 0, CPU, task.cache)
    alone = context_memory(*given, replace(config, in_context_memory=(sizes[0],)), PX, 0, CPU, task.cache)
    for part in ("features", "shares"):
        wanted = getattr(alone, part)
        assert torch.equal(getattr(both, part)[both.rows(sizes[0])], wanted)
        assert len(wanted) == sizes[0]
    assert both.rows(sizes[1]).sum() == sizes[1]
    assert alone.features.dtype == torch.float16


@pytest.mark.parametrize("background", ["background", "Background"])
def test_void_is_background_where_a_class_is_called_so_or_is_left_out(task, background):
    assert task.scenes.train.classes == SHAPES
    given = (task.backbone, replace(task.scenes.train, classes=(background, *SHAPES[1:])), range(4))
    as_background = context_memory(*given, CONFIG, PX, 0, CPU, task.cache)
    left_out = context_memory(*given, replace(CONFIG, in_context_void="left-out"), PX, 0, CPU, task.cache)
    for memory in (as_background, left_out):
        torch.testing.assert_close(memory.shares.float().sum(1), torch.ones(len(memory.shares)), atol=2e-3, rtol=0)
    assert as_background.shares[:, 0].float().mean() > left_out.shares[:, 0].float().mean()


def test_patches_of_rare_classes_come_first():
    shares = np.zeros((30, 3))
    shares[:, 0], shares[7], shares[8] = 1, (0, 1, 0), (0, 0, 0)
    order = rarest_first(shares, np.full(30, 0.5))
    assert order[0] == 7
    assert len(order) == 29
    assert 8 not in order


# ---- squares ----


def image_and_labels(height=61, width=83):
    random = np.random.default_rng(0)
    return (
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        random.integers(0, 9, (height, width)).astype(np.uint8),
    )


@pytest.mark.parametrize(("size", "new"), [((61, 83), (48, 48)), ((48, 48), (10, 10)), ((9, 7), (32, 32))])
def test_labels_are_resized_as_by_pillow_and_as_by_torch(size, new):
    labels = image_and_labels(*size)[1]
    assert (resize_labels(labels, new) == np.asarray(Image.fromarray(labels).resize(new[::-1], 0))).all()
    as_torch = F.interpolate(torch.from_numpy(labels)[None, None].float(), new, mode="nearest")[0, 0]
    assert (resize_labels(labels, new, corners=True) == as_torch.numpy()).all()


def test_crops_are_those_of_torchvision(monkeypatch):
    pixels, labels = image_and_labels()
    squares = RandomSquares(side_px=32, scale=(0.3, 0.9), seed=3)
    flipped = replace(squares, flip=True)
    seen = set()
    for number in range(12):
        square, own = squares.cut(2, number, pixels, labels)
        again = squares.cut(2, number, pixels, labels)
        assert (square == again[0]).all()
        assert (own == again[1]).all()
        mirrored, own_mirrored = flipped.cut(2, number, pixels, labels)
        turned = not (mirrored == square).all()
        seen.add(turned)
        assert (mirrored == (square[..., ::-1] if turned else square)).all()
        assert (own_mirrored == (own[:, ::-1] if turned else own)).all()
    assert seen == {True, False}
    box = (5, 7, 45, 37)
    monkeypatch.setattr(
        "samclr.evaluation.square_scenes.random_resized_crops", lambda *given: (np.array([box]), np.array([False]))
    )
    square, own = squares.cut(0, 0, pixels, labels)
    place = {"top": 7, "left": 5, "height": 30, "width": 40, "size": [32, 32]}
    wanted = tv.resized_crop(Image.fromarray(pixels), **place, antialias=True)
    assert (square == np.asarray(wanted).transpose(2, 0, 1)).all()
    nearest = tv.resized_crop(Image.fromarray(labels), **place, interpolation=tv.InterpolationMode.NEAREST)
    assert (own == np.asarray(nearest)).all()


def test_colours_are_changed_within_their_range_and_in_half_of_the_images():
    pixels, labels = image_and_labels()
    plain = RandomSquares(side_px=32, scale=(0.5, 1.0), seed=0)
    jittered = replace(plain, jitter=0.1)
    changes = []
    for number in range(40):
        before, after = (one.cut(0, number, pixels, labels)[0].astype(float) for one in (plain, jittered))
        changes.append(np.abs(before - after).mean())
    same = sum(change == 0 for change in changes)
    assert 0 < same < 10  # a sixteenth of all
    assert max(changes) < 40


@pytest.mark.parametrize(("side", "patch", "wanted"), [(512, 16, 512), (512, 14, 504), (448, 32, 448), (5, 8, 8)])
def test_squares_are_whole_patches(side, patch, wanted):
    assert whole_patches(side, patch) == wanted
