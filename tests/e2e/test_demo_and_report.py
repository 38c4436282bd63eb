"""The demo in small, and the report's page opened in a real browser."""

import json
import os
import re
import shutil
from dataclasses import asdict, replace

import pytest
from PIL import Image
from support.browser import open_page
from support.command import samclr
from support.runs import small_config
from support.scenes import write_scenes

from samclr.bank.bank import pack_scenes
from samclr.config.pretrain import FilterConfig
from samclr.datasets.sources import list_scenes
from samclr.demo.demo import TOLD, run_demo, table_rows, verdict
from samclr.errors import ConfigError
from samclr.pages.report import write_report
from samclr.runs.directory import read_metrics
from samclr.runs.saved import checkpoints
from samclr.scenes.fill import FillOptions
from samclr.training.pretrain import pretrain

RUNS = "40-scenes"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    os.environ["SAMCLR_CACHE"] = str(out / "cache")
    remarks: list[str] = []
    arms = run_demo(out / "demo", [0], remarks.append, steps=11, num_scenes=40)
    return out / "demo", arms, remarks


@pytest.mark.slow
def test_the_demo_measures_all_arms_on_the_same_digits(demo):
    out, arms, _ = demo
    assert [arm.arm for arm in arms] == ["untrained", "image", "region", "random-box", TOLD]
    assert json.loads((out / "results.json").read_text()) == {"arms": [asdict(arm) for arm in arms]}
    for score in [score for arm in arms for score in (arm.knn_top1, arm.linear_top1)]:
        assert 0 <= score.low <= score.value <= score.high <= 1
        assert score.n == 400
    assert arms[0].knn_top1.value < 0.5  # random features fail; those of single digits on clutter had 88 %
    strategies = {
        name: read_metrics(out / RUNS / f"{name}-seed0") for name in ("simclr", "samclr", "samclr-random-box")
    }
    losses = [[row["loss"] for row in rows] for rows in strategies.values()]
    assert [len(steps) for steps in losses] == [11, 11, 11]
    assert len({tuple(steps) for steps in losses}) == 3


def test_a_folder_of_other_things_is_refused_by_the_demo(photo_folder, call):
    before = sorted(photo_folder.iterdir())
    for place in (photo_folder, before[0]):
        status, _, said = call("demo", "--out", place)
        assert (status, said) == (
            1,
            f"samclr: error: {place} exists and is not a demo; name a new or empty folder with --out\n",
        )
    assert sorted(photo_folder.iterdir()) == before


@pytest.mark.slow
def test_the_demo_refuses_what_it_cannot_compare_before_it_makes_anything(tmp_path, call):
    for words, said in {
        ("--seeds", 0, 0): "names one twice: 0 0; expected each once",
        ("--recipes", "samclr", "samclr"): "names one twice: samclr samclr; expected each once",
        ("--recipes", "adapt"): "adapt",
    }.items():
        status, _, text = call("demo", "--out", tmp_path / "demo", *words)
        assert (status, said in text) == (2, True), text
    with pytest.raises(ConfigError, match="recipe adapt begins with trained weights"):
        run_demo(tmp_path / "demo", [0], print, recipes=["adapt"])
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_what_the_demo_prints_is_what_it_measured(demo):
    _, arms, remarks = demo
    untrained, image, region = arms[:3]
    rows = table_rows(arms)
    assert [row["backbone"] for row in rows] == [
        "untrained", "simclr, image views", "samclr, region views", "samclr, random-box views", "supervised ceiling",
    ]  # fmt: skip
    assert rows[2]["linear probe"] == region.linear_top1.text
    gain = 100 * (region.knn_top1.value - image.knn_top1.value)
    floor_gain = 100 * (region.linear_top1.value - untrained.linear_top1.value)
    assert f"{gain:+.1f} kNN and" in verdict(arms)
    assert f"{floor_gain:+.1f} linear over the untrained backbone" in verdict(arms)
    assert verdict(arms[:2]) == ""
    assert any(region.knn_top1.text in remark for remark in remarks)


