"""Evaluations that are killed or stopped in the middle end in the numbers of one that was not."""

import copy

import numpy as np
import pytest
import torch
from support.scenes import write_labelled, write_shapes
from timm.layers import DropPath

from samclr.config import (
    CropProbeConfig,
    DenseConfig,
    EvaluationConfig,
    FineTuneConfig,
    InContextConfig,
    IntervalConfig,
    ModelConfig,
    ProbeConfig,
    SegmentLinearConfig,
)
from samclr.datasets.labelled import open_labelled
from samclr.evaluation import dense_features, features, mapped, neighbours, segment_head, square_scenes, states
from samclr.evaluation.context_memory import context_memory
from samclr.evaluation.dense_features import training_patches
from samclr.evaluation.features import split_features
from samclr.evaluation.inputs import open_dense_set
from samclr.evaluation.linear import Rows, ShuffledRows, linear_probe
from samclr.evaluation.neighbours import USUAL_SETTINGS, knn_ranked
from samclr.evaluation.protocols.base import DenseTask
from samclr.evaluation.protocols.crop_probe import crop_probe
from samclr.evaluation.protocols.fine_tune import fine_tune
from samclr.evaluation.protocols.in_context import InContext
from samclr.evaluation.protocols.on_scenes import Squares
from samclr.evaluation.protocols.overcluster import square_maps
from samclr.evaluation.segment_head import train_head
from samclr.evaluation.states import save_state
from samclr.models.backbone import create_backbone
from samclr.processes.stopping import Stopped

CPU = torch.device("cpu")
PROBE = CropProbeConfig(crop_probe=True, crop_epochs=3, crop_batch_size=5, crop_px=16, crop_lr=20.0)
TUNE = FineTuneConfig(fine_tune=True, tune_epochs=3, tune_batch_size=5, tune_px=16)
SEGMENT = SegmentLinearConfig(
    segment_linear=True, segment_px=16, segment_mask_px=8, segment_epochs=3, segment_batch_size=3,
    segment_drop_epochs=2, segment_lr=10.0,
)  # fmt: skip


@pytest.fixture
def shades(tmp_path):
    return open_labelled(write_labelled(tmp_path / "shades"))


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return create_backbone(ModelConfig(backbone="small-cnn")).eval()


class Killed(BaseException):
    """Nothing catches it."""


@pytest.fixture
def killed_after(monkeypatch):
    """Every state is saved; after so many the process is killed, or told to stop as by a signal."""
    monkeypatch.setattr(states, "SAVE_EVERY_S", -1.0)
    saved: list[dict] = []

    def after(number, is_told=False):
        def save(path, state):
            save_state(path, state)
            saved.append(copy.deepcopy(state))
            if len(saved) == number and not is_told:
                raise Killed

        monkeypatch.setattr(states, "save_state", save)
        monkeypatch.setattr(states, "stop_requested", lambda: is_told and len(saved) + 1 == number)
        return saved

    return after


@pytest.mark.parametrize("is_told", [False, True])
@pytest.mark.parametrize(("protocol", "config"), [(crop_probe, PROBE), (fine_tune, TUNE)])
def test_killed_and_started_again_it_ends_in_the_same(
    protocol, config, is_told, shades, backbone, tmp_path, killed_after
):
    whole = protocol(backbone, shades, config, CPU, tmp_path / "one")
    saved = killed_after(6, is_told)
    with pytest.raises(Stopped if is_told else Killed):
        protocol(backbone, shades, config, CPU, tmp_path / "two")
    assert [(one["epochs"], one["batches"]) for one in saved] == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    again = protocol(backbone, shades, config, CPU, tmp_path / "two")
    assert [(one["epochs"], one["batches"]) for one in saved[6:8]] == [(1, 3), (2, 0)]  # no batch twice
    assert again.top1 == whole.top1
    assert torch.equal(again.ranked, whole.ranked)
    # Finished: read from the cache, without weights in it.
    finished = len(saved)
    assert protocol(backbone, shades, config, CPU, tmp_path / "two").top1 == whole.top1
    assert len(saved) == finished
    (file,) = (tmp_path / "two/probes").iterdir()
    assert set(torch.load(file)) == {"epochs", "top1", "top5", "ranked"}


