"""All settings as frozen dataclasses, validated when made. Nothing here imports torch, numpy or the command line.

Settings of methods and segmenters (SimclrConfig, FelzenszwalbConfig, those of other packages) can be imported from
here, too.
"""

from typing import Any

from samclr.config.evaluation import (
    CropProbeConfig,
    DenseConfig,
    FewShotConfig,
    FineTuneConfig,
    IntervalConfig,
    ProtocolsConfig,
    TargetConfig,
)
from samclr.config.methods import MethodConfig, ProjectorConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import (
    DataConfig,
    KnnConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    RuntimeConfig,
)
from samclr.config.registry import METHODS, SEGMENTERS
from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, ViewGroup, ViewsConfig

__all__ = [
    "IMAGENET",
    "AugmentConfig",
    "ComputeConfig",
    "CropProbeConfig",
    "DataConfig",
    "DenseConfig",
    "FewShotConfig",
    "FilterConfig",
    "FineTuneConfig",
    "IntervalConfig",
    "KnnConfig",
    "LocalViews",
    "MaskConfig",
    "MethodConfig",
    "ModelConfig",
    "Normalisation",
    "OptimConfig",
    "PretrainConfig",
    "ProbeConfig",
    "ProjectorConfig",
    "ProtocolsConfig",
    "RuntimeConfig",
    "SegmenterConfig",
    "TargetConfig",
    "ViewGroup",
    "ViewsConfig",
]


def __getattr__(name: str) -> Any:
    if name.endswith("Config"):
        for config in (*(one.config for one in METHODS.values()), *(one.config for one in SEGMENTERS.values())):
            if config.__name__ == name:
                return config
    raise AttributeError(f"module 'samclr.config' has no attribute {name!r}")
