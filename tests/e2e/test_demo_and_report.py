"""The demo in small, and the report's page opened in a real browser."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from PIL import Image
from support import samclr, small_config, write_scenes

from samclr.config import FilterConfig
from samclr.demo import compose_scene, make_data, run_demo
from samclr.pretrain import pretrain
from samclr.report import write_report
from samclr.run_directory import read_metrics

CHROMIUM = shutil.which("chromium")
PROBE = """
<script>
window.addEventListener("load", () => {
  const shown = [...document.images].filter(i => i.complete && i.naturalWidth > 0 && i.clientWidth > 0);
  const curves = [...document.querySelectorAll("path.curve")].filter(p => p.getTotalLength() > 50);
  const outside = [...document.querySelectorAll("a[href], script[src], link[href], img")]
    .filter(e => /^https?:/.test(e.src || e.href || ""));
  const facts = {images: document.images.length, shown: shown.length, curves: curves.length, outside: outside.length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth};
  document.documentElement.setAttribute("data-facts", JSON.stringify(facts));
});
</script>
"""


def open_page(page, tmp_path, width):
    """Load the page in headless chromium and return what the probe saw there."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "chromium is missing in CI; .ci/run installs it"
        pytest.skip("chromium is not installed: the page was not opened")
    probed = tmp_path / f"probed-{width}.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    places = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [CHROMIUM, *flags.split(), *places, "--dump-dom", probed.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'data-facts="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"'))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    os.environ["SAMCLR_CACHE"] = str(out / "cache")
    remarks: list[str] = []
    arms = run_demo(out / "demo", [0], "felzenszwalb", remarks.append, steps=12, num_scenes=130)
    return out / "demo", arms, remarks


def test_the_demo_measures_three_arms(demo):
    out, arms, _ = demo
    assert [arm["strategy"] for arm in arms] == ["untrained", "image", "region"]
    assert json.loads((out / "results.json").read_text()) == {"arms": arms}
    assert all(0 <= arm["top1"] <= 1 for arm in arms)
    assert arms[2]["segmenter"] == "felzenszwalb"
    image, region = (read_metrics(out / name) for name in ("simclr-seed0", "samclr-felzenszwalb-seed0"))
    assert len(image) == len(region) == 12
    losses = [[row["loss"] for row in rows] for rows in (image, region)]
    assert losses[0] != losses[1]


def test_the_demo_again_trains_nothing_anew(demo):
    out, arms, _ = demo
    before = (out / "simclr-seed0/checkpoint.pt").stat().st_mtime_ns
    assert run_demo(out, [0], "felzenszwalb", lambda _: None, steps=12, num_scenes=130) == arms
    assert len(read_metrics(out / "simclr-seed0")) == 12
    assert (out / "simclr-seed0/checkpoint.pt").stat().st_mtime_ns >= before


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


def test_the_page_holds_the_numbers(demo):
    out, arms, _ = demo
    page = (out / "report.html").read_text()
    for arm in arms:
        assert f"{100 * arm['top1']:.1f}%" in page
    assert "views cut from fewer pixels than they have" in page
    assert "https://" not in page
    assert "http://" not in page


@pytest.mark.page
def test_a_run_without_regions_or_results_has_a_page(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 9)
    pretrain(small_config(scenes, recipe="simclr"), tmp_path / "run")
    facts = open_page(write_report([tmp_path / "run"]), tmp_path, 800)
    assert facts["shown"] == 6 * 7
    shutil.rmtree(scenes)
    page = write_report([tmp_path / "run"]).read_text()
    assert "The gallery is left out: no such folder" in page


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