def test_random_layers_are_seeded_step_by_step(shades, backbone, tmp_path, killed_after):
    """Whatever the caller drew before: killed and started again, drop path leaves out the same, weights are equal."""
    dropping = copy.deepcopy(backbone)
    dropping.layers = torch.nn.Sequential(dropping.layers, DropPath(0.5))
    saved = killed_after(-1)
    torch.manual_seed(1)
    draws = torch.get_rng_state()
    fine_tune(dropping, shades, TUNE, CPU, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), draws)
    whole = [*saved]
    saved.clear()
    killed_after(2)
    torch.manual_seed(2)
    with pytest.raises(Killed):
        fine_tune(dropping, shades, TUNE, CPU, tmp_path / "two")
    killed_after(-1)
    torch.manual_seed(3)
    fine_tune(dropping, shades, TUNE, CPU, tmp_path / "two")
    for one, other in zip(saved, whole, strict=True):
        assert (one["epochs"], one["top1"]) == (other["epochs"], other["top1"])
        weights, expected = one.get("trained", {}), other.get("trained", {})
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("is_told", [False, True])
def test_linear_segmentation_resumes_within_an_epoch(is_told, backbone, tmp_path, killed_after, monkeypatch):
    """Images of a step and images that go through the backbone together begin at other places: three, and two."""
    for module in (dense_features, segment_head):
        monkeypatch.setattr(module, "LOAD_AHEAD", 2)
    monkeypatch.setattr(square_scenes, "IMAGES_AT_ONCE", 2)
    scenes = open_dense_set(write_shapes(tmp_path / "shapes", num_train=8)).train
    groups, seen = square_scenes.patch_maps, []

    def patch_maps(backbone, pixels, stage, device):
        seen.append(pixels.tobytes())
        return groups(backbone, pixels, stage, device)

    monkeypatch.setattr(square_scenes, "patch_maps", patch_maps)

    def run(cache):
        return train_head(backbone, scenes, range(8), SEGMENT, 16, 0, CPU, tmp_path / cache)

    whole, groups_of_one = run("one").state_dict(), {*seen}
    saved = killed_after(10, is_told)
    with pytest.raises(Stopped if is_told else Killed):
        run("two")
    assert [one["steps"] for one in saved][-1] == 3
    seen.clear()
    again = run("two").state_dict()
    assert {*seen} <= groups_of_one
    assert (len(seen), len(groups_of_one)) == (5, 9)
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    number = len(saved)
    assert torch.equal(run("two").weight, whole["weight"])  # from the cache
    assert len(saved) == number


@pytest.mark.parametrize("is_told", [False, True])
def test_a_probe_with_a_sweep_resumes(is_told, tmp_path, killed_after):
    features, labels = torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4
    config = ProbeConfig(probe_epochs=3, probe_batch_size=16, probe_sweep=(0.1, 1.0))

    def run(state):
        return linear_probe(
            features[0], labels, features[1], labels, 4, config, np.arange(4, 40), state and tmp_path / state
        )

    whole = run(None)
    saved = killed_after(14, is_told)
    with pytest.raises(Stopped if is_told else Killed):
        run("two.pt")
    again = run("two.pt")
    assert (again.top1, again.top5, again.lr) == (whole.top1, whole.top5, whole.lr)
    assert torch.equal(again.ranked, whole.ranked)
    number = len(saved)
    assert run("two.pt").top1 == whole.top1
    assert len(saved) == number
    assert [path.name for path in sorted(tmp_path.glob("two*.pt"))] == ["two-0.1.pt", "two-1.pt", "two.pt"]


def test_rows_are_batches_of_any_epoch_alone():
    rows = Rows(features=torch.arange(10.0)[:, None], labels=torch.arange(10))
    once = ShuffledRows(rows, 4, 7)
    wanted = [torch.cat([labels for _, labels in once.epoch(number, CPU)]) for number in range(3)]
    generator = torch.Generator().manual_seed(7)
    assert all(torch.equal(one, torch.randperm(10, generator=generator)) for one in wanted)
    for number in (2, 0, 1):
        later = torch.cat([labels for _, labels in once.epoch(number, CPU, 1)])
        assert torch.equal(later, wanted[number][4:])
    some = rows.some(np.array([2, 3, 5])).some(np.array([0, 2]))
    assert some.own_labels.tolist() == [2, 5]
    assert torch.cat([*some.chunks(1)])[:, 0].tolist() == [2, 5]


