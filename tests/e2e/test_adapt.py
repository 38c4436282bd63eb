"""The recipe that continues trained weights, from its refusal to the sentence on what was gained."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from support.command import SMALL_FLAGS
from support.runs import small_config
from support.scenes import write_labelled

import samclr
from samclr.config.pretrain import AnchorConfig, DataConfig, FilterConfig, ModelConfig
from samclr.errors import ConfigError
from samclr.models.backbone import create_backbone
from samclr.runs.before_after import read_before_after
from samclr.runs.checkpoint import load_checkpoint
from samclr.runs.directory import read_metrics
from samclr.storage.files import read_json, write_json
from samclr.training.pretrain import pretrain
from samclr.views.data import open_scenes


@pytest.fixture
def adapted(scenes, tmp_path, here):
    """The words of a run, and the weights that it begins with."""
    torch.manual_seed(7)
    weights = create_backbone(ModelConfig(backbone="small-cnn")).state_dict()
    save_file(weights, tmp_path / "start.safetensors")
    assert here("segment", scenes, "--out", tmp_path / "store").returncode == 0
    words = ["pretrain", "adapt", "--scenes", scenes, "--regions", tmp_path / "store", "--out", tmp_path / "run"]
    words += [*SMALL_FLAGS, "--global-batch-size", 8, "--steps", 3, "--projector-hidden", 32]
    return [*words, "--head-warmup-steps", 1, "--warmup-steps", 1], weights


def test_without_weights_it_is_refused(adapted, here):
    done = here(*adapted[0])
    assert done.returncode != 0
    assert done.stderr.endswith("samclr: error: adapt continues trained weights; name them with --pretrained\n")


def test_what_it_gained_over_its_start_is_the_reports_first_sentence(adapted, tmp_path, here):
    words, weights = adapted
    done = here(*words, "--pretrained", tmp_path / "start.safetensors")
    assert done.returncode == 0, done.stderr
    assert "anchor_feature" in read_metrics(tmp_path / "run")[-1]
    other = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    save_file(other, tmp_path / "start.safetensors")  # the anchor holds what the run began with
    start = samclr.load_backbone(tmp_path / "run", which="start").state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in weights.items())
    ended = samclr.load_backbone(tmp_path / "run").state_dict()
    statistics = [name for name in weights if "running" in name]
    assert statistics
    assert all(torch.equal(ended[name], weights[name]) for name in statistics)  # frozen
    assert not all(torch.equal(ended[name], tensor) for name, tensor in weights.items())
    measure = "--on", write_labelled(tmp_path / "labelled"), "--image-px", 24, "--device", "cpu"
    for which in ((), ("--which", "start")):
        done = here("evaluate", tmp_path / "run", *measure, *which)
        assert done.returncode == 0, done.stderr
        here("report", tmp_path / "run")
        page = (tmp_path / "run" / "report.html").read_text()
        if not which:
            assert "The weights that it began with were not measured on labelled" in page
            assert "--which start" in page
    assert "its start" in page
    assert "were not measured on" not in page


def test_a_run_goes_on_when_the_file_that_it_began_with_is_gone(adapted, tmp_path, here):
    """Its checkpoint holds all weights, those of its anchor too."""
    words, weights = adapted
    words = [*words, "--pretrained", tmp_path / "start.safetensors"]
    whole, parts = ([*words, "--out", tmp_path / name] for name in ("whole", "parts"))
    assert here(*whole).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("samclr.training.pretrain.agree", lambda fabric, step, stop, save: (step == 0, save))
        assert "stopped" in here(*parts).stderr
    (tmp_path / "start.safetensors").unlink()
    assert here(*parts, "--dry-run").returncode == 0
    done = here(*parts)
    assert done.returncode == 0, done.stderr
    one, other = (load_checkpoint(tmp_path / name)["method"] for name in ("whole", "parts"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    start = samclr.load_backbone(tmp_path / "parts", which="start").state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in weights.items())
    new = here(*words, "--out", tmp_path / "new")
    assert new.returncode != 0
    assert "start.safetensors" in new.stderr
    assert not (tmp_path / "new").exists()


def test_without_a_set_scenes_are_held_out_and_compared_without_labels(adapted, tmp_path, here):
    words, _ = adapted
    words = [*words, "--pretrained", tmp_path / "start.safetensors"]
    done = here(*words, "--held-out", 0.25)
    assert done.returncode == 0, done.stderr
    assert "3 scenes are held out, by their ids, and not trained on" in done.stderr
    assert "patch neighbours in the" in done.stdout
    run = samclr.open_run(tmp_path / "run")
    assert run.config.data.held_out == 0.25
    assert (run.summary["data"]["images"], run.summary["data"]["images_held_out"]) == (9, 3)
    lines = {line.title: line for line in read_before_after(run.path).table}
    assert list(lines) == [
        *("patch neighbours in the same region", "effective rank of images", "effective rank of patches"),
        *("drift of images", "drift of patches"),
    ]
    assert 0 <= lines["patch neighbours in the same region"].start <= 1
    assert lines["patch neighbours in the same region"].end_gain[1] is not None  # paired by image
    assert lines["drift of patches"].start == pytest.approx(0, abs=1e-12)
    assert lines["drift of patches"].end > 0
    trained, held = (data_of_run(run.config, held_out=one) for one in (False, True))
    assert len(trained | held) == 12
    assert not trained & held
    assert here(*words).returncode == 0  # as the run has it
    refused = here(*words, "--held-out", 0)
    assert "held_out was 0.25" in refused.stderr
    off = here(*words, "--held-out", 0, "--out", tmp_path / "off")
    assert off.returncode == 0, off.stderr
    assert not (tmp_path / "off/before-after.json").exists()


def test_of_one_scene_nothing_is_held_out_unless_that_is_stated(adapted, tmp_path, here):
    words, _ = adapted
    scene = tmp_path / "scenes/a/000.png"
    assert here("segment", scene, "--out", tmp_path / "one.regions").returncode == 0
    other = {8: 2, tmp_path / "scenes": scene, tmp_path / "store": tmp_path / "one.regions"}
    words = [other.get(word, word) for word in (*words, "--pretrained", tmp_path / "start.safetensors")]
    for more in ([], ["--dry-run"]):
        done = here(*words, *more, "--held-out", 0.1)
        assert done.returncode == 1
        assert "one scene is too few to hold any out; give --held-out 0, or more scenes" in done.stderr
    done = here(*words)
    assert done.returncode == 0, done.stderr
    assert "one scene is too few to hold any out; start and end are not compared" in done.stderr
    assert samclr.open_run(tmp_path / "run").config.data.held_out == 0.0


def test_held_out_scenes_that_are_all_broken_are_called_so(adapted, tmp_path, here):
    words, _ = adapted
    words = [*words, "--pretrained", tmp_path / "start.safetensors", "--held-out", 0.1]
    data = DataConfig(scenes=(tmp_path / "scenes",), held_out=0.1, bank=tmp_path / "another")
    (held,) = open_scenes(data, FilterConfig(), 1, with_regions=False, held_out=True)[0].image_ids
    (tmp_path / "scenes" / held).write_bytes(b"not an image")
    done = here(*words)
    assert done.returncode == 1
    assert "none of the 1 scenes that are held out can be used" in done.stderr


def data_of_run(config, held_out):
    return set(open_scenes(config.data, config.filter, 1, False, held_out)[0].image_ids)


def test_an_anchor_that_begins_after_the_last_epoch_is_refused(scenes, tmp_path):
    config = small_config(scenes, recipe="simclr")
    config = replace(config, anchor=AnchorConfig(anchor="gram", anchor_start_step=2))
    with pytest.raises(ConfigError, match="anchor_start_step is 2; expected fewer than the run's 2 steps"):
        pretrain(replace(config, optim=replace(config.optim, epochs=2)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_start_is_what_a_run_began_with_or_refused(scenes, tmp_path, monkeypatch, call):
    weights = create_backbone(ModelConfig(backbone="small-cnn")).state_dict()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    save_file(weights, "start.safetensors")
    config = replace(small_config(scenes, recipe="simclr", steps=1), model=ModelConfig(backbone="small-cnn"))
    run = samclr.pretrain(replace(config, model=replace(config.model, pretrained="start.safetensors")), "run").path
    monkeypatch.chdir(tmp_path / "elsewhere")
    start = samclr.load_backbone(run, which="start").state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in weights.items())
    save_file({name: tensor + 1 for name, tensor in weights.items()}, tmp_path / "start.safetensors")
    status, _, err = call("evaluate", run, "--which", "start", "--on", write_labelled(tmp_path / "labelled"))
    assert status == 1
    assert "start.safetensors holds other weights than those that" in err
    summary = read_json(run / "summary.json", {})
    write_json(run / "summary.json", {name: one for name, one in summary.items() if name != "pretrained"}, sealed=True)
    monkeypatch.chdir(tmp_path)
    samclr.load_backbone(run, which="start")  # a run of an older version noted none