@pytest.mark.slow
def test_the_demo_again_trains_nothing_anew(demo, monkeypatch):
    out, arms, _ = demo
    before = checkpoints(out / RUNS / "simclr-seed0")
    monkeypatch.setattr("samclr.demo.demo.train_told", None)  # would fail if it were called
    assert run_demo(out, [0], lambda _: None, steps=11, num_scenes=40) == arms
    assert len(read_metrics(out / RUNS / "simclr-seed0")) == 11
    assert checkpoints(out / RUNS / "simclr-seed0") == before  # named by their content


@pytest.mark.slow
@pytest.mark.page
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_pictures_and_curves(demo, tmp_path, width):
    facts = open_page(demo[0] / "report.html", tmp_path, width)
    assert facts["shown"] == facts["images"] == 6 * (1 + 2 * 3 * 2)  # scenes, and two strategies of three pairs
    assert facts["curves"] >= 9  # loss, spread and speed of three runs
    assert facts["outside"] == 0
    assert facts["overflow"] <= 0
    assert facts["hidden"] == []
    assert 0 < facts["tallest"] <= 521


@pytest.mark.slow
def test_the_page_holds_the_numbers(demo):
    out, arms, _ = demo
    page = (out / "report.html").read_text()
    for arm in arms:
        assert f"{100 * arm.knn_top1.value:.1f}%" in page
    assert f"Region views: {arms[2].knn_top1.text.split()[0]} kNN on digits (95% interval " in page
    assert re.search(
        r"points (over|under) image views \(.+\), \d+\.\d points (over|under) the untrained backbone", page
    )
    assert re.search(r"[1-9][\d,]* of [\d,]+ views were enlarged: their crops are smaller than \d+ px", page)
    assert page.index("kNN on digits") < page.index("What the model sees")
    assert TOLD in page
    assert "https://" not in page
    assert "http://" not in page


@pytest.mark.page
def test_a_run_without_regions_or_results_has_a_page(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 9)
    pretrain(small_config(scenes, recipe="simclr"), tmp_path / "run")
    facts = open_page(write_report([tmp_path / "run"]), tmp_path, 800)
    assert facts["shown"] == 6 * 7
    before = (tmp_path / "run" / "report.html").read_text()
    assert "No backbone has been measured yet. Measure by" in before
    assert "images of the bank" not in before
    shutil.rmtree(scenes)
    assert write_report([tmp_path / "run"]).read_text() == before  # the bank has all that is shown
    others = write_scenes(tmp_path / "others", 12)
    pack_scenes(list_scenes([others]), tmp_path / "bank", None, FillOptions(num_workers=1))
    shared = write_report([tmp_path / "run"]).read_text()
    assert re.search(r"drawn from 12\s+images of the bank; 9 were trained on", shared)
    shutil.rmtree(tmp_path / "bank")
    page = write_report([tmp_path / "run"]).read_text()
    assert "The gallery is left out: the scene bank" in page


def test_odd_sizes_do_not_break_the_page(tmp_path):
    (tmp_path / "scenes").mkdir()
    for number, size in enumerate([(1, 1), (300, 1), (1, 300), (2, 2), (500, 4), (30, 20)]):
        Image.new("L", size, 40 * number).save(tmp_path / f"scenes/{number}.png")
    assert samclr("segment", tmp_path / "scenes", "--out", tmp_path / "store", "--min-size", 1).returncode == 0
    config = small_config(tmp_path / "scenes", tmp_path / "store")
    pretrain(replace(config, filter=FilterConfig(min_area_px=0)), tmp_path / "run")
    page = write_report([tmp_path / "run"]).read_text()
    assert page.count("<figcaption>") >= 6
    assert "The gallery is left out" not in page


def test_odd_names_do_not_break_the_page(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 9)
    (scenes / "a" / "000.png").rename(scenes / "a" / "<b>&'\".png")
    config = small_config(scenes, recipe="simclr")
    pretrain(replace(config, seed=1), tmp_path / "<run>")
    page = write_report([tmp_path / "<run>"]).read_text()
    assert "<b>&'" not in page
    assert "&lt;b&gt;" in page
    done = samclr("report", tmp_path / "<run>", "--out", tmp_path / "x/report.html")
    assert done.returncode == 0
    assert (tmp_path / "x/report.html").exists()
