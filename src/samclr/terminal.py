"""What commands print: results and tables to stdout, remarks and errors to stderr."""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

PERCENTAGES = ("top1", "top5", "miou", "accuracy")


def fail(message: str, debug: bool) -> None:
    """Print an error to stderr, with its traceback if asked for."""
    if debug:
        traceback.print_exc()
    print(f"samclr: error: {message}", file=sys.stderr)


def say(text: str) -> None:
    """A remark for the person at the terminal; results go to stdout."""
    print(text, file=sys.stderr)


def show_rows(title: str, rows: list[dict[str, Any]], as_json: bool, key: str = "rows") -> None:
    """A table, or JSON."""
    if as_json:
        print(json.dumps({key: rows}))
    else:
        show_table(title, rows)


def show_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table; shares in [0, 1] called top1, top5, miou or accuracy as percentages."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = list(rows[0]) if rows else []
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(name, row.get(name)) for name in columns))
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


def show_results(row: dict[str, Any]) -> None:
    """The results of one backbone on one set, a line for each accuracy with its 95 % interval."""
    shares = [name for name in row if any(word in name for word in PERCENTAGES) and isinstance(row[name], float)]
    lines = [{"result": name.replace("_", " "), "accuracy": row[name]} for name in shares]
    for line, name in zip(lines, shares, strict=True):
        line["95_%_interval"] = row.get(f"{name}_interval")
    counts = f"{row['num_train']:,} training and {row['num_test']:,} test images"
    show_table(f"{row['target']} on {row['on']}: {counts}", lines)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1%}" if any(word in name for word in PERCENTAGES) else f"{value:.4g}"
    if isinstance(value, list) and name.endswith("_interval"):
        return " to ".join(f"{end:.1%}" for end in value)
    return str(value)


def show_fill(verb: str, path: Path, report: Any, strict: bool, as_json: bool) -> int:
    """What a job over all images did; exit status 1 for failures under --strict."""
    if as_json:
        facts = {"path": str(path), "images": report.num_images, "new": report.num_new, "errors": report.errors}
        print(json.dumps(facts))
    for image_id, text in report.errors.items():
        say(f"  failed: {image_id}: {text}")
    say(
        f"{verb} {report.num_new} of {report.num_images} images into {path} in {report.wall_s:.1f} s"
        f"{f', {len(report.errors)} failed' if report.errors else ''}"
    )
    return 1 if strict and report.errors else 0
