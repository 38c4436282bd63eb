"""The run directory: settings, metrics and summary of one run, so that the same command resumes it.

config.json and summary.json hold a checksum, and so does each line of metrics.jsonl.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import shown
from samclr.errors import RunError
from samclr.log import option_of, say
from samclr.runs.extension import extended, is_stage_of
from samclr.runs.saved import CONFIG_FILE, has_checkpoint, load_config, saved_config
from samclr.storage.checksums import checksum_of_json
from samclr.storage.files import CHECKSUM, read_json, replacing, unseal, write_json  # others take the two from here
from samclr.storage.locks import locked, note_holder, who_holds

METRICS_FILE, SUMMARY_FILE, RESULTS_FILE = "metrics.jsonl", "summary.json", "results.json"
LOCKS_FOLDER = "locks"


@contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """Hold a run directory for writing, which is made if missing. Reading it (report, evaluate) needs no lock.

    A folder in which nothing was written meanwhile is removed again.

    Raises:
        RunError: another process holds it, which is named.
    """
    if run.is_dir() and not (run / CONFIG_FILE).exists() and not _is_empty(run):
        yield  # not ours: open_run refuses it
        return
    path, was_there = run / LOCKS_FOLDER / "run", run.exists()
    with locked(path, wait=False) as has_it:
        if not has_it:
            raise RunError(
                f"{run} is in use by another pretrain{who_holds(path)}; wait until it has ended, stop it, "
                f"or name another {option_of('out')}"
            )
        note_holder(path)
        try:
            yield
        finally:
            if not was_there and _is_empty(run):
                shutil.rmtree(run, ignore_errors=True)


def _is_empty(run: Path) -> bool:
    return all(entry.name == LOCKS_FOLDER for entry in run.iterdir())


def open_run(run: Path, config: PretrainConfig, write: bool = True) -> PretrainConfig:
    """Start a run directory, or check that the one there is of the same settings. Of several ranks one writes.

    A run that never saved a checkpoint, because its start failed for example, is started over. Returns the settings
    with the run's extensions, a new one among them where a finished run is given more steps.

    Raises:
        RunError: the folder holds something else, or a run with other settings (the first three are named), or one
            that cannot be extended so.
    """
    if has_checkpoint(run):
        saved = load_config(run)
        num_images = read_json(run / SUMMARY_FILE, {}).get("data", {}).get("images")
        config = extended(run, saved, config, num_images)
        differing = [] if is_stage_of(saved, config) else differences(saved.settings(), config.settings())
        if differing:
            raise RunError(
                f"{run} holds a run with other settings: {'; '.join(differing[:3])}; "
                f"name another {option_of('out')}, or give the settings it was started with"
            )
        before = read_json(run / CONFIG_FILE, {}).get("samclr")
        if write and before != __version__:
            say(
                f"{run} was begun by samclr {before} and continues with {__version__}: views may differ between the two"
            )
    elif (run / CONFIG_FILE).exists():
        if write:
            (run / SUMMARY_FILE).unlink(missing_ok=True)
    else:
        refuse_other_things(run)
    if write:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / CONFIG_FILE, saved_config(config), sealed=True)
    return config


def refuse_other_things(run: Path) -> None:
    """Raise RunError if something else than a run stands where a run directory is to be."""
    if run.exists() and not (run / CONFIG_FILE).exists() and (not run.is_dir() or not _is_empty(run)):
        raise RunError(f"{run} exists and is not a run directory; name a new or empty folder with {option_of('out')}")


def differences(old: Any, new: Any, where: str = "", ignore: tuple[str, ...] = ()) -> list[str]:
    """A phrase for each setting that differs between two configurations; top names in `ignore` do not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted((set(old) | set(new)) - set(ignore))
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))]
    return [] if old == new else [f"{where} was {shown(old)}, now {shown(new)}"]


class MetricsLog:
    """metrics.jsonl: one line for each step, each step once, also after a kill."""

    def __init__(self, run: Path, first_step: int):
        """Open for appending and drop what was written for `first_step` and later by a killed process.

        Damaged lines are dropped too, and reported; their steps have no row from then on.
        """
        self._path = run / METRICS_FILE
        kept = [row for row in read_metrics(run) if row["step"] < first_step]
        with replacing(self._path) as file:
            file.write(_lines(kept))
        self._file = open(self._path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115 - lives as long as the run

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows and hand them to the system."""
        self._file.write(_lines(rows))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl. Damaged lines are left out and reported; a last line cut short by a kill is left out."""
    path = run / METRICS_FILE
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    rows = [_row_of(line) for line in lines]
    damaged = sum(row is None for row in rows)
    if last and (row := _row_of(last)) is not None:
        rows.append(row)  # whole but for its end of line
    elif b"}" in last:  # a kill leaves the beginning of a line
        damaged += 1
    if damaged:
        say(f"{path}: {damaged} of {len(rows)} lines are damaged and left out; the others are kept")
    return [row for row in rows if row is not None]


def steps_without_row(rows: list[dict[str, Any]]) -> int:
    """Steps before the last one of which there is no row, as its line was damaged."""
    steps = {row["step"] for row in rows}
    return max(steps) + 1 - len(steps) if steps else 0


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row | {CHECKSUM: checksum_of_json(row)}) + "\n" for row in rows)


def _row_of(line: bytes) -> dict[str, Any] | None:
    """The row of a line, without its checksum; lines of older versions have none. None if it is damaged."""
    try:
        row = json.loads(line)
        step_is_right = isinstance(row["step"], int) and row["step"] >= 0
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        return None
    return row if step_is_right and unseal(row) else None
