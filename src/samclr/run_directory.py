"""The run directory: settings, metrics and summary of one run, so that the same command resumes it."""

import json
import os
from pathlib import Path
from typing import Any

from samclr import __version__
from samclr.checkpoint import CONFIG_FILE, checkpoints, load_config, saved_config
from samclr.config import PretrainConfig
from samclr.errors import RunError
from samclr.terminal import say

METRICS_FILE, SUMMARY_FILE, RESULTS_FILE = "metrics.jsonl", "summary.json", "results.json"


def open_run(run: Path, config: PretrainConfig, write: bool = True) -> None:
    """Start a run directory, or check that the one there is of the same settings. Of several ranks one writes.

    A run that never saved a checkpoint, because its start failed for instance, is begun anew.

    Raises:
        RunError: the folder holds something else, or a run with other settings (the first three are named).
    """
    if has_checkpoint(run):
        differing = differences(load_config(run).settings(), config.settings())
        if differing:
            raise RunError(
                f"{run} holds a run with other settings: {'; '.join(differing[:3])}; "
                f"name another --out, or give the settings it was started with"
            )
        before = read_json(run / CONFIG_FILE, {}).get("samclr")
        if write and before != __version__:
            say(f"{run} was begun by samclr {before} and goes on with {__version__}: views may differ between the two")
    elif (run / CONFIG_FILE).exists():
        if write:
            (run / SUMMARY_FILE).unlink(missing_ok=True)
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise RunError(f"{run} exists and is no run directory; name a new or empty folder with --out")
    if write:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / CONFIG_FILE, saved_config(config))


def has_checkpoint(run: Path) -> bool:
    """Whether the run can be resumed or measured."""
    return len(checkpoints(run)) > 0


def differences(old: Any, new: Any, where: str = "", ignore: tuple[str, ...] = ()) -> list[str]:
    """A phrase for each setting that differs between two configurations; top names in `ignore` do not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted((set(old) | set(new)) - set(ignore))
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))]
    return [] if old == new else [f"{where} was {old!r}, now {new!r}"]


class MetricsLog:
    """metrics.jsonl: one line for each step, each step once, also after a kill."""

    def __init__(self, run: Path, first_step: int):
        """Open for appending and drop what was written for `first_step` and later by a killed process."""
        self._path = run / METRICS_FILE
        kept = [row for row in read_metrics(run) if row["step"] < first_step]
        beside = self._path.with_suffix(".tmp")
        beside.write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(beside, self._path)
        self._file = open(self._path, "a")  # noqa: SIM115 - lives as long as the run

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows and hand them to the system."""
        self._file.write("".join(json.dumps(row) + "\n" for row in rows))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl; a last line cut short by a kill is left out."""
    path = run / METRICS_FILE
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def read_json(path: Path, missing: Any) -> Any:
    """A JSON file's value, or `missing` if there is no such file. Raises RunError if it is damaged."""
    if not path.exists():
        return missing
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one move."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(beside, path)
