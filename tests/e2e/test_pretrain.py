"""Pre-training as a user does it: killed, stopped, resumed, exported, measured."""

import csv
import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import onnxruntime
import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file
from support.command import SMALL_FLAGS, command, samclr
from support.runs import small_config
from support.scenes import write_labelled
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import samclr as package
from samclr._version import __version__
from samclr.config.pretrain import ModelConfig, OptimConfig
from samclr.config.recipes import RECIPES
from samclr.config.registry import METHODS
from samclr.errors import ConfigError, RunError
from samclr.methods.create import create_method
from samclr.regions import index
from samclr.regions.index import occupancy_grid
from samclr.runs.checkpoint import load_checkpoint
from samclr.runs.directory import read_json, read_metrics, write_json
from samclr.runs.export import export_run
from samclr.runs.saved import checkpoints
from samclr.training.pretrain import pretrain


@pytest.fixture
def store(scenes, tmp_path, here):
    done = here("segment", scenes, "--scale", 30, "--min-size", 20, "--out", tmp_path / "store", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return tmp_path / "store"


def pretrain_command(scenes, store, run, steps, *more):
    base = ["pretrain", "samclr", "--scenes", scenes, "--regions", store, "--bank", store.parent / "bank"]
    return [*base, "--out", run, "--steps", steps, *SMALL_FLAGS, *more]


def weights(run):
    return load_checkpoint(run)["method"]


def assert_equal_weights(first, second):
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_killed_and_resumed_equals_uninterrupted(scenes, store, tmp_path, here):
    assert here(*pretrain_command(scenes, store, tmp_path / "whole", 30)).returncode == 0
    again = pretrain_command(scenes, store, tmp_path / "killed", 30, "--checkpoint-every-s", 0)
    process = subprocess.Popen(command(*again), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(read_metrics(tmp_path / "killed")) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load_checkpoint(tmp_path / "killed")["steps_done"] < 30
    done = here(*again)
    assert done.returncode == 0, done.stderr
    assert_equal_weights(tmp_path / "whole", tmp_path / "killed")
    rows = [read_metrics(tmp_path / name) for name in ("whole", "killed")]
    assert [row["step"] for row in rows[1]] == list(range(30))
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "killed")]
    assert summaries[0] == summaries[1]


@pytest.mark.slow
def test_sigterm_saves_and_leaves(scenes, store, tmp_path):
    arguments = pretrain_command(scenes, store, tmp_path / "run", 100_000, "--checkpoint-every-s", 1000)
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(read_metrics(tmp_path / "run")) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "rerun the same command to resume" in text
    assert load_checkpoint(tmp_path / "run")["steps_done"] >= 5