def made(what, backbone, shapes, cache):
    """The arrays of a protocol, made or taken from the cache, seven images or three."""
    if what == "features":
        split = open_labelled(shapes).train
        return [split_features(backbone, split, 16, CPU, cache)]
    if what == "patches":
        config = DenseConfig(dense_px=32)
        return [*training_patches(backbone, shapes.train, range(7), config, CPU, cache)]
    if what == "memory":
        config = InContextConfig(in_context=True, in_context_memory=(70,))
        memory = context_memory(backbone, shapes.train, range(7), config, 32, 0, CPU, cache)
        return [memory.features, memory.shares, memory.places]
    task = DenseTask(backbone=backbone, config=EvaluationConfig(), device=CPU, cache=cache, scenes=shapes)
    return [square_maps(task, range(3), Squares.of(backbone, 32, None, "overcluster_stage"))]


@pytest.mark.parametrize("what", ["features", "patches", "memory", "squares"])
def test_features_are_kept_part_by_part(what, backbone, tmp_path, monkeypatch):
    """Parts of two images; killed while the last but one is made, those before it are not made again."""
    if what == "features":
        shapes = write_labelled(tmp_path / "shades")
    else:
        shapes = open_dense_set(write_shapes(tmp_path / "shapes", num_train=7))
    monkeypatch.setattr(features, "DECODE_BYTES", 2 * 3 * 16**2)
    monkeypatch.setattr(dense_features, "LOAD_AHEAD", 2)
    whole = [one.clone() for one in made(what, backbone, shapes, tmp_path / "one")]
    monkeypatch.setattr(features, "PART_IMAGES", 2)
    monkeypatch.setattr(dense_features, "PART_SCENES", 2)
    write, written = mapped._write, []

    def killed(paths, *more):
        if len(written) == killed_at:
            raise Killed
        write(paths, *more)
        written.append(paths[0].name)

    monkeypatch.setattr(mapped, "_write", killed)
    killed_at = 1
    with pytest.raises(Killed):
        made(what, backbone, shapes, tmp_path / "two")
    killed_at = -1
    again = made(what, backbone, shapes, tmp_path / "two")
    assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))
    assert len({*written}) == len(written)
    num = {"features": 6, "patches": 4, "memory": 8, "squares": 2}[what]
    assert sorted(written[:-1]) == [f"{number:06d}-0.npy" for number in range(num)]
    assert not [*(tmp_path / "two").glob("*/*.parts")]
    made(what, backbone, shapes, tmp_path / "two")
    assert len(written) == num + 1


@pytest.mark.parametrize("is_told", [False, True])
def test_what_was_searched_in_context_is_kept(is_told, backbone, tmp_path, killed_after):
    """Killed after two test images of three, the third alone is searched for."""
    asked = InContextConfig(in_context=True, in_context_px=48, in_context_memory=(40, 80), in_context_k=5)
    shapes = open_dense_set(write_shapes(tmp_path / "shapes", num_train=4))
    config = EvaluationConfig(interval=IntervalConfig(bootstrap=100))

    def run(cache):
        task = DenseTask(backbone=backbone, config=config, device=CPU, cache=tmp_path / cache, scenes=shapes)
        return InContext(asked).measure(task)

    whole = run("one")
    saved = killed_after(2, is_told)
    with pytest.raises(Stopped if is_told else Killed):
        run("two")
    for _ in range(2):
        assert run("two") == whole
        assert [len(one["counts"]) for one in saved] == [1, 2, 3]


def test_what_knn_has_found_is_kept(tmp_path, killed_after, monkeypatch):
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 4)
    random = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(30, 5, generator=random), torch.randn(11, 5, generator=random)
    asked = bank, torch.arange(30) % 7, 7, USUAL_SETTINGS
    whole = knn_ranked(queries, *asked)
    saved = killed_after(2)
    with pytest.raises(Killed):
        knn_ranked(queries, *asked, None, tmp_path / "knn.pt")
    for _ in range(2):
        again = knn_ranked(queries, *asked, None, tmp_path / "knn.pt")
        assert all(torch.equal(one, other) for one, other in zip(again, whole, strict=True))
        assert [sum(map(len, one["ranked"][0])) for one in saved] == [4, 8, 11]
