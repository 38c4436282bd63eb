"""Text files are UTF-8 on every system: none is opened in src/ in the encoding that the system happens to have."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def without_encoding(*paths: Path) -> list[str]:
    """Places where a text file is opened without one. The rule is in ruff's preview, which changes other rules."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select", "PLW1514"]
    done = subprocess.run([*command, "--output-format", "json", *map(str, paths)], capture_output=True, text=True)
    return [f"{fault['filename']}:{fault['location']['row']}" for fault in json.loads(done.stdout)]


def test_every_text_file_is_opened_with_its_encoding():
    assert without_encoding(ROOT / "src", ROOT / "examples") == []


def test_the_test_can_fail(tmp_path):
    (tmp_path / "bad.py").write_text("open('a').read()\n")
    assert len(without_encoding(tmp_path)) == 1
