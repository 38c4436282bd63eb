"""Gentle training as runs: what must stay stays to the bit, killed and resumed equals uninterrupted, what is kept."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from support.runs import small_config
from support.scenes import write_labelled

import samclr
from samclr.config import EvaluationData, KnnConfig, ModelConfig
from samclr.config.evaluation import EvaluationConfig
from samclr.errors import ConfigError, EvaluationError, RunError
from samclr.methods.create import backbone_of, create_method
from samclr.models.backbone import create_backbone
from samclr.models.resolve import resolve_config
from samclr.runs.checkpoint import backbone_weights, load_checkpoint
from samclr.runs.directory import read_metrics
from samclr.runs.saved import load_config
from samclr.training.micro_batches import backward
from samclr.training.pretrain import pretrain

STEPS = 5
VIT = {"backbone": "test_vit"}
PIECES = {  # recipe, model, optim, micro-batch
    "freeze": ("moco", {"freeze": 2}, {}, 3),
    "freeze-all": ("simclr", {"freeze": "all"}, {}, None),
    "head-warmup": ("moco", {}, {"head_warmup_steps": 3, "warmup_steps": 2}, 3),
    "lora": ("byol", VIT | {"lora_rank": 2}, {}, None),
    "ema": ("simclr", {}, {"ema_decay": 0.9}, None),
}
TOGETHER = {
    "cnn": ("simsiam", {"freeze": 1}, {"head_warmup_steps": 3, "warmup_steps": 2, "ema_decay": 0.9}, 3),
    "vit": ("byol", VIT | {"lora_rank": 2, "drop_path": 0.5, "freeze": 1}, {}, 3),
}
DECAY = {"layer_decay": 0.5, "optimizer": "adamw", "lr": 1e-3}


def config_of(scenes, piece, **more):
    recipe, model, optim, micro = PIECES[piece] if piece in PIECES else TOGETHER[piece]
    optim = optim if piece in PIECES else optim | DECAY
    config = small_config(scenes, recipe=recipe, steps=STEPS)
    size = {"group": replace(config.group, size_px=32)} if "backbone" in model else {}
    return replace(
        config,
        **size,
        model=replace(config.model, **model | more),
        optim=replace(config.optim, **optim),
        runtime=replace(config.runtime, micro_batch_size=micro, checkpoint_every_s=0),
    )


def flat(state):
    """All tensors and numbers of a checkpoint's part, by place."""
    if isinstance(state, dict):
        return {(key, *rest): value for key, one in state.items() for rest, value in flat(one).items()}
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)))
    return {(): state}


def weights_of(run, which="student"):
    return backbone_weights(load_checkpoint(run)["method"], which)


def assert_equal(first, second, names=None):
    assert first.keys() == second.keys()
    for name in names or first:
        one, other = first[name], second[name]
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, name


class KilledError(Exception):
    pass