def test_the_config_alone_reproduces_the_run(scenes, store, tmp_path, here):
    assert here(*pretrain_command(scenes, store, tmp_path / "first", 6)).returncode == 0
    done = here("pretrain", "from-config", tmp_path / "first/config.json", "--out", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    assert_equal_weights(tmp_path / "first", tmp_path / "second")


@pytest.mark.slow
def test_the_config_of_an_extended_run_with_another_length_is_a_run_of_one_piece(scenes, store, tmp_path, here):
    for steps in (4, 6):
        assert here(*pretrain_command(scenes, store, tmp_path / "first", steps)).returncode == 0
    again = ["pretrain", "from-config", tmp_path / "first", "--out"]
    for name, more, steps in (("same", [], 6), ("shorter", ["--steps", 3], 3), ("epochs", ["--epochs=2"], 2)):
        done = here(*again, tmp_path / name, *more)
        assert done.returncode == 0, done.stderr
        assert f"{steps} of {steps} steps" in done.stderr
        assert bool(package.open_run(tmp_path / name).config.extensions) == (name == "same")
    assert_equal_weights(tmp_path / "first", tmp_path / "same")
    extended = package.open_run(tmp_path / "first").config
    with pytest.raises(ConfigError, match="steps of 4; expected rising numbers below the run's length: give more"):
        replace(extended, optim=replace(extended.optim, steps=4))
    short = replace(extended, optim=replace(extended.optim, epochs=2.0))
    with pytest.raises(RunError, match="epochs is 2, which of 12 images are 2 steps, but the run was extended after 4"):
        pretrain(short, tmp_path / "short")


def test_local_views_alone_are_refused_but_a_run_of_them_goes_on(scenes, tmp_path, here, monkeypatch):
    config = small_config(scenes, None, "byol", steps=2)
    local = replace(config, group=replace(config.group, role="local"))
    with pytest.raises(ConfigError, match="role is local; expected global: local views are those of `num_local_views`"):
        pretrain(local, tmp_path / "new")
    done = here("pretrain", "byol", "--scenes", scenes, "--out", tmp_path / "run", "--role", "local")
    assert done.returncode == 2
    assert "--role is not an option" in done.stderr
    with monkeypatch.context() as patch:  # as it was begun by an earlier version
        patch.setattr("samclr.training.pretrain.fit_to_folder", lambda config, run, listed: (config, []))
        patch.setattr("samclr.training.pretrain.agree", lambda fabric, step, stop, save: (step == 0, save))
        assert pretrain(local, tmp_path / "old").stopped
    assert not pretrain(local, tmp_path / "old").stopped


def test_online_knn_is_logged(scenes, store, tmp_path, here):
    labelled = write_labelled(tmp_path / "labelled")
    more = ["--knn-on", labelled, "--knn-every", 2]
    done = here(*pretrain_command(scenes, store, tmp_path / "run", 5, *more))
    assert done.returncode == 0, done.stderr
    measured = [row["step"] for row in read_metrics(tmp_path / "run") if "knn_top1" in row]
    assert measured == [1, 3, 4]
    assert all(0 <= row["linear_top1"] <= 1 for row in read_metrics(tmp_path / "run") if "knn_top1" in row)
    assert here(*pretrain_command(scenes, store, tmp_path / "plain", 5)).returncode == 0
    assert_equal_weights(tmp_path / "run", tmp_path / "plain")  # looking changes nothing


def test_other_settings_or_data_are_refused_by_name(scenes, store, tmp_path):
    config = small_config(scenes, store)
    pretrain(config, tmp_path / "run")
    with pytest.raises(RunError, match=r"temperature was 0.07, now 0.1; name another `out`"):
        pretrain(replace(config, method=replace(config.method, temperature=0.1)), tmp_path / "run")
    (scenes / "a/000.png").unlink()
    with pytest.raises(RunError, match="was started on other images or regions"):
        pretrain(config, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("keep")
    with pytest.raises(RunError, match="is not a run directory; name a new or empty folder"):
        pretrain(config, tmp_path / "other")


def test_a_run_of_another_version_is_one_sentence(scenes, store, tmp_path, call):
    run = tmp_path / "run"
    begin = pretrain_command(scenes, store, run, 2)
    assert call(*begin)[0] == 0
    saved = read_json(run / "config.json", {})
    (run / "config.json").write_text(json.dumps(saved | {"samclr": "0.0.9"}))
    status, _, text = call(*begin)
    assert status == 0, text
    assert f"was begun by samclr 0.0.9 and continues with {__version__}" in text
    saved["config"]["warmth"] = 1
    for version, remedy in (("0.0.9", "use samclr 0.0.9 for it"), (__version__, "it was changed by hand")):
        (run / "config.json").write_text(json.dumps(saved | {"samclr": version}))
        for words in (begin, ["report", run], ["evaluate", run, "--on", scenes]):
            status, _, text = call(*words)
            assert status == 1
            sentence = (
                f"does not fit this samclr, {__version__} (config has the unknown setting 'warmth'); {remedy}, or name"
            )
            assert sentence in " ".join(text.split())


def test_a_start_that_failed_can_be_mended(scenes, store, tmp_path, here):
    failed = here(*pretrain_command(scenes, tmp_path / "no-store", tmp_path / "run", 2))
    assert failed.returncode == 1
    assert here(*pretrain_command(scenes, store, tmp_path / "run", 3)).returncode == 0


def test_of_a_damaged_checkpoint_the_one_before_is_used(scenes, store, tmp_path, capsys):
    config = small_config(scenes, store)
    config = replace(config, runtime=replace(config.runtime, checkpoint_every_s=0))
    pretrain(config, tmp_path / "run")
    before = weights(tmp_path / "run")
    newest, older = checkpoints(tmp_path / "run")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    damaged = newest.rename(
        newest.with_name(newest.name.replace("-00000004-", "-00000009-"))
    )  # also one of a later step
    newest = damaged
    pretrain(config, tmp_path / "run")
    assert not damaged.exists()
    assert f"{newest} is damaged; resuming from {older.name}" in capsys.readouterr().err
    assert all(torch.equal(before[name], now) for name, now in weights(tmp_path / "run").items())
    for path in checkpoints(tmp_path / "run"):
        path.write_bytes(b"junk")
    with pytest.raises(RunError, match=r"every checkpoint in .* is damaged"):
        pretrain(config, tmp_path / "run")


@pytest.mark.parametrize(("image", "region"), [(name, f"sam{name}") for name in METHODS if name != "simclr"])
def test_region_recipes_differ_in_the_plan_alone(image, region):
    plain, ours = (RECIPES[name].config.settings() for name in (image, region))
    assert (plain.pop("recipe"), ours.pop("recipe")) == (image, region)
    assert plain.pop("views")["strategy"] == "image"
    assert ours.pop("views")["strategy"] == "region"
    assert plain == ours
    assert RECIPES["samclr"].config.method.temperature == 0.07  # the paper's recipe says that it overrides this too
    assert "temperature 0.07 (was 0.5)" in RECIPES["samclr"].overrides


@pytest.mark.slow
def test_two_devices_share_a_run_and_one_goes_on(scenes, store, tmp_path):
    """The command itself on two CPU processes: one run directory, each step once; then one process goes on."""
    flags = ["--num-devices", 2, "--no-projector-norm"]
    done = samclr(*pretrain_command(scenes, store, tmp_path / "run", 4, *flags))
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2, 3]
    assert load_checkpoint(tmp_path / "run")["steps_done"] == 4
    checkpoints(tmp_path / "run")[0].unlink()
    assert samclr(*pretrain_command(scenes, store, tmp_path / "run", 4, "--no-projector-norm")).returncode == 0
    odd = samclr(*pretrain_command(scenes, store, tmp_path / "odd", 4, "--num-devices", 3))
    assert odd.returncode == 2
    assert "global_batch_size 8 does not divide among 3 devices; give a multiple of 3" in odd.stderr


def test_folders_smaller_than_a_batch_work(scenes, store, tmp_path):
    config = small_config(scenes, store)
    config = replace(config, optim=OptimConfig(global_batch_size=32, epochs=3))
    assert pretrain(config, tmp_path / "run").num_steps == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_every_optimiser_lowers_the_loss(scenes, store, tmp_path, optimizer):
    config = small_config(scenes, store)
    rate = {"sgd": 0.1, "adamw": 2e-3, "lars": 0.5}[optimizer]
    optim = OptimConfig(global_batch_size=8, steps=40, optimizer=optimizer, lr=rate, warmup_steps=3)
    pretrain(replace(config, optim=optim, method=replace(config.method, temperature=0.2)), tmp_path / "run")
    losses = [row["loss"] for row in read_metrics(tmp_path / "run")]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_other_masks_in_the_same_boxes_are_refused_by_runs_that_know_theirs(scenes, store, tmp_path, monkeypatch):
    config, run = small_config(scenes, store, "samdetcon", steps=1), tmp_path / "run"
    pretrain(config, run)
    summary = read_json(run / "summary.json", {})
    monkeypatch.setenv("SAMCLR_CACHE", str(tmp_path / "other-cache"))  # so that the index is made again
    monkeypatch.setattr(index, "occupancy_grid", lambda found, number: 255 - occupancy_grid(found, number))
    with pytest.raises(RunError, match="was started on other masks of its regions"):
        pretrain(config, run)
    old = {name: value for name, value in summary.items() if name != "masks_fingerprint"}  # as 0.2 wrote it
    write_json(run / "summary.json", old, sealed=True)
    assert pretrain(config, run).steps_done == 1


def test_steps_are_counted_by_the_images_that_can_be_used_where_that_is_known(scenes, tmp_path, here):
    for number in range(6):
        (scenes / f"cut-{number}.jpg").write_bytes(b"cut")
    again = ["pretrain", "simclr", "--scenes", scenes, "--bank", tmp_path / "bank", *SMALL_FLAGS, "--epochs", 2]
    again += ["--global-batch-size", 2, "--out"]
    said = [here(*again, tmp_path / run) for run in ("run", "run", "other")]
    assert [one.returncode for one in said] == [0, 0, 0], said[0].stderr
    first, finished, other = (one.stdout + one.stderr for one in said)
    assert "18 of 2 images" in first  # before anything is packed
    assert "of 2 images" not in finished
    assert "12 of 2 images" in other
    assert all("12 of 12 steps" in text for text in (first, finished, other))


@pytest.mark.parametrize("measured_every", [1, 1000])
def test_nan_ends_the_run_with_advice(measured_every, scenes, store, tmp_path, monkeypatch):
    """Also at one of the steps whose singular values are taken."""
    monkeypatch.setattr("samclr.methods.metrics.EVERY_STEPS", measured_every)
    config = small_config(scenes, store)
    optim = OptimConfig(global_batch_size=8, steps=60, lr=1e6)
    with pytest.raises(RunError, match=r"the loss became nan at step .*Lower `lr`"):
        pretrain(replace(config, optim=optim), tmp_path / "run")


def test_dry_run_prints_the_cost_and_writes_nothing(scenes, store, tmp_path, here):
    draws = torch.get_rng_state()
    done = here(*pretrain_command(scenes, store, tmp_path / "run", 50, "--dry-run"))
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.get_rng_state(), draws)
    for text in ("50 of 8 images, 16 views", "expected time", "GB more", "free disk", "memory on cpu"):
        assert text in done.stdout
    assert not (tmp_path / "run").exists()


