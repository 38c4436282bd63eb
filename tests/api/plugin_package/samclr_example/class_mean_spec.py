"""The nearest class mean on frozen features: settings and titles."""

from dataclasses import dataclass
from typing import ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Count


@dataclass(frozen=True, kw_only=True)
class ClassMeanConfig(ProtocolConfig):
    """Settings of the nearest class mean.

    Attributes:
        mean_most: training images of each class that its mean is taken of, at most.
    """

    name: ClassVar[str] = "class_mean"

    mean_most: Count = 1000


SPEC = ProtocolSpec(
    title="class mean",
    config=ClassMeanConfig,
    build="samclr_example.class_mean:build",
    measures={"top1": "top-1"},
    shown=(Shown(measure="top1", title="class mean"),),
    prefix="mean_",
)
