"""Frozen backbones measured: features, nearest neighbours, linear and segmentation probes.

    from samclr.evaluation import extract_features, knn, linear_probe

Functions load when they are first used, so that importing this package loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samclr.evaluation.calls import extract_features as extract_features
    from samclr.evaluation.calls import knn as knn
    from samclr.evaluation.calls import linear_probe as linear_probe
    from samclr.evaluation.calls import segmentation_probe as segmentation_probe

__all__ = ["extract_features", "knn", "linear_probe", "segmentation_probe"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'samclr.evaluation' has no attribute {name!r}")
    return getattr(importlib.import_module("samclr.evaluation.calls"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
