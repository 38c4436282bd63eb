"""Fetch the data sets that can be had without registration."""

from pathlib import Path

from samclr.datasets.catalogue import DATASETS, DataSetSpec
from samclr.errors import ScenesError


def download(data_set: DataSetSpec, root: Path) -> None:
    """Put a set into `root`, in its own layout. Does nothing where its files are whole.

    Raises:
        ScenesError: this set cannot be fetched, there is no network, or what was fetched is damaged.
    """
    if data_set.download is None:
        known = ", ".join(name for name, one in DATASETS.items() if one.download is not None)
        raise ScenesError(
            f"{data_set.title} cannot be downloaded by samclr (only {known} can); get it from: {data_set.got_at}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        data_set.download(root)
    except Exception as error:  # no network, a full disk, a sum that differs: whatever the downloader raises
        text = str(error).rstrip(".")
        raise ScenesError(
            f"{data_set.title} cannot be downloaded to {root} ({type(error).__name__}: {text}); without a network, "
            f"fetch it elsewhere ({data_set.got_at}) and unpack it, so that {root / data_set.folders[0]} is there"
        ) from error
