"""Loggers beside metrics.jsonl: CSV, and by Lightning's loggers TensorBoard and Weights & Biases."""

import csv
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import to_dict
from samclr.errors import UsageError
from samclr.log import option_of
from samclr.runs.directory import read_metrics
from samclr.storage.files import read_json, replacing, write_json

NEEDS = {"tensorboard": "samclr[tensorboard]", "wandb": "samclr[wandb]", "csv": ""}


class CsvLog:
    """csv/metrics.csv in a run directory: its metrics.jsonl as a table, with an empty cell where a row lacks a key."""

    def __init__(self, run: Path):
        """Write what metrics.jsonl holds: the rows of earlier calls, too."""
        self._path = run / "csv" / "metrics.csv"
        self._path.parent.mkdir(exist_ok=True)
        self._names: list[str] = []
        self._write_all(read_metrics(run))

    def log(self, rows: list[dict[str, Any]]) -> None:
        """Append rows; with a key that is new the table gets a column."""
        if any(name not in self._names for row in rows for name in row):
            with open(self._path, encoding="utf-8", newline="") as file:
                rows = [*csv.DictReader(file), *rows]
            self._write_all(rows)
        else:
            with open(self._path, "a", encoding="utf-8", newline="") as file:
                self._writer(file).writerows(rows)

    def _write_all(self, rows: list[dict[str, Any]]) -> None:
        self._names = list(dict.fromkeys(name for row in rows for name in row))
        with replacing(self._path) as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(rows)

    def _writer(self, file: IO[str]) -> Any:
        return csv.DictWriter(file, self._names, lineterminator="\n")


@contextmanager
def open_loggers(config: PretrainConfig, run: Path, first_step: int) -> Iterator[list[Any]]:
    """The loggers of a run, which end with the block, whether it ends well or not; metrics.jsonl has been opened.

    Raises:
        UsageError: a package is missing.
    """
    names = sorted(set(config.runtime.log), key=list(NEEDS).index)  # csv, which lacks nothing, last
    loggers = [_create(name, config, run, first_step) for name in names]
    of_lightning = [logger for logger in loggers if not isinstance(logger, CsvLog)]
    try:
        yield loggers
    except BaseException:
        for logger in of_lightning:
            with suppress(Exception):  # what ended the block says more
                logger.finalize("failed")
        raise
    for logger in of_lightning:
        logger.save()
        logger.finalize("success")


def _create(name: str, config: PretrainConfig, run: Path, first_step: int) -> Any:
    if name == "csv":
        return CsvLog(run)
    try:
        if name == "tensorboard":
            from lightning_fabric.loggers import TensorBoardLogger

            return TensorBoardLogger(run, name="tensorboard", version="", purge_step=first_step)
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(
            name=run.name,
            save_dir=run,
            project=os.environ.get("WANDB_PROJECT", "samclr"),
            id=_wandb_id(run),
            config=to_dict(config),
            allow_val_change=True,  # an extension's
        )
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{option_of('log')} {name} needs a package ({error.name or name}): pip install '{NEEDS[name]}'"
        ) from None


def _wandb_id(run: Path) -> str:
    """By which a resumed run goes on in the curves that it began."""
    file = run / "wandb-id.json"
    made = read_json(file, {}) or {"id": uuid.uuid4().hex}
    write_json(file, made)
    return str(made["id"])


@contextmanager
def writers_fail_once() -> Iterator[None]:
    """Inside the block nothing is printed of what TensorBoard's thread dies of, as its next call raises that, too."""
    before = threading.excepthook

    def hook(ended: threading.ExceptHookArgs) -> None:
        if type(ended.thread).__name__ != "_AsyncWriterThread":
            before(ended)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def log_rows(loggers: list[Any], rows: list[dict[str, Any]]) -> None:
    """Log the rows of metrics.jsonl. Raises OSError if they cannot be written."""
    for logger in loggers:
        if isinstance(logger, CsvLog):
            logger.log(rows)
            continue
        for row in rows:
            try:
                logger.log_metrics({name: value for name, value in row.items() if name != "step"}, step=row["step"])
            except ValueError as error:
                if isinstance(error.__cause__, OSError):  # which Lightning takes for a value of a wrong kind
                    raise error.__cause__ from None
                raise
