"""Loggers beside metrics.jsonl: CSV, TensorBoard and Weights & Biases, by Lightning's loggers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import to_dict
from samclr.errors import UsageError
from samclr.log import option_of

NEEDS = {"tensorboard": "samclr[tensorboard]", "wandb": "samclr[wandb]"}


def create_loggers(config: PretrainConfig, run: Path) -> list[Any]:
    """The loggers of a run. Raises UsageError if a package is missing."""
    return [_create(name, config, run) for name in config.runtime.log]


def _create(name: str, config: PretrainConfig, run: Path) -> Any:
    try:
        if name == "csv":
            from lightning_fabric.loggers import CSVLogger

            return CSVLogger(run, name="csv", version="")
        if name == "tensorboard":
            from lightning_fabric.loggers import TensorBoardLogger

            return TensorBoardLogger(run, name="tensorboard", version="")
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(name=run.name, save_dir=run, project="samclr", config=to_dict(config))
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{option_of('log')} {name} needs a package ({error.name}): pip install '{NEEDS[name]}'"
        ) from None


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
        for row in rows:
            try:
                logger.log_metrics({name: value for name, value in row.items() if name != "step"}, step=row["step"])
            except ValueError as error:
                if isinstance(error.__cause__, OSError):  # which Lightning takes for a value of a wrong kind
                    raise error.__cause__ from None
                raise


def close_loggers(loggers: list[Any]) -> None:
    """Write what is buffered."""
    for logger in loggers:
        logger.save()
        logger.finalize("success")