def test_evaluate_writes_results_and_reuses_features(scenes, store, tmp_path, here):
    config = small_config(scenes, store)
    pretrain(config, tmp_path / "run")
    labelled = write_labelled(tmp_path / "labelled")
    for more in ([], [], ["--untrained"], ["--knn-k", 3]):
        done = here("evaluate", tmp_path / "run", "--on", labelled, "--image-px", 24, "--json", *more)
        assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())["results"]
    of_main = [row for row in results if not row["variant"]]  # the same question again replaces its answer
    assert [(row["protocol"], row["untrained"]) for row in of_main] == [
        *[("knn", False), ("knn", True), ("linear", True), ("knn", False), ("linear", False)],
    ]
    assert of_main[4]["scores"].keys() == {"top1_last", "top1_best"}
    assert len({row["train_fingerprint"] for row in results}) == 1
    assert len(list((tmp_path / "cache/features").iterdir())) == 4


@pytest.mark.slow
def test_the_backbone_in_other_layouts(scenes, store, tmp_path, here):
    run, labelled = tmp_path / "run", write_labelled(tmp_path / "labelled")
    arguments = pretrain_command(scenes, store, run, 1)
    arguments[arguments.index("small-cnn")] = "resnet18"
    assert here(*arguments).returncode == 0
    assert here("evaluate", run, "--on", labelled, "--image-px", 24).returncode == 0
    ours, pixels = package.load_backbone(run), torch.randn(2, 3, 48, 48)
    expected = ours(pixels)

    assert "torchvision.models.resnet18()" in export_run(run, tmp_path / "tv.safetensors", "torchvision")
    theirs = torchvision.models.resnet18()
    missing, unexpected = theirs.load_state_dict(load_file(tmp_path / "tv.safetensors"), strict=False)
    assert (sorted(missing), unexpected) == (["fc.bias", "fc.weight"], [])
    theirs.fc = torch.nn.Identity()
    torch.testing.assert_close(theirs.eval()(pixels), expected)

    export_run(run, tmp_path / "hf", "huggingface")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'hf'}", pretrained=True).eval()
    torch.testing.assert_close(theirs(pixels), expected)
    wrapped = transformers.AutoModel.from_pretrained(tmp_path / "hf").eval()
    torch.testing.assert_close(wrapped(pixels).pooler_output.flatten(1), expected)

    assert "differ from torch by at most" in export_run(run, tmp_path / "backbone.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "backbone.onnx")
    (found,) = session.run(None, {"pixels": torch.randn(5, 3, 24, 24).numpy()})
    assert found.shape == (5, 512)

    card = (tmp_path / "hf/README.md").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["data_fingerprint"] in card
    assert "| kNN |" in card
    assert (tmp_path / "backbone.onnx.md").exists()

    continued = small_config(scenes, store)
    model = ModelConfig(backbone="resnet18", pretrained=str(tmp_path / "tv.safetensors"))
    method = create_method(replace(continued, model=model), 1)
    assert torch.equal(method.online_encoder.backbone.conv1.weight, ours.conv1.weight)
    with pytest.raises(ConfigError, match="holds the weights of resnet18 with stem standard, not of resnet34"):
        create_method(replace(continued, model=replace(model, backbone="resnet34")), 1)
    with pytest.raises(
        ConfigError, match=r"expected weights at none.pth, which is not there; give a .safetensors or .pth file"
    ):
        create_method(replace(continued, model=replace(model, pretrained="none.pth")), 1)


def test_what_a_layout_cannot_hold_is_refused(scenes, store, tmp_path):
    pretrain(small_config(scenes, store, steps=1), tmp_path / "run")
    for layout, text in (
        ("torchvision", "torchvision has no small-cnn"),
        ("huggingface", "Hugging Face has no small-cnn"),
    ):
        with pytest.raises(RunError, match=text):
            export_run(tmp_path / "run", tmp_path / "out.safetensors", layout)


def test_loggers_hold_what_metrics_hold(scenes, store, tmp_path):
    config = small_config(scenes, store)
    pretrain(replace(config, runtime=replace(config.runtime, log=("csv", "tensorboard"))), tmp_path / "run")
    losses = [row["loss"] for row in read_metrics(tmp_path / "run")]
    with open(tmp_path / "run/csv/metrics.csv") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == pytest.approx(losses)
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in events.Scalars("loss")] == [0, 1, 2, 3]


