"""The demo in small, and the report's page opened in a real browser."""

import json
import os
import re
import shutil
from dataclasses import replace

import pytest
from PIL import Image
from support.browser import open_page
from support.command import samclr
from support.runs import small_config
from support.scenes import write_scenes

from samclr.bank.bank import pack_scenes
from samclr.config.pretrain import FilterConfig
from samclr.datasets.sources import list_scenes
from samclr.demo.demo import compose_scene, make_data, run_demo
from samclr.pages.report import write_report
from samclr.runs.directory import read_metrics
from samclr.runs.saved import checkpoints
from samclr.scenes.fill import FillOptions
from samclr.training.pretrain import pretrain


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    os.environ["SAMCLR_CACHE"] = str(out / "cache")
    remarks: list[str] = []
    arms = run_demo(out / "demo", [0], "sam-digits", remarks.append, steps=12, num_scenes=130)
    return out / "demo", arms, remarks


def test_the_demo_measures_three_arms(demo):
    out, arms, _ = demo
    assert [arm["strategy"] for arm in arms] == ["untrained", "image", "region"]
    assert json.loads((out / "results.json").read_text()) == {"arms": arms}
    assert all(0 <= arm["top1"] <= 1 for arm in arms)
    assert arms[2]["segmenter"] == "sam-digits"
    image, region = (read_metrics(out / name) for name in ("simclr-130-seed0", "samclr-sam-digits-130-seed0"))
    assert len(image) == len(region) == 12
    losses = [[row["loss"] for row in rows] for rows in (image, region)]
    assert losses[0] != losses[1]


def test_the_demo_again_trains_nothing_anew(demo):
    out, arms, _ = demo
    before = checkpoints(out / "simclr-130-seed0")
    assert run_demo(out, [0], "sam-digits", lambda _: None, steps=12, num_scenes=130) == arms
    assert len(read_metrics(out / "simclr-130-seed0")) == 12
    assert checkpoints(out / "simclr-130-seed0") == before  # named by their content


def test_the_demo_data_is_the_same_everywhere(tmp_path):
    make_data(tmp_path / "one", 3)
    make_data(tmp_path / "two", 3)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(files) == 3 + 3 + 1000
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    assert compose_scene.__doc__


@pytest.mark.page
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_pictures_and_curves(demo, tmp_path, width):
    facts = open_page(demo[0] / "report.html", tmp_path, width)
    assert facts["shown"] == facts["images"] == 6 * (1 + 2 * 3 * 2)  # scenes, and two strategies of three pairs
    assert facts["curves"] >= 6  # loss, spread and speed of two runs
    assert facts["outside"] == 0
    assert facts["overflow"] <= 0
    assert facts["hidden"] == []
    assert 0 < facts["tallest"] <= 521


def test_the_page_holds_the_numbers(demo):
    out, arms, _ = demo
    page = (out / "report.html").read_text()
    for arm in arms:
        assert f"{100 * arm['top1']:.1f}%" in page
    assert f"Region views: {100 * arms[2]['top1']:.1f}% kNN on digits (95% interval " in page
    assert re.search(
        r"points (over|under) image views \(.+\), \d+\.\d points (over|under) the untrained backbone", page
    )
    assert re.search(r"[1-9][\d,]* of 3,072 views were enlarged: their crops are smaller than 32 px", page)
    assert page.index("kNN on digits") < page.index("What the model sees")
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
