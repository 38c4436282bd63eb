"""Few-shot subsets, crops, training protocols, and memory that does not grow with a set."""

import copy
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.damage import flip_a_bit
from support.scenes import write_labelled
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from samclr.config import (
    CropProbeConfig,
    DenseConfig,
    EvaluationConfig,
    FewShotConfig,
    FineTuneConfig,
    IntervalConfig,
    ModelConfig,
    ProbeConfig,
)
from samclr.config.normalisation import IMAGENET
from samclr.config.serialise import from_dict, to_dict
from samclr.datasets.labelled import open_labelled
from samclr.errors import ConfigError, EvaluationError
from samclr.evaluation import features, linear, neighbours, states
from samclr.evaluation.crops import LabelledCrops
from samclr.evaluation.features import split_features
from samclr.evaluation.linear import linear_probe
from samclr.evaluation.mapped import GrowingArray, map_array
from samclr.evaluation.neighbours import USUAL_SETTINGS, knn_ranked
from samclr.evaluation.protocols import fine_tune as fine_tuning
from samclr.evaluation.protocols.base import LabelledTask
from samclr.evaluation.protocols.crop_probe import crop_probe
from samclr.evaluation.protocols.few_shot import few_rows
from samclr.evaluation.protocols.few_shot_spec import share_name
from samclr.evaluation.protocols.fine_tune import fine_tune
from samclr.models.backbone import create_backbone
from samclr.models.fingerprints import weights_fingerprint

CPU = torch.device("cpu")
PROBE = CropProbeConfig(crop_probe=True, crop_epochs=6, crop_batch_size=5, crop_px=16, crop_lr=20.0)
TUNE = FineTuneConfig(fine_tune=True, tune_epochs=3, tune_batch_size=5, tune_px=16)


@pytest.fixture
def shades(tmp_path):
    return open_labelled(write_labelled(tmp_path / "shades"))


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return create_backbone(ModelConfig(backbone="small-cnn")).eval()


# ---- few labels ----


def test_few_labels_are_balanced_seeded_and_nested():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    one, ten = (few_rows(labels, 10, share, 0) for share in (0.01, 0.1))
    assert np.bincount(labels[one]).tolist() == [1] * 10
    assert np.bincount(labels[ten]).tolist() == [10] * 10
    assert set(one) < set(ten)
    assert (few_rows(labels, 10, 0.1, 0) == ten).all()
    assert (few_rows(labels, 10, 0.1, 1) != ten).any()
    assert len(few_rows(labels, 10, 0.0001, 0)) == 10
    assert [share_name(share) for share in (0.01, 0.1, 0.005)] == [
        "1pct",
        "10pct",
        "0.5pct",
    ]


def test_a_class_with_too_few_images_is_named():
    labels = np.repeat([0, 1], [190, 10])
    with pytest.raises(EvaluationError, match=r"50% of 200 labels are 50 of each class, but class 1 has 10; take a s"):
        few_rows(labels, 2, 0.5, 0)
    with pytest.raises(EvaluationError, match=r"^0\.2% of 1000 labels are 1 of each class, but class 1 has 0"):
        few_rows(np.zeros(1000, np.int64), 2, 0.002, 0)