def rows_of_csv(run):
    with open(run / "csv/metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_loggers_keep_the_rows_of_earlier_calls_and_those_before_an_error(scenes, store, tmp_path, monkeypatch):
    config, run = small_config(scenes, store, steps=3), tmp_path / "run"
    with_logs = replace(config, runtime=replace(config.runtime, log=("csv", "tensorboard", "csv")))
    pretrain(config, run)
    pretrain(replace(with_logs, optim=replace(config.optim, steps=22)), run)  # its last rows have keys of their own
    rows = [{name: str(value) for name, value in row.items()} for row in read_metrics(run)]
    assert rows_of_csv(run) == rows
    assert len(rows) == 22

    def fails(monitor, step, row, chance_loss):
        if step == 24:
            raise RunError("the loss is not finite")

    monkeypatch.setattr("samclr.training.pretrain.CollapseMonitor.check", fails)
    longer = replace(with_logs, optim=replace(config.optim, steps=30))
    with pytest.raises(RunError, match="not finite"):
        pretrain(longer, run)
    assert [row["step"] for row in rows_of_csv(run)] == [str(step) for step in range(25)]
    monkeypatch.undo()
    pretrain(longer, run)
    assert [row["step"] for row in rows_of_csv(run)] == [str(step) for step in range(30)]
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(3, 30))


