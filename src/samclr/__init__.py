"""samclr: contrastive pre-training on complex scenes, with both views from one region."""

from typing import Any

from samclr._version import __version__

__all__ = ["__version__", "load_backbone"]


def __getattr__(name: str) -> Any:
    # Lazily, so that `samclr --help` does not wait for torch.
    if name == "load_backbone":
        from samclr.runs.checkpoint import load_backbone

        return load_backbone
    raise AttributeError(f"module 'samclr' has no attribute {name!r}")
