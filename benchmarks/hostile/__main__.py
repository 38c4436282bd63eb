"""The hostile campaign: flipped bytes, malformed imports, hostile files, odd values of options; prints what came of it.

    OMP_NUM_THREADS=1 python benchmarks/hostile [--only flips|imports|files|options|paths] [--quick] [--out FILE.json]

Every command is a process of its own with 12 GB and 60 s. The goals, printed last: no hang, no crash, no "unexpected",
and no silent difference but in raw pixels that nobody asked to verify. docs/reliability.md holds the table.
"""

import argparse
import io
import json
import sys
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests")]  # the tests' small sets

FAULTS = ("silent", "hang", "crash", "unexpected")


def main() -> int:
    """Run the campaign; exit status 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("flips", "imports", "files", "options", "paths"))
    parser.add_argument("--kind", help="of flips, options and paths only the rows with this in their name")
    parser.add_argument("--flips", type=int, default=50, help="flipped bytes of each kind of file")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    arguments = parser.parse_args()
    _import_everything()
    from files import read_all
    from flips import flip_all
    from imports import import_all
    from options import try_all
    from paths import try_paths

    step = 10 if arguments.quick else 1
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        wanted = arguments.only
        if wanted in (None, "flips"):
            for row in flip_all(folder / "flips", max(arguments.flips // step, 1), arguments.kind):
                rows.append(_show(row))
        if wanted in (None, "imports"):
            rows.append(_show(import_all(folder / "imports", step)))
        if wanted in (None, "files"):
            rows.append(_show(read_all(folder / "files")))
        if wanted in (None, "options"):
            for row in try_all(folder / "options", step, arguments.kind):
                rows.append(_show(row))
        if wanted in (None, "paths"):
            for row in try_paths(folder / "paths", step, arguments.kind):
                rows.append(_show(row))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))
    missed = {
        name: sum(row.get(name, 0) for row in rows if not (name == "silent" and row.get("may_differ")))
        for name in FAULTS
    }
    print(
        "\n" + ", ".join(f"{count} {name}" for name, count in missed.items()) + f" of {sum(r['tried'] for r in rows)}"
    )
    return 1 if any(missed.values()) else 0


def _show(row: dict[str, Any]) -> dict[str, Any]:
    counts = ", ".join(
        f"{count} {name}" for name, count in row.items() if type(count) is int and name != "tried" and count
    )
    print(f"| {row['what']} | {row['tried']} | {counts} |", flush=True)
    for line in row["odd"][:20]:
        print("    " + json.dumps(line), flush=True)
    return row


def _import_everything() -> None:
    """Once, so that each command is a fork of this process; and tyro keeps what it has read of the classes' sources."""
    from options import commands

    import samclr.demo.demo
    import samclr.embedding.chosen
    import samclr.embedding.copies
    import samclr.embedding.objects.protocol
    import samclr.embedding.query
    import samclr.embedding.work
    import samclr.evaluation.detection.task
    import samclr.evaluation.evaluate
    import samclr.evaluation.protocols.dense
    import samclr.evaluation.protocols.detection
    import samclr.evaluation.protocols.in_context
    import samclr.evaluation.protocols.multilabel
    import samclr.evaluation.protocols.overcluster
    import samclr.evaluation.protocols.segment_linear
    import samclr.pages.explorer.server
    import samclr.pages.look
    import samclr.pages.pictures
    import samclr.pages.report
    import samclr.runs.export
    import samclr.training.dry_run
    import samclr.training.pretrain  # noqa: F401
    from samclr.cli.main import main as command

    for words in commands(Path()).values():
        with redirect_stdout(io.StringIO()), suppress(SystemExit):
            command([word for word in words[:2] if isinstance(word, str) and word[0] != "-"] + ["--help"])


if __name__ == "__main__":
    sys.exit(main())