def test_a_sweep_needs_two_labels_of_a_class():
    one = torch.randn(3, 4)
    labels = torch.arange(3)
    with pytest.raises(
        EvaluationError, match=r"no learning rate can be chosen from 3 labels, one per class: leave out `probe_sweep`"
    ):
        linear_probe(one, labels, one, labels, 3, ProbeConfig(probe_epochs=1, probe_sweep=(0.1, 1.0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FewShotConfig(few_shot=(0.1, 1.0)), r"few_shot is 0.1 1.0; .* each a number over 0, under 1"),
        (lambda: FewShotConfig(few_shot=(0.1, 0.01, 0.1)), "few_shot names a share twice; expected each once"),
        (lambda: FewShotConfig(few_shot=(0.1, 0.1 + 1e-12)), "few_shot names a share twice"),  # one name in results
        (lambda: FewShotConfig(few_shot=(10,)), r"few_shot is 10; .* each a number over 0, under 1"),
        (lambda: IntervalConfig(bootstrap=10), r"bootstrap is 10; expected a whole number from 100 to 1000000"),
        (lambda: CropProbeConfig(crop_epochs=0), r"crop_epochs is 0; expected a whole number from 1 to 100000"),
        (lambda: CropProbeConfig(crop_min_scale=1.5), r"crop_min_scale is 1.5; expected a number over 0, at most 1"),
        (lambda: FineTuneConfig(tune_head_lr=-1.0), r"tune_head_lr is -1.0; expected a number over 0"),
        (lambda: DenseConfig(dense_num_test=0), r"dense_num_test is 0; expected a whole number from 1 to 1000000000"),
        (lambda: ProbeConfig(probe_sweep=(0.1, 0.0)), r"probe_sweep is 0.1 0.0; .* each a number over 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_protocols_that_are_asked_for_come_in_their_order():
    usual = EvaluationConfig()
    assert [config.name for config in usual.asked("labelled")] == ["knn", "linear"]
    assert usual.of("dense") == DenseConfig()
    asked = EvaluationConfig(protocols=(PROBE, FewShotConfig(few_shot=(0.1,)), ProbeConfig(skip_linear=True)))
    assert [config.name for config in asked.asked("labelled")] == ["knn", "few_shot", "crop_probe"]
    assert from_dict(EvaluationConfig, to_dict(asked)) == asked
    with pytest.raises(ConfigError, match="settings of one protocol twice: linear, linear"):
        EvaluationConfig(protocols=(ProbeConfig(), ProbeConfig()))


# ---- crops ----


def crops_of(shades, tmp_path, **changes):
    options = {"size_px": 16, "min_scale": 0.3, "batch_size": 5, "seed": 0, "cache": tmp_path / "cache"} | changes
    return LabelledCrops(shades.train, **options)


def test_crops_are_a_function_of_seed_and_epoch(shades, tmp_path):
    crops = crops_of(shades, tmp_path)
    first = list(crops.epoch(3, CPU))
    for (pixels, labels), (again, same) in zip(first, crops_of(shades, tmp_path).epoch(3, CPU), strict=True):
        assert torch.equal(pixels, again)
        assert torch.equal(labels, same)
    assert [len(labels) for _, labels in first] == [5, 5, 2]
    assert sorted(torch.cat([labels for _, labels in first]).tolist()) == [0] * 6 + [1] * 6
    for other in (crops.epoch(4, CPU), crops_of(shades, tmp_path, seed=1).epoch(3, CPU)):
        assert not torch.equal(next(iter(other))[0], first[0][0])


def test_crops_lie_in_their_image_at_the_scale_asked_for(shades, tmp_path):
    crops = crops_of(shades, tmp_path)
    boxes = np.concatenate([crops.boxes(epoch, np.arange(12)) for epoch in range(20)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [24, 20]).all()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) / (24 * 20)
    assert 0.27 < areas.min() < 0.4
    assert areas.max() > 0.85


def test_half_of_the_crops_are_mirrored(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "set" / split / "ramp").mkdir(parents=True)
        for number in range(40):
            ramp = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None], 32, 0)
            Image.fromarray(ramp).save(tmp_path / "set" / split / "ramp" / f"{number:02d}.png")
    crops = crops_of(open_labelled(tmp_path / "set"), tmp_path, batch_size=40)
    ((pixels, _),) = crops.epoch(0, CPU)
    falling = (pixels[:, 0, 8, 0] > pixels[:, 0, 8, -1]).sum()
    assert 10 <= int(falling) <= 30


def test_no_batch_of_one_image(shades, tmp_path):
    crops = crops_of(shades, tmp_path, batch_size=11)
    assert [len(labels) for _, labels in crops.epoch(0, CPU)] == [12]
    assert crops.num_batches == 1


def test_a_broken_training_image_is_an_error(shades, tmp_path):
    (tmp_path / "shades/train/dark/0.png").write_bytes(b"no image")
    with pytest.raises(
        EvaluationError, match=r"1 of the labelled images cannot be read: dark/0.png \(.*\); fix or remove"
    ):
        crops_of(shades, tmp_path)


# ---- protocols that train on crops ----


@pytest.mark.parametrize(("protocol", "config"), [(crop_probe, PROBE), (fine_tune, TUNE)])
def test_it_learns_and_leaves_the_backbone_as_it_was(protocol, config, shades, backbone, tmp_path):
    before = weights_fingerprint(backbone)
    found = protocol(backbone, shades, config, CPU, tmp_path / "cache")
    assert weights_fingerprint(backbone) == before
    assert found.top1[-1] == 1.0
    assert len(found.top1) == len(found.top5) == (6 if protocol is crop_probe else 3)
    assert found.ranked[:, 0].tolist() == shades.test.labels.tolist()


def test_a_damaged_state_is_made_anew_and_said(shades, backbone, tmp_path, capsys):
    whole = crop_probe(backbone, shades, PROBE, CPU, tmp_path / "cache")
    (file,) = (tmp_path / "cache/probes").iterdir()
    content = file.read_bytes()
    for damaged in (b"no state", b"", content[:-3], content[:500] + bytes([content[500] ^ 8]) + content[501:]):
        file.write_bytes(damaged)
        assert crop_probe(backbone, shades, PROBE, CPU, tmp_path / "cache").top1 == whole.top1
        assert "in the cache is damaged; the protocol runs again" in capsys.readouterr().err


def test_a_rate_that_is_too_high_is_said(shades, backbone, tmp_path):
    with pytest.raises(EvaluationError, match=r"fine-tuning: the loss is not finite in epoch \d+; lower its le"):
        fine_tune(backbone, shades, replace(TUNE, tune_backbone_lr=1e6, tune_epochs=20), CPU, tmp_path / "cache")


@pytest.mark.parametrize(("still", "moves"), [("tune_backbone_lr", "1."), ("tune_head_lr", "0.")])
def test_backbone_and_head_have_rates_of_their_own(still, moves, shades, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(states, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(states, "save_state", lambda path, state: seen.append(copy.deepcopy(state)))
    seen: list = []
    config = replace(TUNE, tune_epochs=2, tune_weight_decay=1e-12, **{still: 1e-12})
    nn.init.normal_(head := linear.zero_layer(512, 2).weight)
    monkeypatch.setattr(fine_tuning, "zero_layer", lambda width, num: _with_weight(nn.Linear(width, num), head))
    fine_tune(backbone, shades, config, CPU, tmp_path / "cache")
    (trained,) = (one["trained"] for one in seen if (one["epochs"], one.get("batches")) == (1, 0))
    before = {f"0.{name}": value for name, value in backbone.named_parameters()} | {"1.weight": head}
    changed = {name[:2] for name, value in before.items() if not torch.allclose(trained[name], value, atol=1e-6)}
    assert changed == {moves}


def _with_weight(layer, weight):
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer


# ---- sets larger than memory ----


class LargestResult(TorchDispatchMode):
    """The most bytes that any operation of torch made anew."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        for made in result if isinstance(result, tuple | list) else [result]:
            if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() not in inputs:
                self.largest = max(self.largest, made.untyped_storage().nbytes())
        return result


def mapped(path, num, width=32):
    with GrowingArray(path) as file:
        for first in range(0, num, 500):
            rows = np.random.default_rng(first).normal(size=(min(500, num - first), width))
            file.append(rows)
    return map_array(path)


def largest_of_knn_and_probe(tmp_path, num):
    bank = mapped(tmp_path / f"{num}.npy", num)
    labels = torch.arange(num) % 3
    with LargestResult() as seen:
        knn_ranked(bank[:40], bank, labels, 3, USUAL_SETTINGS)
        config = ProbeConfig(probe_epochs=1, probe_batch_size=100)
        linear_probe(bank, labels, bank, labels, 3, config)
        swept = replace(config, probe_sweep=(0.1,))
        linear_probe(bank, labels, bank, labels, 3, swept, np.arange(0, num, 2))
    return seen.largest, bank.nbytes


def test_knn_and_probe_never_hold_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "BANK_AT_ONCE", 500)
    monkeypatch.setattr(linear, "ROWS_AT_ONCE", 500)
    small, _ = largest_of_knn_and_probe(tmp_path, 4000)
    large, whole = largest_of_knn_and_probe(tmp_path, 16_000)
    assert large < whole / 3
    # Beside the batches, what grows is the order of the rows and the answers, five numbers a row.
    assert large - small <= 12_000 * 5 * 8


def said(module):
    module.normalisation = IMAGENET
    return module


def test_features_are_made_without_holding_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "DECODE_BYTES", 8 * 3 * 64 * 64)
    peaks = []
    for per_class in (10, 60):
        split = open_labelled(write_labelled(tmp_path / str(per_class), per_class)).train
        tracemalloc.start()
        found = split_features(said(nn.Sequential(nn.AvgPool2d(32), nn.Flatten())), split, 64, CPU, tmp_path / "cache")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.shape == (2 * per_class, 12)
    assert peaks[1] - peaks[0] < 60 * 3 * 64 * 64 / 2  # of 100 more images, decoded


def test_mapped_features_are_those_that_were_written(tmp_path):
    rows = np.random.default_rng(0).normal(size=(1234, 7)).astype(np.float32)
    with GrowingArray(tmp_path / "a/x.npy") as file:
        for first in range(0, 1234, 100):
            file.append(rows[first : first + 100])
    assert np.array_equal(map_array(tmp_path / "a/x.npy").numpy(), rows)
    map_array(tmp_path / "a/x.npy")[0] = 0.0
    assert np.array_equal(np.load(tmp_path / "a/x.npy"), rows)


def test_features_that_are_not_finite_are_no_features(shades, tmp_path):
    broken = said(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)))
    nn.init.constant_(broken[1].bias, float("nan"))
    with pytest.raises(EvaluationError, match="features are not finite: its weights are damaged, or training failed"):
        split_features(broken, shades.train, 16, CPU, tmp_path / "cache")
    assert list((tmp_path / "cache/features").iterdir()) == []


def test_the_fingerprint_follows_weights_not_how_they_lie_in_memory():
    backbone = create_backbone(ModelConfig(backbone="resnet18"))
    before = weights_fingerprint(backbone)
    assert weights_fingerprint(backbone.to(memory_format=torch.channels_last)) == before
    with torch.no_grad():
        next(backbone.parameters())[0, 0, 0, 0] += 1.0
    assert weights_fingerprint(backbone) != before


def test_any_flip_in_cached_features_is_healed_and_said(tmp_path, capsys):
    split = open_labelled(write_labelled(tmp_path / "set", 4)).train
    backbone = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    backbone.normalisation = IMAGENET
    expected = split_features(backbone, split, 16, CPU, tmp_path / "cache").clone()
    (path,) = (tmp_path / "cache/features").iterdir()
    before = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(50):
        flip_a_bit(path, random, before)
        assert torch.equal(split_features(backbone, split, 16, CPU, tmp_path / "cache"), expected)
        assert "in the cache is damaged; it is made again" in capsys.readouterr().err
        assert path.read_bytes() == before


def test_large_images_go_through_a_backbone_in_smaller_batches(monkeypatch):
    """Small ones as ever, 256 at a time: batches of other sizes may differ in last digits."""
    assert [features.images_at_once((px, px)) for px in (16, 128, 224, 448, 4096)] == [256, 256, 83, 20, 1]
    assert [features.images_at_once((3, px, px), 8) for px in (512, 1024)] == [8, 4]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (10, 3, 24, 40), np.uint8)
    torch.manual_seed(0)
    backbone, seen = create_backbone(ModelConfig(backbone="resnet18")).eval(), []
    whole = features.pixel_features(backbone, pixels, CPU, IMAGENET)
    monkeypatch.setattr(features, "PIXELS_AT_ONCE", 3 * 24 * 40 + 1)
    backbone.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    again = features.pixel_features(backbone, pixels, CPU, IMAGENET)
    assert seen == [3, 3, 3, 1]
    torch.testing.assert_close(again, whole, atol=1e-5, rtol=1e-5)


def test_a_step_of_one_value_a_channel_is_refused_before_training(shades, tmp_path):
    """Batch norm has no statistics of it; of one image whose last map has several places it has."""
    resnet = create_backbone(ModelConfig(backbone="resnet18")).eval()

    def check(**more):
        config = EvaluationConfig()
        device = next(resnet.parameters()).device
        task = LabelledTask(backbone=resnet, config=config, device=device, cache=tmp_path, labelled=shades)
        fine_tuning.FineTune(replace(TUNE, **more)).check(task)

    before = weights_fingerprint(resnet)
    check(tune_px=32)
    check(tune_px=128, tune_batch_size=1)
    with pytest.raises(EvaluationError, match=r"a step of one image of 32 px .*; take 2 or more .*tune_batch_size"):
        check(tune_px=32, tune_batch_size=1)
    assert weights_fingerprint(resnet) == before
