"""Options of training that change how a step is done: half precision, compilation, several devices in a dry run."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from support.command import SMALL_FLAGS, samclr
from support.runs import patches_config, small_config
from support.scenes import write_labelled

from samclr.config import ModelConfig
from samclr.errors import ConfigError, PartsError, RunError, ScenesError
from samclr.methods.create import create_method
from samclr.models.maps import features_and_map
from samclr.pages.report import write_report
from samclr.runs.checkpoint import load_checkpoint
from samclr.runs.directory import read_metrics
from samclr.training.devices import set_up, step_optimizer
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer
from samclr.training.pretrain import pretrain
from samclr.views.crop import ViewCropper
from samclr.views.data import prepare_data
from samclr.views.loader import ViewLoader
from samclr.views.make_batch import make_batch


@pytest.fixture
def store(scenes, tmp_path, here):
    done = here("segment", scenes, "--scale", 30, "--min-size", 20, "--out", tmp_path / "store", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return tmp_path / "store"


RECIPES_IN_HALF = ["samclr", "sammoco", "samdino", "samvicreg", "samswav", "samdetcon", "samdino with patches"]


def test_a_loss_of_maps_says_what_it_leaves_and_its_optimiser_has_a_place_for_it(scenes, store, tmp_path, caplog):
    """The place is in the checkpoints of 0.2 and older, which such a run resumes from."""
    config = replace(small_config(scenes, store, "samdetcon", 1), model=ModelConfig(backbone="test_efficientnet"))
    config = replace(config, group=replace(config.group, size_px=64))
    run = pretrain(config, tmp_path / "run").run
    assert sum("conv_head, bn2 come after it and keep the weights" in text for text in caplog.messages) == 1
    checkpoint, method = load_checkpoint(run), create_method(config, 1)
    assert sum(len(group["params"]) for group in checkpoint["optimizer"]["param_groups"]) == len([*method.parameters()])
    trained = [name for name, start in method.named_parameters() if not torch.equal(start, checkpoint["method"][name])]
    left = {name for name, _ in method.named_parameters()} - set(trained)
    assert left == {f"online_encoder.backbone.{name}" for name in ("conv_head.weight", "bn2.weight", "bn2.bias")}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES_IN_HALF)
def test_fp16_leaves_out_a_step_that_overflows_and_stays_finite(scenes, store, recipe):
    make = patches_config if "patches" in recipe else small_config
    config = make(scenes, store, recipe.split()[0], steps=4)
    data = prepare_data(config)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=1000)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler=scaler))
    method = create_method(config, 4)
    method, optimizer = set_up(fabric, method, create_optimizer(method, config.optim), config.runtime)
    stepped = []
    for plan, crops in ViewLoader(data.planner, ViewCropper(data.bank), range(60)):
        before = {name: value.clone() for name, value in method.module.state_dict().items()}
        optimizer.zero_grad()
        output = backward(fabric, method, make_batch(plan, crops, fabric.device), None)
        assert torch.isfinite(output.loss)
        stepped.append(step_optimizer(fabric, optimizer))
        if stepped[-1]:
            method.module.after_step(plan.step, output.pending)
        weights = {k: v for k, v in method.module.state_dict().items() if "running" not in k and "num_batches" not in k}
        same = [torch.equal(value, before[name]) for name, value in weights.items()]
        assert not all(same) if stepped[-1] else all(same)  # an overflow leaves queue, centre and copies alone too
        assert all(torch.isfinite(value).all() for value in weights.values())
        if stepped.count(True) == 2:
            break
    assert stepped[0] is False
    assert stepped[-2:] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["sammoco", "samdetcon"])
def test_a_compiled_backbone_gives_the_same_losses(recipe, scenes, store, tmp_path):
    form = ("--form", "momentum") if recipe == "samdetcon" else ()
    for name, more in (("plain", ()), ("compiled", ("--compile",))):  # as commands: torch.compile and type checks clash
        run = "--scenes", scenes, "--regions", store, "--out", tmp_path / name, "--steps", 2
        done = samclr("pretrain", recipe, *run, *SMALL_FLAGS, *form, *more)
        assert done.returncode == 0, done.stderr
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("plain", "compiled")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    config, fabric = small_config(scenes, store, recipe), Fabric(accelerator="cpu", devices=1)
    if form:
        config = replace(config, method=replace(config.method, form="momentum"))
    for compiled in (False, True):
        method = create_method(config, 2)
        runtime = replace(config.runtime, compile=compiled)
        set_up(fabric, method, create_optimizer(method, config.optim), runtime)
        for encoder in (method.online_encoder, method.momentum_encoder):
            assert (encoder.backbone._compiled_call_impl is not None) == compiled
            assert (encoder._features_and_map is not features_and_map) == compiled
    assert samclr("evaluate", tmp_path / "compiled", "--on", write_labelled(tmp_path / "labelled")).returncode == 0


@pytest.mark.slow
def test_compiled_passes_with_masks_regions_and_an_anchor_give_the_same_losses(scenes, store, tmp_path):
    run = "--scenes", scenes, "--regions", store, "--steps", 2, "--min-area-px", 20, "--global-batch-size", 8
    run += "--backbone", "test_vit", "--size-px", 48, "--num-local-views", 0, "--num-prototypes", 64
    run += "--carried-regions", 3, "--region-weight", 1, "--masked-patch-weight", 1, "--masked-patch-frac", 0.5, 0.7
    run += "--anchor", "both", "--device", "cpu", "--num-threads", 1, "--workers", 1
    for name, more in (("plain", ()), ("compiled", ("--compile",))):
        done = samclr("pretrain", "dino", *run, "--out", tmp_path / name, *more)
        assert done.returncode == 0, done.stderr
    rows = [read_metrics(tmp_path / name) for name in ("plain", "compiled")]
    for name in ("loss", "image_loss", "region_loss", "patch_loss", "anchor_gram", "anchor_feature"):
        plain, compiled = ([row[name] for row in one] for one in rows)
        assert min(plain) > 0
        assert compiled == pytest.approx(plain, rel=1e-3), name


def test_a_dry_run_of_views_that_carry_regions_tells_time_and_memory(scenes, store, tmp_path, call):
    words = "pretrain", "detcon", "--scenes", scenes, "--regions", store, "--out", tmp_path / "run", "--dry-run"
    status, out, said = call(
        *words, "--backbone", "small-cnn", "--size-px", 24, "--device", "cpu", "--form", "momentum"
    )
    assert status == 0, said
    assert "memory on cpu" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("detcon", "--backbone", "small-cnn", "--shown-cells", 100),
            "carried_regions is 16, but none of 4 images drawn has a region that two of its views show by 0.1 of its "
            "area and 100 cells of the feature map; lower --shown-frac or --shown-cells, or give a larger --size-px",
        ),
        (
            ("samclr", "--backbone", "small-cnn", "--lora-rank", 2),
            "--lora-rank is for linear layers of attention, as ViTs have them; small-cnn has none that could be "
            "trained",
        ),
        (
            ("samdino", "--backbone", "test_vit", "--masked-patch-weight", 1, "--num-local-views", 0),
            "a view of 16 px has 1 x 1 patches; masked_patch_weight expects 3 a side or more: give a larger --size-px, "
            "or smaller patches",
        ),
    ],
)
def test_what_would_teach_nothing_is_refused_in_one_sentence(scenes, store, tmp_path, call, words, message):
    run = ("--scenes", scenes, "--regions", store, "--min-area-px", 20, "--size-px", 24, "--out", tmp_path / "run")
    small = ("--global-batch-size", 4, "--steps", 1, "--device", "cpu", "--workers", 1, "--num-threads", 1)
    status, _, said = call("pretrain", *words, *run, *small)
    assert (status, said.splitlines()[-1]) == (2, f"samclr: error: {message}")
    assert not (tmp_path / "run/config.json").exists()


@pytest.mark.slow
def test_a_dry_run_of_several_devices_tries_one_with_its_share(scenes, store, tmp_path):
    done = samclr(
        *("pretrain", "samclr", "--scenes", scenes, "--regions", store, "--out", tmp_path / "run", "--dry-run"),
        *("--backbone", "small-cnn", "--size-px", 24, "--steps", 50, "--device", "cpu"),
        *("--global-batch-size", 16, "--num-devices", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "50 of 16 images, 32 views" in done.stdout
    assert "on 2 devices" in " ".join(done.stdout.split())
    assert not (tmp_path / "run").exists()


def test_mixed_backgrounds_train_and_are_counted(scenes, store, tmp_path):
    config = small_config(scenes, store, "samclr", steps=2)
    pretrain(replace(config, views=replace(config.views, background_mix_prob=1.0)), tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    assert [row["mixed_backgrounds"] for row in rows] == [16 - 2 * row["images_without_regions"] for row in rows]


def test_a_jpeg_bank_trains_and_is_packed_by_its_option(scenes, store, tmp_path):
    bank = tmp_path / "bank"
    done = samclr("pack", scenes, "--bank", bank, "--codec", "jpeg")
    assert done.returncode == 0, done.stderr
    config = small_config(scenes, store, "samclr", steps=3)
    losses = []
    for codec in ("raw", "jpeg"):
        data = replace(config.data, codec=codec, bank=bank if codec == "jpeg" else None)
        pretrain(replace(config, data=data), tmp_path / codec)
        losses.append([row["loss"] for row in read_metrics(tmp_path / codec)])
    assert losses[0] != losses[1]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.02)  # later steps have learned from other pixels
    with pytest.raises(PartsError, match=r'made with \{"max_side": null, "codec": "jpeg"\}'):
        pretrain(replace(config, data=replace(config.data, bank=bank)), tmp_path / "other")


def test_too_little_memory_is_one_sentence_with_what_takes_less(scenes, store, tmp_path, monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd more.")

    monkeypatch.setattr("samclr.training.pretrain.backward", out_of_memory)
    with pytest.raises(RunError, match=r"too little memory \(CUDA .* allocate 2 GiB.\).*`bank_on` map"):
        pretrain(small_config(scenes, store, "samclr", steps=2), tmp_path / "run")


def test_regions_that_the_filter_drops_altogether_are_refused(scenes, store):
    config = small_config(scenes, store)
    config = replace(config, filter=replace(config.filter, min_area_px=10**6))
    with pytest.raises(ScenesError, match=r"no region of .* passes the filter, in 12 images; loosen `min_area_px`"):
        prepare_data(config)


def test_one_image_is_not_told_to_take_a_batch_that_is_refused(scenes, tmp_path, capsys):
    for path in sorted(scenes.rglob("*.png"))[1:]:
        path.unlink()
    pretrain(small_config(scenes, None, "simclr", steps=1), tmp_path / "run")
    said = capsys.readouterr().err
    assert "of 1 images shows every image more than once" in said
    assert "it is its own negative then; add images" in said


def test_one_image_without_its_own_negatives_is_refused_before_there_is_a_run(scenes, tmp_path, capsys):
    for path in sorted(scenes.rglob("*.png"))[2:]:
        path.unlink()
    config = small_config(scenes, None, "simclr", steps=1)
    config = replace(config, method=replace(config.method, same_image_negatives="ignore"))
    pretrain(config, tmp_path / "two")
    said = capsys.readouterr().err
    assert "of 2 images shows every image more than once; give `global_batch_size` 2 or less" in said
    assert "its own negative" not in said
    sorted(scenes.rglob("*.png"))[0].unlink()
    with pytest.raises(
        ConfigError, match=r"is ignore, which leaves no negatives .*; add images, or give `same_image_neg"
    ):
        pretrain(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_image_has_no_other_backgrounds_and_that_is_said(scenes, store, tmp_path, caplog):
    for path in sorted(scenes.rglob("*.png"))[1:]:
        path.unlink()
    config = small_config(scenes, store, "samclr", steps=1)
    prepare_data(replace(config, views=replace(config.views, background_mix_prob=0.5)))
    assert "`background_mix_prob` 0.5 has no effect here: backgrounds come from other images" in caplog.text


def test_pairs_of_one_box_are_warned_of_at_the_start_and_in_the_report(scenes, tmp_path, capsys):
    config = small_config(scenes, recipe="simclr", steps=2)
    pretrain(config, tmp_path / "good")
    assert "show the same box" not in capsys.readouterr().err
    whole = replace(config.group, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))  # never fits these scenes of 4:3
    pretrain(replace(config, group=whole), tmp_path / "run")
    pairs = 2 * config.optim.global_batch_size
    warning = f"100% of the pairs ({pairs} of {pairs}) show the same box twice"
    assert warning in capsys.readouterr().err
    assert warning in write_report([tmp_path / "run"]).read_text()
    assert warning not in write_report([tmp_path / "good"]).read_text()
