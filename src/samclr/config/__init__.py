"""All settings as frozen dataclasses, validated when made. Nothing here imports torch, numpy or the command line.

Settings of methods, segmenters and protocols (SimclrConfig, FelzenszwalbConfig, ProbeConfig), those of other packages
as well, can be imported from here, too.
"""

from typing import Any

from samclr.config.anchors import AnchorConfig
from samclr.config.evaluation import EvaluationConfig, IntervalConfig, TargetConfig
from samclr.config.measuring import MeasuringConfig
from samclr.config.methods import MethodConfig, ProjectorConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import (
    DataConfig,
    Extension,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RuntimeConfig,
)
from samclr.config.protocols import EvaluationData, KnnConfig, ProtocolConfig
from samclr.config.registry import METHODS, PROTOCOLS, SEGMENTERS
from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, ViewGroup, ViewsConfig

__all__ = [
    "IMAGENET",
    "AnchorConfig",
    "AugmentConfig",
    "ComputeConfig",
    "DataConfig",
    "EvaluationConfig",
    "EvaluationData",
    "Extension",
    "FilterConfig",
    "IntervalConfig",
    "KnnConfig",
    "LocalViews",
    "MaskConfig",
    "MeasuringConfig",
    "MethodConfig",
    "ModelConfig",
    "Normalisation",
    "OptimConfig",
    "PretrainConfig",
    "ProjectorConfig",
    "ProtocolConfig",
    "RuntimeConfig",
    "SegmenterConfig",
    "TargetConfig",
    "ViewGroup",
    "ViewsConfig",
]


def __getattr__(name: str) -> Any:
    for registry in (METHODS, SEGMENTERS, PROTOCOLS) if name.endswith("Config") else ():
        for spec in registry.values():
            if spec.config.__name__ == name:
                return spec.config
    raise AttributeError(f"module 'samclr.config' has no attribute {name!r}")
