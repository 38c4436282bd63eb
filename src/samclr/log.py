"""What samclr says: remarks through `logging.getLogger("samclr")`, which the command line shows on stderr.

Results, tables and errors are printed, by the command line alone.
"""

import io
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

FAILURES_SHOWN = 10
LOGGER = logging.getLogger("samclr")
_names_options = False
_called: dict[str, str] = {}
_SAID: set[str] = set()


class _OnStderr(logging.Handler):
    """Each remark as a line of its own on what is stderr at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr)


def show_remarks() -> None:
    """Have remarks shown on stderr from now on, as the command line does; for the processes it starts."""
    if not remarks_are_shown():
        LOGGER.addHandler(_OnStderr())
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def remarks_are_shown() -> bool:
    """Whether this process is the command line's, which also shows progress; a library's caller decides itself."""
    return any(isinstance(handler, _OnStderr) for handler in LOGGER.handlers)


def name_options(yes: bool) -> None:
    """Have messages made from now on name settings as options of the command line, or as Python has them."""
    global _names_options
    _names_options = yes


def options_are_named() -> bool:
    """Whether messages of this process name settings as options of the command line."""
    return _names_options


@contextmanager
def remarks_on_stderr(with_options: bool = True) -> Iterator[None]:
    """`show_remarks` and `name_options` inside the block."""
    handlers, level, propagate = list(LOGGER.handlers), LOGGER.level, LOGGER.propagate
    named_before = _names_options
    show_remarks()
    name_options(with_options)
    try:
        yield
    finally:
        name_options(named_before)
        LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
        LOGGER.setLevel(level)


def show_all_letters() -> None:
    """Have letters that the encoding of stdout lacks, as Windows' consoles may, shown as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def printable(text: object) -> str:
    """`text` on one line, with every character that a terminal would obey (ESC, newline, bidi marks) as its escape."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in shown)


def option_of(setting: str) -> str:
    """A setting as the reader of a message types it: `bank_on` in Python, --bank-on at the command line.

    The message is made with the right one, and never searched for settings: a file may be called anything.
    """
    return f"--{_called.get(setting, setting).replace('_', '-')}" if _names_options else f"`{setting}`"


@contextmanager
def options_called(**names: str) -> Iterator[None]:
    """Inside the block, some settings' options have other names than the settings: `backbone="architecture"`."""
    before = dict(_called)
    _called.update(names)
    try:
        yield
    finally:
        _called.clear()
        _called.update(before)


@contextmanager
def printable_stderr() -> Iterator[None]:
    """What others print to stderr inside the block is shown at its end, without what a terminal would obey."""
    written = io.StringIO()
    try:
        with redirect_stderr(written):
            yield
    finally:
        for line in written.getvalue().splitlines():
            say(line)


def fail(message: str, debug: bool) -> None:
    """Print an error to stderr, with its traceback if asked for."""
    if debug:
        traceback.print_exc()
    print(f"samclr: error: {printable(message)}", file=sys.stderr)


def say(text: str) -> None:
    """A remark that a person should see: something was assumed, left out, damaged, or made again."""
    LOGGER.warning("%s", printable(text))


def tell(text: str) -> None:
    """A remark on what is going on, at level INFO: the command line shows it, a library's caller if they ask for it."""
    LOGGER.info("%s", printable(text))


def say_once(text: str) -> None:
    """A remark that a process makes once however often it has cause to, and of several ranks the first alone."""
    is_first = all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    if text not in _SAID and is_first:
        _SAID.add(text)
        say(text)


def show(text: object) -> None:
    """A line of a result."""
    print(printable(text))


def show_json(facts: dict[str, Any]) -> None:
    """A result as one line of JSON, whose shape docs/reference/json.md states; what is no finite number is null."""
    print(json.dumps(_finite(facts), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_rows(title: str, rows: list[dict[str, Any]], as_json: bool, key: str = "rows") -> None:
    """A table, or JSON."""
    if as_json:
        show_json({key: rows})
    else:
        show_table(title, rows)


def show_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table; shares in [0, 1] called top1 as percentages."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = list(rows[0]) if rows else []
    table = Table(title=Text(printable(title)), box=box.SIMPLE_HEAD, title_justify="left")
    for name in columns:
        table.add_column(Text(name.replace("_", " ")), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_cell(name, row.get(name)))) for name in columns))
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1%}" if "top1" in name else f"{value:.4g}"
    return str(value)


def show_fill(verb: str, path: Path, report: Any, strict: bool, as_json: bool) -> int:
    """What a job over all images did. Exit status 1 when every image failed, and for any failure under --strict."""
    if as_json:
        counts = {"num_images": report.num_images, "num_new": report.num_new, "wall_s": report.wall_s}
        notes = [
            {"key": note.key, "count": note.count, "text": note.text, "names": note.names} for note in report.notes
        ]
        show_json({"path": path, **counts, "errors": report.errors, "notes": notes})
    for note in report.notes:
        say(f"  {note.line()}")
    for image_id, text in list(report.errors.items())[:FAILURES_SHOWN]:
        say(f"  failed: {image_id}: {text}")
    if len(report.errors) > FAILURES_SHOWN:
        say(f"  and {len(report.errors) - FAILURES_SHOWN:,} more; --json lists all")
    if report.errors:
        say("  --retry-errors tries them again")
    say(
        f"{verb} {report.num_images - len(report.errors)} of {report.num_images} images into {path} "
        f"in {report.wall_s:.1f} s ({report.num_new} new{f', {len(report.errors)} failed' if report.errors else ''})"
    )
    failed = bool(report.errors) or any(note.is_failure for note in report.notes)
    return 1 if report.is_in_vain or (strict and failed) else 0
