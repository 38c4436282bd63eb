"""Whose numbers a row holds: in results.json, in the report and on the model card."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import command
from support.runs import small_config
from support.scenes import write_labelled

from samclr.config.pretrain import ViewsConfig
from samclr.errors import FilesError
from samclr.pages.report import write_report
from samclr.runs.export import export_run
from samclr.runs.results import RESULTS_FORMAT, Score, read_results, results_of_run, results_place
from samclr.training.pretrain import pretrain

FIRST = Path(__file__).parents[1] / "formats" / "0.1"
QUICK = ("--image-px", 24, "--skip-linear", "--bootstrap", 100)


def train(scenes, run, steps=2, seed=0):
    config = replace(small_config(scenes, recipe="simclr", steps=steps), views=ViewsConfig(strategy="image"), seed=seed)
    pretrain(config, run)


def rows_in(place):
    """kNN's results as asked for; those of its usual settings stand beside them."""
    assert json.loads(place.read_text())["format"] == RESULTS_FORMAT
    return [result for result in read_results(place) if not result.variant]


@pytest.mark.parametrize("folder", ["", "evaluation"])
def test_results_that_could_not_be_kept_are_refused_before_they_are_made(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    assert results_place(tmp_path / "r.json", None) == tmp_path / "r.json"
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / folder)
    with pytest.raises(FilesError, match=r"cannot write .*r\.json \(its folder is read-only\); name a place"):
        results_place(tmp_path / "r.json", None)


def test_a_run_is_one_however_it_is_spelt(scenes, tmp_path, call, monkeypatch):
    run, shades = tmp_path / "run", write_labelled(tmp_path / "shades")
    train(scenes, run)
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    for spelling in ("run", "run/", f"{run}", "./run/../run", "link"):
        assert call("evaluate", spelling, "--on", shades, *QUICK)[0] == 0
    (row,) = rows_in(run / "results.json")
    assert (row.source, row.untrained, row.step) == (".", False, 2)
    os.rename(run, tmp_path / "moved")
    (tmp_path / "link").unlink()
    assert call("evaluate", "moved", "--on", shades, *QUICK)[0] == 0
    assert len(rows_in(tmp_path / "moved" / "results.json")) == 1


def test_weights_that_are_gone_are_never_current(scenes, tmp_path, call):
    run, shades, tones = tmp_path / "run", write_labelled(tmp_path / "shades"), write_labelled(tmp_path / "tones", 5)
    train(scenes, run)
    for on in (shades, tones):
        assert call("evaluate", run, "--on", on, *QUICK)[0] == 0
    assert all(one.is_current for one in results_of_run(run))
    for path in run.glob("checkpoint-*"):
        path.unlink()
    train(scenes, run, seed=1)  # begun anew
    assert not any(one.is_current for one in results_of_run(run))
    assert call("evaluate", run, "--untrained", "--on", tones, *QUICK)[0] == 0
    assert call("evaluate", run, "--on", shades, *QUICK)[0] == 0
    rows = {(row.on, row.untrained): row for row in rows_in(run / "results.json")}
    assert len(rows) == 3  # that of shades was replaced
    assert rows["tones", False].superseded
    assert not rows["shades", False].superseded
    export_run(run, tmp_path / "out.safetensors", "timm")
    card = (tmp_path / "out.safetensors.md").read_text()
    assert "| shades | trained, step 2 | " in card
    assert "| tones | untrained (floor), seed 1 | " in card
    assert "| tones | trained" not in card
    assert "| 24 px | 12 / 12 | k 20, temperature 0.07 |" in card
    assert "| linear" not in card  # not measured
    page = write_report([run]).read_text()
    assert "run, earlier weights of step 2" in page
    assert "run, untrained, seed 1" in page


def test_each_seed_of_an_untrained_backbone_has_its_row(tmp_path, call):
    shades, out = write_labelled(tmp_path / "shades"), tmp_path / "floors.json"
    for seed in (0, 1, 0):
        status, _, said = call("evaluate", "small-cnn", "--seed", seed, "--on", shades, *QUICK, "--out", out)
        assert status == 0, said
    assert sorted(row.seed for row in rows_in(out)) == [0, 1]


@pytest.mark.slow
def test_evaluations_at_once_lose_no_row(tmp_path):
    shades, out = write_labelled(tmp_path / "shades"), tmp_path / "results.json"
    calls = [command("evaluate", "small-cnn", "--on", shades, *QUICK, "--knn-k", k, "--out", out) for k in range(1, 5)]
    running = [subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for one in calls]
    for one in running:
        assert one.wait(300) == 0, one.stderr.read()
        one.stderr.close()
    assert sorted(row.settings["knn_k"] for row in rows_in(out)) == [1, 2, 3, 4]


