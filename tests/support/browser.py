"""Open a page in headless chromium and say what a reader would see there, and what a tap on it tells."""

import json
import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
PROBE = """
<script>
function crossed(lines, labels) {  // labels that lie on a line; both are somewhere, or it says nothing
  const boxes = [lines, labels].map(some => some.map(e => e.getBoundingClientRect()).filter(b => b.height > 0));
  const cross = (a, b) => a.left < b.right && b.left < a.right + 1 && a.top < b.bottom && b.top < a.bottom;
  return lines.length && !boxes[0].length ? -1 : boxes[1].filter(b => boxes[0].some(a => cross(a, b))).length;
}
window.addEventListener("load", () => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = [...document.images].filter(i => i.complete && i.naturalWidth > 0 && i.clientWidth > 0);
  const curves = all("path.curve").filter(p => p.getTotalLength() > 50);
  const masks = all("path.mask");
  const outside = all("a[href], script[src], link[href], img").filter(e => /^https?:/.test(e.src || e.href || ""));
  const wide = all("*").filter(e => !e.closest("svg, pre") && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0);
  const pictures = all(".scene > figure > img, .sides svg").map(e => e.getBoundingClientRect().height);
  const facts = {width: innerWidth, images: document.images.length, shown: shown.length, curves: curves.length,
    masks: masks.length, drawn: masks.filter(p => p.getTotalLength() > 2).length, outside: outside.length,
    hidden: wide.map(e => `${e.tagName} ${e.className}`), tallest: Math.max(0, ...pictures),
    crossed: crossed(all(".zero"), all(".difference > span, .difference > b, svg.intervals text.label")),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth};
  const region = masks.find(p => p.getBoundingClientRect().width > 4);
  if (region) {
    region.scrollIntoView({block: "center"});
    const box = region.getBoundingClientRect();
    const at = {clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true};
    document.elementFromPoint(at.clientX, at.clientY).dispatchEvent(new MouseEvent("click", at));
    facts.told = region.closest("figure").querySelector(".told").textContent;
  }
  parent.postMessage(JSON.stringify(facts), "*");
});
</script>
"""
FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener("message", (event) => document.documentElement.setAttribute("data-facts", event.data));
</script><iframe src="{page}" style="border: 0; width: {width}px; height: 2000px"></iframe></body>
"""


def open_page(page, tmp_path, width):
    """Load the page in headless chromium and return what the probe saw there.

    In a frame of that width: chromium's window is never narrower than 500 px, and a phone is.
    """
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "chromium is missing in CI; .ci/run installs it"
        pytest.skip("chromium is not installed: the page was not opened")
    probed, frame = tmp_path / f"probed-{width}.html", tmp_path / f"frame-{width}.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    frame.write_text(FRAME.replace("{page}", probed.as_uri()).replace("{width}", str(width)))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    places = [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2000", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [CHROMIUM, *flags.split(), *places, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'data-facts="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    facts = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert facts["width"] == width
    return facts
