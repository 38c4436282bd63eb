"""Prose in Markdown is wrapped at 100 characters; tables, code and single long words are not prose."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDTH = 100
NOT_PROSE = ("|", "#", "<", "![")


def long_lines(text: str) -> list[str]:
    """Lines of prose over WIDTH that could be broken."""
    without_blocks = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [
        line
        for line in without_blocks.splitlines()
        if len(line) > WIDTH
        and not line.lstrip().startswith(NOT_PROSE)
        and not line.startswith("    ")
        and " " in line.strip()[:WIDTH].partition(" ")[2]
    ]


def test_prose_is_wrapped():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    found = {str(file.relative_to(ROOT)): lines for file in files if (lines := long_lines(file.read_text()))}
    assert found == {}


def test_the_test_can_fail():
    words = "word " * 30
    assert long_lines(f"{words}\n| {words} |\n```sh\n{words}\n```\n    {words}\n{'w' * 120}\n- {words}\n") == [
        words,
        f"- {words}",
    ]
