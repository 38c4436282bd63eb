"""Open a page in headless chromium and say what a reader would see there."""

import json
import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
PROBE = """
<script>
window.addEventListener("load", () => {
  const shown = [...document.images].filter(i => i.complete && i.naturalWidth > 0 && i.clientWidth > 0);
  const curves = [...document.querySelectorAll("path.curve")].filter(p => p.getTotalLength() > 50);
  const masks = [...document.querySelectorAll("path.mask")];
  const outside = [...document.querySelectorAll("a[href], script[src], link[href], img")]
    .filter(e => /^https?:/.test(e.src || e.href || ""));
  const facts = {images: document.images.length, shown: shown.length, curves: curves.length,
    masks: masks.length, drawn: masks.filter(p => p.getTotalLength() > 2).length, outside: outside.length,
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
