"""Every name is defined. The linter itself ignores F821, since letters of shapes in annotations read as names."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def undefined(*paths: Path) -> list[str]:
    """Undefined names outside strings."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "json"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True)
    found = []
    for fault in json.loads(done.stdout):
        place = fault["location"]
        line = Path(fault["filename"]).read_text().splitlines()[place["row"] - 1]
        if line[: place["column"] - 1].count('"') % 2 == 0:
            found.append(f"{fault['filename']}:{place['row']}: {fault['message']}")
    return found


def test_every_name_is_defined():
    assert undefined(*(ROOT / name for name in ("src", "tests", "benchmarks"))) == []


def test_the_test_can_fail(tmp_path):
    (tmp_path / "one.py").write_text('def f(x: Float[Tensor, "b c"]) -> None:\n    return cosine(x)\n')
    assert [text.split(": ")[1] for text in undefined(tmp_path)] == [
        "Undefined name `Float`",
        "Undefined name `Tensor`",
        "Undefined name `cosine`",
    ]
