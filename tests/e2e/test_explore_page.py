"""The page of `samclr explore` in a real browser: load, slide, click, keys, phone width, no error on the console."""

import json
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from support.explorer import browser, served
from support.nested import write_nested
from support.vectors import write_vectors

from samclr.config.explorer import ExplorerData
from samclr.config.views import FilterConfig
from samclr.pages.explorer.source import Source
from samclr.regions.coarsest import coarsest
from samclr.regions.region_store import RegionStore

pytestmark = pytest.mark.page
HOSTILE = "<b onmouseover=alert(1)>&amp;.png"
READY = "body[data-ready]"
COLOURED = """() => { const c = document.getElementById("masks");
  const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let some = 0; for (let k = 3; k < data.length; k += 4) some += data[k] > 0; return some; }"""
BOX = "c => { const b = c.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }"
OVERFLOW = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture
def shown(tmp_path, call):
    """(store, open a path in a new page of some width); every page must have no error in the end."""
    scenes, store = write_nested(tmp_path, 60, call)
    (scenes / HOSTILE).write_bytes((scenes / "001.png").read_bytes())
    faults: list[str] = []
    with served(Source([scenes], ExplorerData(regions=store))) as address, browser() as opened:

        def open_page(path="", width=1280, height=800, **options):
            page = opened.new_context(viewport={"width": width, "height": height}, **options).new_page()
            page.set_default_timeout(20_000)
            page.on("console", lambda message: message.type == "error" and faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
            page.on("request", lambda asked: asked.url.startswith((address, "data:")) or faults.append(asked.url))
            page.goto(address + path)
            page.wait_for_selector(READY)
            return page

        yield store, open_page
    assert faults == []


def words(page, *names, without="") -> dict[str, str]:
    """The state, as the address has it a moment later: waits until it has these names, and not `without`."""
    for _ in range(80):
        page.wait_for_timeout(250)
        found = {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}
        if found.keys() >= set(names) and without not in found:
            return found
    raise AssertionError(found)


def wait(page, expression):
    """Until it holds; by questions from here, as the page lets nobody evaluate text in it."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def slide(page, name, at):
    page.eval_on_selector(
        f"#range-{name}", "(range, at) => { range.value = at; range.dispatchEvent(new Event('input')); }", at
    )
    value = page.input_value(f"#field-{name}")
    wait(page, f"String(JSON.parse(document.body.dataset.filtered).{name}) === '{value}'")
    return float(value)


def test_grid_scene_filter_keys_and_views(shown):
    store, open_page = shown
    page = open_page()
    assert page.inner_text("#total") == "61 scenes"
    titles = page.eval_on_selector_all(".card .id", "all => all.map(one => one.textContent)")
    assert titles[:2] == ["000.png", "001.png"]
    assert page.eval_on_selector_all(".card .id *", "all => all.map(one => one.tagName)").count("B") == 0
    page.evaluate("document.getElementById('pane').scrollTop = 1e6")
    page.wait_for_selector(f'.card[title^="{HOSTILE[:9]}"], .card[title^="059"]')
    page.click('.card[title^="059"]')
    wait(page, "document.getElementById('title').textContent === '059.png'")
    assert words(page, "scene") == {"scene": "59"}
    page.keyboard.press("ArrowLeft")
    wait(page, "document.getElementById('title').textContent === '058.png'")
    found = RegionStore(store)["058.png"]
    wait(page, f"document.getElementById('masks').dataset.drawn > 0 || {len(found.regions)} === 0")
    before = int(page.get_attribute("#masks", "data-drawn"))
    least = slide(page, "min_area_px", 420)
    config = FilterConfig(min_area_px=int(least))
    kept = coarsest(found, config)
    assert f"keeps {len(kept)} of {len(found.regions)} regions" in page.inner_text("#scene-count")
    assert before == len(coarsest(found, FilterConfig()))
    wait(page, f"document.getElementById('masks').dataset.drawn == {len(kept)}")
    union = np.zeros((found.height, found.width), bool)
    for number in kept:
        union |= found.mask(number)
    page.wait_for_timeout(100)
    assert page.evaluate(COLOURED) == union.sum()  # drawn to the pixel
    assert page.inner_text("#filter-command code").startswith(f"--min-area-px {int(least)}")
    x0, y0, x1, y1 = found.regions[kept[-1]].box_xyxy  # the smallest lies on top
    at = page.eval_on_selector("#masks", BOX)
    centre = at[0] + at[2] * (x0 + x1) / 2 / found.width, at[1] + at[3] * (y0 + y1) / 2 / found.height
    page.mouse.move(*centre)
    told = page.inner_text("#told")
    assert told.startswith(f"region {kept[-1]}: {found.regions[kept[-1]].area_px:,} px")
    page.wait_for_selector("#rows .row img")
    page.check("#views-solarise_prob")
    page.select_option("#views-strategy", "random-box")
    wait(page, "document.getElementById('shares').textContent.startsWith('Over this')")
    state = words(page, "strategy", "solarise_prob")
    assert (state["scene"], state["strategy"], state["solarise_prob"]) == ("58", "random-box", "0.5")
    step = int(page.input_value("#step"))
    page.click("#step-after")
    wait(page, f"Number(document.getElementById('step').value) > {step}")
    assert "--strategy random-box" in page.inner_text("#views-command code")
    again = open_page(f"?{urlsplit(page.url).query}")  # all of it is in the address
    wait(again, f"document.getElementById('masks').dataset.drawn == {len(kept)}")
    assert again.input_value("#field-min_area_px") == str(int(least))
    assert again.is_checked("#views-solarise_prob")
    page.keyboard.press("Escape")
    page.wait_for_selector("#scenes:not([hidden])")
    words(page, without="scene")
    page.go_back()
    page.wait_for_selector("#scene:not([hidden])")


def test_the_whole_set_and_the_choice_of_scenes(shown):
    store, open_page = shown
    page = open_page("?sort=most&show=many&least=5")
    regions = RegionStore(store)
    counts = [len(found.regions) for found in regions.values()]
    assert page.inner_text("#total") == f"{sum(count >= 5 for count in counts)} scenes"
    assert page.inner_text(".card .facts").endswith(f"of {max(counts)} regions")
    slide(page, "containment_frac", 300)
    config = FilterConfig(containment_frac=0.3)
    kept = sum(len(coarsest(found, config)) for found in regions.values())
    assert page.inner_text("#set-left") == f"Whole set: {kept:,} of {sum(counts):,} regions are kept."
    page.fill("#name", "no such")
    page.wait_for_selector("#nothing")
    page.fill("#name", "<b on")
    wait(page, "document.getElementById('total').textContent.startsWith('0')")
    page.select_option("#show", "errors")
    page.wait_for_selector(".card .facts.fault")
    page.fill("#name", "")
    assert page.inner_text(".card .id") == HOSTILE
    page.click(".card")
    page.wait_for_selector("#fault:not([hidden])")
    assert page.inner_text("#title") == HOSTILE
    assert page.inner_text("#fault") == "it has no row in the region store"
    page.fill("#field-padding", "0")
    page.wait_for_selector("#filter-fault:not([hidden])")
    assert page.inner_text("#filter-fault").startswith("Padding of boxes: ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(shown, scheme):
    _, open_page = shown
    page = open_page("", 390, 780, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert page.evaluate(OVERFLOW) <= 0
    ground = page.eval_on_selector("body", "body => getComputedStyle(body).backgroundColor")
    assert (sum(json.loads(ground.replace("rgb(", "[").replace(")", "]"))) < 200) == (scheme == "dark")
    assert page.is_hidden("#side")
    page.tap(".card >> nth=3")
    wait(page, "document.getElementById('masks').dataset.drawn > 0")
    assert page.evaluate(OVERFLOW) <= 0
    at = page.eval_on_selector("#masks", BOX)
    for share in np.linspace(0.1, 0.9, 5):
        page.touchscreen.tap(at[0] + at[2] * share, at[1] + at[3] * share)
        if page.inner_text("#told").startswith("region"):
            break
    assert page.inner_text("#told").startswith("region")
    page.tap("#open-filter")
    assert page.is_visible("#range-min_area_px")
    slide(page, "min_area_px", 999)
    wait(page, "document.getElementById('masks').dataset.drawn === '0'")
    page.tap("#close-filter")
    assert page.is_hidden("#side")
    page.tap("#next")
    wait(page, "document.getElementById('title').textContent === '004.png'")
    page.wait_for_load_state("networkidle")
    assert page.evaluate(OVERFLOW) <= 0


def test_near_duplicates_and_shares_of_the_whole_set(tmp_path, call):
    scenes, store = write_nested(tmp_path, 5, call)
    for number in (2, 3):
        (scenes / f"{number:03d} again.png").write_bytes((scenes / f"{number:03d}.png").read_bytes())
    names = sorted(path.name for path in scenes.iterdir())
    write_vectors(tmp_path / "vectors", {name: np.ones((1, 4)) + 0.01 * k for k, name in enumerate(names)})
    faults = []
    source = Source([scenes], ExplorerData(regions=store, vectors=tmp_path / "vectors"))
    with served(source) as address, browser() as opened:
        page = opened.new_page()
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.wait_for_selector(READY)
        page.select_option("#show", "duplicates")
        wait(page, "document.getElementById('duplicates').textContent.startsWith('2 groups of near-duplicates')")
        wait(page, "document.querySelectorAll('.card').length === 4")
        titles = page.eval_on_selector_all(".card .id", "all => all.map(one => one.textContent)")
        assert {titles[0][:3], titles[2][:3]} == {"002", "003"}
        facts = page.eval_on_selector_all(".card .facts", "all => all.map(one => one.textContent)")
        groups = [fact.partition("; ")[0] for fact in facts]
        assert groups == ["group 1, to keep", "group 1", "group 2, to keep", "group 2"]
        assert sum("it has no row in the region store" in fact for fact in facts) == 2
        assert words(page, "show") == {"show": "duplicates"}
        page.click(".card >> nth=0")
        wait(page, "document.getElementById('set-shares').textContent.startsWith('Whole set, each of its 7 scenes')")
        before = page.inner_text("#set-shares")
        page.fill("#views-size_px", "16")
        page.keyboard.press("Tab")
        wait(page, f"document.getElementById('set-shares').textContent.includes('whole image') && "
                   f"document.getElementById('set-shares').textContent !== {json.dumps(before)}")  # fmt: skip
    assert faults == []


def map_by_umap(tmp_path, call, until):
    """What the page says of the map by UMAP, and what went wrong on it."""
    scenes, store = write_nested(tmp_path, 9, call)
    random = np.random.default_rng(0)
    regions = RegionStore(store)
    vectors = {one: random.normal(size=(1 + len(found.regions), 6)) for one, found in regions.items()}
    write_vectors(tmp_path / "vectors", vectors, regions=regions)
    faults = []
    source = Source([scenes], ExplorerData(regions=store, vectors=tmp_path / "vectors"))
    with served(source) as address, browser() as opened:
        page = opened.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((address, "data:")) or faults.append(asked.url))
        page.goto(f"{address}?map=umap")
        for _ in range(5):  # compiling takes its time
            try:
                wait(page, until)
                break
            except AssertionError as error:
                late = error
        else:
            raise late
        assert page.input_value("#method") == "umap"
        return page.inner_text("#map-about"), page.inner_text("#map-fault"), faults


def test_a_map_by_umap_needs_its_extra(tmp_path, call, monkeypatch):
    monkeypatch.setattr("samclr.pages.explorer.objects.importlib.util.find_spec", lambda name: None)
    about, fault, faults = map_by_umap(tmp_path, call, "document.body.dataset.map === 'umap 0'")
    assert (about, faults) == ("", [])
    assert fault == "method is umap, which needs a package: pip install 'samclr[umap]'"


@pytest.mark.slow
def test_a_map_by_umap(tmp_path, call):
    pytest.importorskip("umap")
    about, fault, faults = map_by_umap(tmp_path, call, "document.body.dataset.map === 'umap 35'")
    assert (about, fault, faults) == (
        "Each point is an object: 35 regions with a vector. Near points are alike.",
        "",
        [],
    )


def test_the_map_and_neighbours(tmp_path, call):
    scenes, store = write_nested(tmp_path, 9, call)
    regions = RegionStore(store)
    random = np.random.default_rng(0)
    vectors = {image_id: random.normal(size=(1 + len(found.regions), 4)) for image_id, found in regions.items()}
    write_vectors(tmp_path / "vectors", vectors, regions=regions)
    total = sum(len(found.regions) for found in regions.values())
    faults = []
    source = Source([scenes], ExplorerData(regions=store, vectors=tmp_path / "vectors"))
    with served(source) as address, browser() as opened:
        page = opened.new_page()
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{address}?map=pca")
        wait(page, f"document.body.dataset.map === 'pca {total}'")
        x, y, width, height = page.eval_on_selector("#points", BOX)
        page.mouse.move(x + 2, y + 2)
        page.mouse.down()
        for corner in ((width - 2, 2), (width - 2, height - 2), (2, height - 2), (2, 2)):
            page.mouse.move(x + corner[0], y + corner[1], steps=3)
        page.mouse.up()
        assert page.inner_text("#chosen-about").startswith(f"{total} objects, 100.0 %")
        page.click("#chosen button >> nth=0")
        page.wait_for_selector("#similar-rows button")
        assert page.inner_text("#similar-title").startswith("Most like region ")
        assert words(page, "scene", "region").keys() == {"scene", "region"}
        nearest = page.inner_text("#similar-rows button span >> nth=0")
        assert -1 <= float(nearest) <= 1
        page.click("#similar-rows button >> nth=0")
        page.wait_for_load_state("networkidle")
    assert faults == []
