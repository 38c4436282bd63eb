"""The explorer's bars, in headless chromium: the first page, each slider, and the server's memory.

    OMP_NUM_THREADS=1 python benchmarks/explorer.py [--images 100000] [--regions 20] [--chromium /usr/bin/chromium]

Scenes are 640x480 JPEG files (100 different ones under many names) without a bank, so that each thumbnail is decoded;
the store has ellipses of all sizes. The first page is timed from the request to the last thumbnail that is in view, in
a new browser profile and with the server's caches empty; a slider from the input event to counts, histograms and, with
a scene open, its regions drawn. Memory is the server's largest resident set.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from samclr.regions.records import ImageRegions, region_from_mask
from samclr.regions.store import KIND, STORE_SCHEMA, regions_to_row
from samclr.storage.parts import PartsFolder

HEIGHT, WIDTH = 480, 640
DIFFERENT = 100
FIRST_PAGE_S, SLIDER_S = 1.0, 0.2
LOADS, MOVES = 5, 8
IN_VIEW = """() => { const at = document.getElementById("pane").getBoundingClientRect();
  const seen = [...document.querySelectorAll(".card img")].filter(i => i.getBoundingClientRect().top < at.bottom);
  return seen.length > 3 && seen.every(i => i.complete && i.naturalWidth > 0) && performance.now(); }"""
MOVE = """async ([name, at]) => {
  const range = document.getElementById(`range-${name}`), before = document.body.dataset.filtered;
  const start = performance.now();
  range.value = at;
  range.dispatchEvent(new Event("input"));
  while (document.body.dataset.filtered === before) {
    await new Promise(done => setTimeout(done, 1));
    if (performance.now() - start > 10000) throw new Error("nothing changed");
  }
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start; }"""
SLIDERS = ("min_area_px", "min_area_frac", "max_area_frac", "containment_frac", "padding", "min_box_px")


def made_regions(number: int, count: int) -> ImageRegions:
    """Ellipses, from specks to most of the image."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    regions = []
    while len(regions) < count:
        size = 10 ** random.uniform(0.6, 2.5)
        y, x, stretch = random.uniform(0, HEIGHT), random.uniform(0, WIDTH), random.uniform(0.5, 2)
        mask = ((rows - y) / size) ** 2 + ((columns - x) / size / stretch) ** 2 < 1
        if mask.any():
            regions.append(region_from_mask(mask))
    return ImageRegions(image_id="x", content_hash="0" * 32, height=HEIGHT, width=WIDTH, regions=tuple(regions))


def write_set(folder: Path, images: int, regions: int) -> tuple[Path, Path]:
    """Scenes and store."""
    scenes, store = folder / "scenes", folder / "store"
    ids = [f"{number // 1000:04d}/{number:07d}.jpg" for number in range(images)]
    rows = [regions_to_row(made_regions(number, regions)) for number in range(DIFFERENT)]
    base = folder / "base"
    base.mkdir()
    for number in range(DIFFERENT):
        small = np.random.default_rng(number).integers(0, 256, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(
            base / f"{number}.jpg", quality=90
        )
    for number, image_id in enumerate(ids):
        path = scenes / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(base / f"{number % DIFFERENT}.jpg", path)
    schema = pa.schema([field for field in STORE_SCHEMA if field.name in rows[0]])
    table = pa.Table.from_pylist(rows, schema=schema)
    for name in STORE_SCHEMA.names:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), STORE_SCHEMA.field(name).type))
    table = table.select(STORE_SCHEMA.names)
    parts = PartsFolder.create_or_open(store, KIND, {"segmenter": "generated"}, images)
    by_bucket: dict[int, list[int]] = {}
    for number, image_id in enumerate(ids):
        by_bucket.setdefault(parts.bucket_of(image_id), []).append(number)
    for bucket, numbers in by_bucket.items():
        part = table.take(pa.array([number % DIFFERENT for number in numbers]))
        part = part.set_column(0, "image_id", pa.array([ids[number] for number in numbers]))
        parts.publish(bucket, lambda companion, part=part: part)
    return scenes, store


def started(command: list[str], environment: dict[str, str]) -> tuple[subprocess.Popen[str], str, float]:
    """The server, its address, and the seconds until it was printed."""
    start = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    return server, address, time.perf_counter() - start


def moved(page: Page, name: str, server: psutil.Process) -> tuple[list[float], float]:
    """Seconds of some moves of a slider, which ends where it began, and the server's processor time of each."""
    begun, before = int(page.input_value(f"#range-{name}")), processor_s(server)
    places = [*np.linspace(150, 850, MOVES).astype(int).tolist(), begun]
    times = [page.evaluate(MOVE, [name, int(at)]) / 1000 for at in places]
    page.wait_for_load_state("networkidle")
    return times[:-1], (processor_s(server) - before) / len(places)


def processor_s(server: psutil.Process) -> float:
    """Seconds of the processor that it has taken so far."""
    return float(server.cpu_times().user + server.cpu_times().system)


def main() -> None:
    """Print the figures beside the bars."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes, store = write_set(folder, given.images, given.regions)
        environment = {**os.environ, "SAMCLR_CACHE": str(folder / "cache")}
        command = [sys.executable, "-m", "samclr", "explore", str(scenes), "--regions", str(store), "--port", "0"]
        print(f"{given.images:,} scenes of {WIDTH}x{HEIGHT} px, {given.regions} regions each; no bank")
        server, _, first = started(command, environment)
        server.terminate()
        server.wait()
        print(f"start: {first:.1f} s, of which the store is read once")
        server, address, again = started(command, environment)
        process = psutil.Process(server.pid)
        print(f"started again: {again:.1f} s, {process.memory_info().rss / 1e6:,.0f} MB")
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
            loads, before = [], processor_s(process)
            for load in range(LOADS):
                page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
                page.goto(f"{address}?name={load}5" if load else address)  # other scenes, whose thumbnails are new
                loads.append(page.wait_for_function(IN_VIEW, polling=5).json_value() / 1000)
            again = f"{max(loads[1:]):.2f} s at most of {LOADS - 1} in new profiles"
            print(f"first page: {loads[0]:.2f} s, then {again}; bar {FIRST_PAGE_S} s")
            print(f"  processor time of the server: {(processor_s(process) - before) / LOADS:.2f} s a page")
            for title, query in (("all scenes", ""), ("a scene open", "?scene=12345")):
                page.goto(address + query)
                page.wait_for_selector("body[data-filtered]")
                page.wait_for_load_state("networkidle")
                print(
                    f"sliders, {title}: median, most of {MOVES} moves, the server's processor time, s; bar {SLIDER_S} s"
                )
                for slider in SLIDERS:
                    times, spent = moved(page, slider, process)
                    print(f"  {slider:17} {np.median(times):.3f} {max(times):.3f} {spent:.3f}")
                print(f"memory of the server: {process.memory_info().rss / 1e6:,.0f} MB")
            browser.close()
        peak = int(
            next(x for x in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "VmHWM" in x).split()[1]
        )
        print(f"memory of the server, at most: {peak / 1000:,.0f} MB")
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
