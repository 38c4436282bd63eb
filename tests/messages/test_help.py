"""The whole --help of every command, at a width of 100, as text files. Of recipes other than samclr it is what differs
from `samclr pretrain samclr --help`, an option a line.

SAMCLR_SNAPSHOT=1 python -m pytest tests/messages/test_help.py    writes them again
"""

import difflib
import os
import re
from pathlib import Path

import pytest
from support.helps import COMMANDS, GROUPS, help_of

HELP = Path(__file__).with_name("help")
BASE = "pretrain samclr"


def file_of(command: str) -> Path:
    """Where a command's text is kept."""
    return HELP / f"{command.replace(' ', '-') or 'samclr'}.txt"


def shown(command: str) -> str:
    """The text of a command's file."""
    lines = [line.rstrip() for line in help_of(command).splitlines()]
    if command.startswith("pretrain ") and command not in (BASE, "pretrain from-config"):
        base, own = (unwrapped(help_of(name).splitlines()) for name in (BASE, command))
        found = difflib.unified_diff(base, own, BASE, command, lineterm="", n=0)
        lines = [line for line in found if not line.startswith("@@")]
    return "".join(f"{line}\n" for line in lines)


def unwrapped(lines: list[str]) -> list[str]:
    """An option with its explanation as one line, whatever the widths of columns."""
    found: list[str] = []
    for line in lines:
        text = " ".join(line.split())
        if line.startswith("    ") and found:
            found[-1] = f"{found[-1]} {text}".strip()
        elif text.strip("-"):
            found.append(text)
    return found


@pytest.mark.parametrize("command", [*GROUPS, *COMMANDS])
def test_help(command):
    file = file_of(command)
    if os.environ.get("SAMCLR_SNAPSHOT"):
        HELP.mkdir(exist_ok=True)
        file.write_text(shown(command))
    assert shown(command) == file.read_text()


def test_no_file_is_left_over():
    assert sorted(HELP.iterdir()) == sorted(file_of(command) for command in [*GROUPS, *COMMANDS])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command):
    assert f"Example: samclr {command}" in help_of(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    lines = help_of(command).splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  --"):
            explained = line.strip().partition("  ")[2] or lines[number + 1]
            assert re.match(r"\s*(?!\(default)\S", explained), f"{command}: {line} is not explained"
