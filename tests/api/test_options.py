"""All options of every command, as a snapshot: adding, removing or renaming one is a decision.

SAMCLR_SNAPSHOT=1 python -m pytest tests/api/test_options.py    writes it again
"""

import os
import re
from pathlib import Path

from support.helps import COMMANDS, help_of

SNAPSHOT = Path(__file__).with_name("options.txt")


def test_options():
    found = []
    for command in COMMANDS:
        names = dict.fromkeys(re.findall(r"^  (--(?!debug)[a-z][a-z0-9-]*)", help_of(command), re.M))
        found.append(f"{command}:\n" + "".join(f"    {name}\n" for name in names))
    if os.environ.get("SAMCLR_SNAPSHOT"):
        SNAPSHOT.write_text("".join(found))
    assert "".join(found) == SNAPSHOT.read_text()