def train_until(step, config, run):
    """Train and be killed before the step."""

    def killed(fabric, method, batch, micro_batch_size):
        if batch.step == step:
            raise KilledError
        return backward(fabric, method, batch, micro_batch_size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samclr.training.pretrain.backward", killed)
        with pytest.raises(KilledError):
            pretrain(config, run)
    assert load_checkpoint(run)["steps_done"] == step


@pytest.mark.parametrize("piece", TOGETHER)
def test_killed_and_resumed_equals_uninterrupted(scenes, tmp_path, piece):
    config = config_of(scenes, piece)
    pretrain(config, tmp_path / "whole")
    train_until(2, config, tmp_path / "killed")
    train_until(4, config, tmp_path / "killed")
    pretrain(config, tmp_path / "killed")
    whole, again = (load_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    for part in ("method", "optimizer"):
        assert_equal(*(flat({part: one[part]}) for one in (whole, again)))
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("whole", "killed")]
    assert losses[0] == losses[1]


def test_what_is_frozen_stays_to_the_bit(scenes, tmp_path):
    """Weights and statistics, of the backbone and of its momentum copy, measured on the way (which changes modes)."""
    config = config_of(scenes, "freeze")
    watched = replace(config.runtime, knn_on=write_labelled(tmp_path / "labelled"), knn_every=1)
    pretrain(replace(config, runtime=watched), tmp_path / "run")
    start = backbone_of(create_method(config, STEPS)).state_dict()
    frozen = {name for name in start if name.split(".")[1] in "0134"}  # two of four convolutions with their norms
    assert len(frozen) == 2 * 6
    for which in ("student", "teacher"):
        end = weights_of(tmp_path / "run", which)
        assert_equal(start, end, frozen)
        assert not any(torch.equal(start[name], end[name]) for name in start.keys() - frozen)


@pytest.mark.parametrize(("recipe", "what"), [("dino", "statistics"), ("moco", "all")])
def test_frozen_norms_do_not_move_in_student_and_teacher(scenes, tmp_path, recipe, what):
    config = small_config(scenes, recipe=recipe, steps=2)
    save_file(create_backbone(config.model).state_dict(), tmp_path / "weights.safetensors")
    config = replace(
        config,
        model=replace(config.model, frozen_norm=what, pretrained=str(tmp_path / "weights.safetensors")),
        optim=replace(config.optim, lr=0.05),
        runtime=replace(config.runtime, micro_batch_size=3),
    )
    pretrain(config, tmp_path / "run")
    start = backbone_of(create_method(config, 2)).state_dict()
    still = {name for name in start if name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")}
    norms = {name.rsplit(".", 1)[0] for name in still}
    affine = {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}
    assert len(norms) == 4
    for which in ("student", "teacher"):
        end = weights_of(tmp_path / "run", which)
        assert_equal(start, end, still | (affine if what == "all" else set()))
        moving = start.keys() - still - (affine if what == "all" else set())
        assert not any(torch.equal(start[name], end[name]) for name in moving)


def test_a_frozen_backbone_stays_and_its_head_learns(scenes, tmp_path):
    config = config_of(scenes, "freeze-all")
    pretrain(config, tmp_path / "run")
    start, end = create_method(config, STEPS).state_dict(), load_checkpoint(tmp_path / "run")["method"]
    heads = {name for name in start if ".head." in name}
    assert_equal(start, end, start.keys() - heads)
    assert not any(torch.equal(start[name], end[name]) for name in heads)


def test_the_backbone_stays_to_the_bit_until_the_heads_are_warm(scenes, tmp_path):
    config, head = config_of(scenes, "head-warmup"), "online_encoder.head.0.weight"
    start = create_method(config, STEPS).state_dict()
    backbone = {name for name in start if "backbone." in name}
    train_until(3, config, tmp_path / "run")
    warm = load_checkpoint(tmp_path / "run")["method"]
    assert_equal(start, warm, backbone)
    assert not torch.equal(start[head], warm[head])
    train_until(4, config, tmp_path / "run")
    after = load_checkpoint(tmp_path / "run")["method"]
    assert not any(torch.equal(start[name], after[name]) for name in backbone)


def test_lora_trains_its_updates_alone_and_every_backbone_that_is_kept_has_them_merged(scenes, tmp_path):
    config = config_of(scenes, "lora", exported="teacher")
    run = samclr.pretrain(config, tmp_path / "run")
    method = create_method(config, STEPS)
    start = copy.deepcopy(method.state_dict())
    method.load_state_dict(load_checkpoint(run.path)["method"])
    end = method.state_dict()
    backbone = {name for name in start if "backbone" in name}
    updates = {name for name in backbone if "lora_" in name}
    assert_equal(start, end, backbone - updates)
    assert not any(torch.equal(start[name], end[name]) for name in updates)
    pixels = torch.randn(2, 3, 32, 32)
    path = samclr.export(run, tmp_path / "weights.safetensors")
    for which in ("student", "teacher"):
        merged, unmerged = run.backbone(which), backbone_of(method, which).eval()
        torch.testing.assert_close(merged(pixels), unmerged(pixels), rtol=1e-5, atol=1e-5)
        plain = create_method(replace(config, model=ModelConfig(**VIT)), 1).online_encoder.backbone
        assert merged.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(samclr.load_backbone(path)(pixels), run.backbone("teacher")(pixels))


def test_the_average_is_exported_measured_and_said(scenes, tmp_path, call):
    config = config_of(scenes, "ema")
    labelled = write_labelled(tmp_path / "labelled")
    run = samclr.pretrain(config, tmp_path / "run")
    assert load_config(run.path).model.exported == "teacher"
    assert_equal(run.backbone().state_dict(), weights_of(run.path, "teacher"))
    measured = EvaluationConfig(data=EvaluationData(image_px=24), protocols=(KnnConfig(),))
    samclr.evaluate(run, on=labelled, config=measured, device="cpu")
    own = run.results()
    assert call("evaluate", run.path, "--on", labelled, "--image-px", 24, "--which", "student")[0] == 0
    both = run.results()
    assert both[: len(own)] == own  # the student's stand beside them
    assert {one.result.target for one in both[len(own) :]} == {f"{run.path} (student)"}
    assert [one.is_own for one in both] == [True] * len(own) + [False] * (len(both) - len(own))
    fingerprints = {}
    for which, words in (("teacher", "the running mean (teacher)"), ("student", "those that were trained (student)")):
        status, *_ = call("export", run.path, "--out", tmp_path / f"{which}.safetensors", "--which", which)
        assert status == 0
        card = (tmp_path / f"{which}.safetensors.md").read_text()
        assert f"- weights: {words}" in card
        assert card.count("| kNN |") == 1  # its own numbers, and those alone
        fingerprints[which] = card.split("fingerprint of these weights: ")[1][:16]
        assert fingerprints[which] in str([one.result.backbone_fingerprint for one in both])
    assert fingerprints["teacher"] != fingerprints["student"]
    assert all(one.is_current for one in both)
    for path in run.path.glob("checkpoint-*"):
        path.unlink()
    samclr.pretrain(replace(config, seed=1), run.path)  # begun anew
    assert not any(one.is_current for one in run.results())


def test_what_is_exported_is_settled_once(scenes, tmp_path):
    for recipe in ("simclr", "moco", "dino", "byol"):  # whose numbers are the student's
        assert resolve_config(small_config(scenes, recipe=recipe)).model.exported == "student"
    config = small_config(scenes, recipe="simclr")
    with pytest.raises(ConfigError, match="exported is teacher; expected student: simclr has no momentum encoder, and"):
        replace(config, model=replace(config.model, exported="teacher"))
    moco = small_config(scenes, recipe="moco")
    with pytest.raises(ConfigError, match=r"ema_decay is 0.9; expected none: moco has a momentum encoder"):
        replace(moco, optim=replace(moco.optim, ema_decay=0.9))
    with pytest.raises(ConfigError, match="head_warmup_steps is 4; expected fewer than the run's 4 steps"):
        replace(moco, optim=replace(moco.optim, head_warmup_steps=4))
    with pytest.raises(ConfigError, match="freeze all leaves no layer for `lora_rank`"):
        ModelConfig(freeze="all", lora_rank=2)


def test_what_a_backbone_cannot_do_is_said_before_anything_is_made(scenes, tmp_path):
    config = small_config(scenes, recipe="simclr")
    for model in ({"freeze": 5}, {"drop_path": 0.1}, {"lora_rank": 2}):
        with pytest.raises(ConfigError, match="small-cnn"):
            pretrain(replace(config, model=replace(config.model, **model)), tmp_path / "run")
    pooled = ModelConfig(backbone="pit_ti_224")
    config = replace(config, model=pooled, group=replace(config.group, size_px=224))
    with pytest.raises(ConfigError, match="pit_ti_224 has no groups of layers"):
        pretrain(replace(config, optim=replace(config.optim, layer_decay=0.5)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not config.data.bank.exists()


def test_which_is_for_runs_that_have_it(scenes, tmp_path):
    run = samclr.pretrain(small_config(scenes, recipe="simclr", steps=1), tmp_path / "run")
    labelled = write_labelled(tmp_path / "labelled")
    with pytest.raises(RunError, match="simclr, which has no momentum encoder, and without `ema_decay`"):
        samclr.evaluate(run, on=labelled, which="teacher")
    with pytest.raises(EvaluationError, match="resnet18, which is not a run, has one set of weights"):
        samclr.evaluate("resnet18", on=labelled, which="student")
    with pytest.raises(EvaluationError, match="an untrained backbone has one set of weights"):
        samclr.evaluate(run, on=labelled, which="student", untrained=True)
