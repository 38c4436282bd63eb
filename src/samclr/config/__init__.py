"""All settings as frozen dataclasses, validated when made. Nothing here imports torch, numpy or the command line."""

from samclr.config.evaluation import (
    CropProbeConfig,
    DenseConfig,
    FewShotConfig,
    FineTuneConfig,
    IntervalConfig,
    ProtocolsConfig,
    TargetConfig,
)
from samclr.config.methods import DinoConfig, MocoConfig, SimclrConfig
from samclr.config.pretrain import (
    DataConfig,
    KnnConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    RuntimeConfig,
)
from samclr.config.segmenters import ComputeConfig, MaskConfig, SegmenterConfig
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, ViewGroup, ViewsConfig

__all__ = [
    "AugmentConfig",
    "ComputeConfig",
    "CropProbeConfig",
    "DataConfig",
    "DenseConfig",
    "DinoConfig",
    "FewShotConfig",
    "FilterConfig",
    "FineTuneConfig",
    "IntervalConfig",
    "KnnConfig",
    "LocalViews",
    "MaskConfig",
    "MocoConfig",
    "ModelConfig",
    "OptimConfig",
    "PretrainConfig",
    "ProbeConfig",
    "ProtocolsConfig",
    "RuntimeConfig",
    "SegmenterConfig",
    "SimclrConfig",
    "TargetConfig",
    "ViewGroup",
    "ViewsConfig",
]