def test_activation_checkpointing_changes_no_loss(scenes, store, tmp_path):
    config = small_config(scenes, store, "samdino", steps=3)
    model = ModelConfig(backbone="vit_tiny_patch16_224")
    config = replace(
        config, model=model, group=replace(config.group, size_px=32), local=replace(config.local, local_size_px=16)
    )
    pretrain(config, tmp_path / "plain")
    pretrain(replace(config, runtime=replace(config.runtime, activation_checkpointing=True)), tmp_path / "again")
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("plain", "again")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    small = small_config(scenes, store)
    with pytest.raises(ConfigError, match="SmallCnn does not support activation_checkpointing"):
        pretrain(replace(small, runtime=replace(small.runtime, activation_checkpointing=True)), tmp_path / "small")


def test_half_precision_keeps_dino_finite(scenes, store, tmp_path):
    config = small_config(scenes, store, "samdino", steps=6)
    config = replace(config, runtime=replace(config.runtime, precision="bfloat16"))
    pretrain(config, tmp_path / "run")
    plain = small_config(scenes, store, "samdino", steps=6)
    pretrain(plain, tmp_path / "plain")
    half, whole = ([row["loss"] for row in read_metrics(tmp_path / name)] for name in ("run", "plain"))
    assert half == pytest.approx(whole, rel=0.02)
    assert half != whole  # the precision did change something


