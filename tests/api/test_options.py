"""All options of every command, as a snapshot: adding, removing or renaming one is a decision.

SAMCLR_SNAPSHOT=1 python -m pytest tests/api/test_options.py    writes it anew
"""

import os
import re
from pathlib import Path

from samclr.config.recipes import RECIPES

SNAPSHOT = Path(__file__).with_name("options.txt")
COMMANDS = [
    *("pack", "segment", "segmenters", "look", "evaluate", "export", "report", "demo"),
    *("regions verify", "regions stats", "regions score", "regions import", "regions export"),
    *("data list", "data check", "study list", "study run", "study status", "study page", "pretrain from-config"),
    *(f"pretrain {name}" for name in RECIPES),
]


def test_options(call):
    found = []
    for command in COMMANDS:
        status, text, _ = call(*command.split(), "--help")
        assert status == 0, command
        names = dict.fromkeys(re.findall(r"^  (--(?!debug)[a-z][a-z0-9-]*)", text, re.M))
        found.append(f"{command}:\n" + "".join(f"    {name}\n" for name in names))
    if os.environ.get("SAMCLR_SNAPSHOT"):
        SNAPSHOT.write_text("".join(found))
    assert "".join(found) == SNAPSHOT.read_text()
