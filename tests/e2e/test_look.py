"""The page of `samclr look`, opened in a real browser."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from support.browser import open_page
from support.command import samclr
from support.scenes import write_scenes

from samclr.config.pretrain import FilterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError
from samclr.pages import look
from samclr.pages.look import MAX_DRAWN, write_look
from samclr.regions.coarsest import coarsest
from samclr.regions.store import iterate_rows, open_store, row_to_regions
from samclr.storage.parts import OK

FILTER = FilterConfig(min_area_px=60, padding=1.2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("look")
    scenes = write_scenes(folder / "scenes", 14)
    (scenes / "broken.jpg").write_bytes(b"no image")
    arguments = ("--points-per-side", 8, "--pred-iou-thresh", 0.2, "--stability-score-thresh", 0.6, "--workers", 1)
    done = samclr("segment", scenes, "--segmenter", "sam-digits", *arguments, "--out", folder / "store")
    assert done.returncode == 0, done.stderr
    assert re.search(r"images/s, [0-9.]+ masks/image, encoder \d+%, decoder \d+%, masks \d+%, rle \d+%", done.stderr)
    page = write_look(open_store(folder / "store"), list_scenes([scenes]), FILTER, 5, 0, folder / "look.html")
    return folder, page


@pytest.mark.page
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_every_region_on_both_sides(made, tmp_path, width):
    folder, page = made
    facts = open_page(page, tmp_path, width)
    text = page.read_text()
    drawn = re.findall(r'aria-label="([^"]+), (\d+) regions"', text)
    assert len(drawn) == 5 + 4 + 4  # drawn at random, emptiest, worst
    found = {
        row["image_id"]: row_to_regions(row)
        for row in iterate_rows(open_store(folder / "store"))
        if row["status"] == OK
    }
    expected = sum(len(found[i].regions) + len(coarsest(found[i], FILTER)) for i, _ in drawn)
    assert facts["masks"] == expected > 30
    assert facts["drawn"] > 0.9 * expected  # a region of a pixel or two may have no outline
    assert facts["outside"] == 0
    assert facts["overflow"] <= 0
    assert facts["hidden"] == []
    assert 0 < facts["tallest"] <= 521
    assert re.match(r"region \d+: [\d,]+ px, .+ of the image, predicted IoU 0\.\d+, stability", facts["told"])


def test_scores_boxes_errors_and_counts_stand_on_the_page(made):
    folder, page = made
    text = page.read_text()
    rows = [row for row in iterate_rows(open_store(folder / "store")) if row["status"] == OK]
    assert f"{sum(len(r['regions']) for r in rows) / len(rows):.1f}, after the filter" in text
    assert "Segmented with sam-digits: " in text
    assert "1 of 15 could not be segmented." in text
    assert "<code>broken.jpg</code>" in text
    assert "predicted IoU 0." in text
    assert text.count('class="box"') > 5
    assert text.count('class="bar"') > 20
    assert "http" not in text.replace("http-equiv", "")


def test_a_store_of_other_scenes(made, tmp_path):
    folder, _ = made
    write_scenes(tmp_path / "others", 2)
    (tmp_path / "others" / "a").rename(tmp_path / "others" / "z")
    refs = [ref for ref in list_scenes([tmp_path / "others"]) if ref.image_id.startswith("z/")]
    with pytest.raises(PartsError, match="no usable row for any of the 1 scenes; was it made for other scenes"):
        write_look(open_store(folder / "store"), refs, FILTER, 5, 0, None)


def test_of_very_many_regions_the_largest_are_drawn_and_the_rest_counted(tmp_path, monkeypatch, call):
    """A square of every size on one image: each outline is a mask decoded, which took minutes for 20,000."""
    (tmp_path / "scenes").mkdir()
    Image.fromarray(np.full((400, 400, 3), 90, np.uint8)).save(tmp_path / "scenes" / "a.png")
    squares = [[k, k, 399, k, 399, 399, k, 399] for k in range(0, 360)]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 400, "height": 400}],
        "annotations": [{"id": k, "image_id": 1, "segmentation": [one]} for k, one in enumerate(squares)],
    }
    (tmp_path / "masks.json").write_text(json.dumps(document))
    words = ("--scenes", tmp_path / "scenes", "--out", tmp_path / "store")
    assert call("regions", "import", tmp_path / "masks.json", *words)[0] == 0
    decoded = []
    monkeypatch.setattr(look, "_outline", lambda *_: decoded.append(1) or "M0,0Z")
    assert call("look", tmp_path / "store", "--scenes", tmp_path / "scenes")[0] == 0
    assert len(decoded) <= 3 * (MAX_DRAWN + 1)  # the scene is drawn, and among the extremes
    page = (tmp_path / "store" / "look.html").read_text()
    assert f"360 regions; {MAX_DRAWN} of the largest are drawn, {360 - MAX_DRAWN} left out" in page
