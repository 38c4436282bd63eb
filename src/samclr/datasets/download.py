"""Fetch the data sets that torchvision can fetch: CIFAR-10, STL-10, ImageNette."""

from pathlib import Path

from samclr.datasets.catalogue import DATA_SETS, DataSet
from samclr.errors import ScenesError


def download(data_set: DataSet, root: Path) -> None:
    """Put a set into `root`, in torchvision's layout. Does nothing where its files are whole.

    Raises:
        ScenesError: torchvision cannot fetch this set, there is no network, or what came is damaged.
    """
    if not data_set.downloads:
        known = ", ".join(name for name, one in DATA_SETS.items() if one.downloads)
        raise ScenesError(
            f"{data_set.title} cannot be downloaded by samclr (only {known} can); get it from: {data_set.got_at}"
        )
    from torchvision.datasets import CIFAR10, STL10, Imagenette

    try:
        root.mkdir(parents=True, exist_ok=True)
        if data_set.name == "cifar10":
            CIFAR10(root, download=True)
        elif data_set.name == "stl10":
            STL10(root, split="test", download=True)
        else:
            Imagenette(root, size=imagenette_size(data_set), download=True)
    except Exception as error:  # no network, a full disk, a sum that differs: whatever the downloader raises
        text = str(error).rstrip(".")
        raise ScenesError(
            f"{data_set.title} cannot be downloaded to {root} ({type(error).__name__}: {text}); without a network, "
            f"fetch it elsewhere ({data_set.got_at}) and unpack it, so that {root / data_set.folders[0]} is there"
        ) from error


def imagenette_size(data_set: DataSet) -> str:
    """What torchvision calls an ImageNette of that resolution."""
    return "full" if data_set.native_px is None else f"{data_set.native_px}px"