def test_the_backbone_can_be_taken_out(scenes, store, tmp_path, here):
    arguments = pretrain_command(scenes, store, tmp_path / "run", 2)
    arguments[arguments.index("small-cnn")] = "resnet10t"
    assert here(*arguments).returncode == 0
    done = here("export", tmp_path / "run", "--out", tmp_path / "backbone.safetensors")
    assert done.returncode == 0, done.stderr
    line = done.stdout.strip()
    assert line == f'timm.create_model("resnet10t", num_classes=0, checkpoint_path="{tmp_path}/backbone.safetensors")'
    theirs = timm.create_model("resnet10t", num_classes=0, checkpoint_path=str(tmp_path / "backbone.safetensors"))
    ours = package.load_backbone(tmp_path / "run")
    pixels = torch.randn(2, 3, 64, 64)
    assert torch.equal(theirs.eval()(pixels), ours(pixels))
    labelled = write_labelled(tmp_path / "labelled")
    more = ["--on", labelled, "--image-px", 32, "--skip-linear"]
    assert here("evaluate", tmp_path / "backbone.safetensors", *more).returncode == 0
    wrong = here("evaluate", tmp_path / "backbone.safetensors", *more, "--backbone", "resnet18")
    assert wrong.returncode == 1
    assert "has the backbone resnet10t, which --backbone resnet18 contradicts; leave it out" in wrong.stderr


@pytest.mark.slow
def test_a_second_process_in_one_run_directory_is_refused_by_name(scenes, tmp_path):
    """Reading a run that trains (report, evaluate, --dry-run) needs no lock."""
    flags = ["--scenes", scenes, "--bank", tmp_path / "bank", "--out", tmp_path / "run", "--steps", 60, *SMALL_FLAGS]
    flags += ["--checkpoint-every-s", 0]
    first = subprocess.Popen(command("pretrain", "simclr", *flags), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("checkpoint-*.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGSTOP)
    try:
        second = samclr("pretrain", "simclr", *flags)
        dry = samclr("pretrain", "simclr", *flags, "--dry-run")
        report = samclr("report", tmp_path / "run", "--out", tmp_path / "report.html")
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert f"run is in use by another pretrain (process {first.pid} on " in second.stderr
    assert (dry.returncode, report.returncode) == (0, 0), dry.stderr + report.stderr
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(60))


@pytest.mark.slow
def test_a_bank_that_is_cut_while_training_ends_with_a_sentence(scenes, tmp_path):
    flags = ["--scenes", scenes, "--bank", tmp_path / "bank", "--out", tmp_path / "run", *SMALL_FLAGS]
    flags += ["--checkpoint-every-s", 0]
    first = subprocess.Popen(command("pretrain", "simclr", *flags, "--steps", 5000), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("checkpoint-*.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pixels in (tmp_path / "bank").glob("*.bin"):
        os.truncate(pixels, 100)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "run samclr pack --verify" in said.splitlines()[-1]
    again = samclr("pack", scenes, "--bank", tmp_path / "bank", "--verify")
    assert again.returncode == 0
    assert "damaged parts of the bank were rebuilt: " in again.stderr
