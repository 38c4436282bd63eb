"""The bar that shows how far a folder of parts is filled."""

import sys
from typing import Any

from samclr.log import remarks_are_shown


def progress_bar() -> Any:
    """rich's Progress over images done and to come, with a note for what the work reports."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
        disable=not (remarks_are_shown() and sys.stderr.isatty()),
    )
