"""The `--help` of every command, asked for once in a process."""

import io
import os
from contextlib import redirect_stdout
from functools import cache
from unittest.mock import patch

import pytest

from samclr.cli.main import main
from samclr.config.recipes import RECIPES

WIDTH = "100"
GROUPS = ["", "regions", "data", "pretrain", "study"]
COMMANDS = [
    *("pack", "segment", "segmenters", "look", "explore", "evaluate", "export", "embed", "report", "demo"),
    *("similar", "duplicates", "select"),
    *("regions verify", "regions stats", "regions score", "regions import", "regions export"),
    *("data list", "data check", "study list", "study run", "study status", "study page", "pretrain from-config"),
    *(f"pretrain {name}" for name in RECIPES),
]


@cache
def help_of(command: str) -> str:
    """What `samclr COMMAND --help` prints on a terminal of WIDTH columns."""
    shown = io.StringIO()
    with patch.dict(os.environ, COLUMNS=WIDTH), redirect_stdout(shown), pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    return shown.getvalue()