def test_rows_of_the_first_version_are_read_and_replaced(tmp_path, call):
    run = Path(shutil.copytree(FIRST / "run", tmp_path / "run"))
    before = {one.result.key: one for one in results_of_run(run)}
    assert list(before) == ["knn", "knn_k20_t0.07", "knn_k200_t0.1", "linear"]
    assert all(one.is_own and one.is_current and not one.result.untrained for one in before.values())
    assert before["knn"].result.scores == {"top1": Score(value=1.0, low=1.0, high=1.0, n=12)}
    assert before["linear"].result.scores["top1_best"] == Score(value=1.0, n=12)
    assert before["linear"].result.chosen == {"lr": 0.1}
    assert before["knn_k200_t0.1"].result.settings["knn_k"] == 200
    export_run(run, tmp_path / "out.safetensors", "timm")
    assert "| shades | trained | 100.0% (100.0 to 100.0) | 100.0%" in (tmp_path / "out.safetensors.md").read_text()
    assert "100.0%" in write_report([run]).read_text()
    # The same asked again: every old result is replaced but for the probe's, which is not asked for.
    status, _, said = call("evaluate", run, "--on", write_labelled(tmp_path / "shades"), *QUICK)
    assert status == 0, said
    now = {result.key: result for result in read_results(run / "results.json")}
    assert list(now) == ["linear", "knn", "knn_k20_t0.07", "knn_k200_t0.1"]
    assert now["linear"] == before["linear"].result
    assert now["knn"].model is not None
    assert now["knn"].settings == before["knn"].result.settings


def test_rows_of_the_second_format_are_read(tmp_path):
    """It had flat keys too, and the same identity: one row for all protocols."""
    row = {
        **{"target": "small-cnn (untrained)", "source": "small-cnn", "untrained": True, "seed": 1, "step": None},
        **{"backbone_fingerprint": "ab", "model": {"backbone": "small-cnn"}, "on": "set", "task": "classification"},
        **{"knn_top1": 0.5, "knn_top1_interval": [0.4, 0.6], "knn_top5": 0.9, "knn_voters": 7, "superseded": True},
        **{"few_shot_20pct_top1_last": 0.25, "few_shot_20pct_top1_best": 0.3, "few_shot_20pct_num_train": 4},
        **{"num_train": 20, "num_test": 10, "num_classes": 6, "train_fingerprint": "c", "test_fingerprint": "d"},
        "settings": {"image_px": 24, "few_shot": [0.2, 0.5], "knn_k": 7, "probe_lr": 0.1, "bootstrap": 100},
    }
    dense = {"target": "m", "source": "m", "untrained": False, "on": "fields", "task": "dense", "num_test": 6}
    dense |= {
        "dense_knn_miou": 0.5,
        "dense_knn_pixel_accuracy": 0.75,
        "dense_knn_voters": 9,
        "settings": {"dense_k": 9},
    }
    place = tmp_path / "results.json"
    place.write_text(json.dumps({"format": 2, "results": [row, dense]}))
    knn, few, patches = read_results(place)
    assert knn.scores == {"top1": Score(value=0.5, low=0.4, high=0.6, n=10), "top5": Score(value=0.9, n=10)}
    assert (knn.counts["voters"], knn.settings) == (7, {"image_px": 24, "knn_k": 7, "bootstrap": 100})
    assert (few.key, few.counts["num_labels"], few.superseded) == ("few_shot_20pct", 4, True)
    assert few.settings == {"image_px": 24, "few_shot": [0.2], "probe_lr": 0.1, "bootstrap": 100}
    assert (patches.key, patches.kind, patches.scores["pixel_accuracy"].value) == ("dense_knn", "dense", 0.75)
    assert (patches.counts["voters"], patches.settings) == (9, {"dense_k": 9})


def test_a_wrong_last_set_costs_no_work(tmp_path, call, monkeypatch):
    shades, out = write_labelled(tmp_path / "shades"), tmp_path / "results.json"
    for more in (("--on", shades, tmp_path / "typo"), ("--on", shades, "--dense-on", tmp_path / "typo")):
        status, shown, said = call("evaluate", "small-cnn", *more, *QUICK, "--out", out)
        assert (status, shown) == (1, "")
        assert "typo" in said
        assert not out.exists()


def test_what_is_finished_is_kept_when_a_later_set_fails(tmp_path, call):
    shades, tones = write_labelled(tmp_path / "shades"), write_labelled(tmp_path / "tones")
    (tones / "test/dark/0.png").write_bytes(b"")
    out = tmp_path / "results.json"
    status, shown, said = call("evaluate", "small-cnn", "--on", shades, tones, *QUICK, "--out", out, "--json")
    assert status == 1
    assert "dark/0.png" in said
    assert {row["on"] for row in json.loads(shown)["results"]} == {"shades"}
    assert {row.on for row in read_results(out)} == {"shades"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"[]", "holds a list, expected an object"),
        (b'{"results": [1]}', "does not hold results of samclr"),
        (b'{"format": 3, "results": [{"target": "a", "on": "b", "hue": 1}]}', "not a result ("),
        (b'{"format": 99, "results": []}', "has the format 99, this version reads up to"),
    ],
)
def test_a_file_that_cannot_take_results_is_refused_before_the_work(tmp_path, call, content, message):
    out = tmp_path / "results.json"
    out.write_bytes(content)
    status, shown, said = call("evaluate", "small-cnn", "--on", write_labelled(tmp_path / "s"), *QUICK, "--out", out)
    assert (status, shown) == (1, "")
    assert message in said
    assert out.read_bytes() == content
