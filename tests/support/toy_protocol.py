"""A package with a protocol of its own, written out as pip would install it: nearest class mean."""

from pathlib import Path

CODE = '''
"""Nearest class mean. The spec imports no torch; what needs it stands in centroids_run.py."""

from dataclasses import dataclass
from typing import ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Positive


@dataclass(frozen=True, kw_only=True)
class CentroidsConfig(ProtocolConfig):
    """Nearest class mean of frozen features.

    Attributes:
        centroids_power: features are raised to it.
    """

    name: ClassVar[str] = "centroids"

    centroids_power: Positive = 1.0


SPEC = ProtocolSpec(
    title="nearest mean",
    config=CentroidsConfig,
    build="centroids_run:Centroids",
    measures={"top1": "top-1"},
    shown=(Shown(measure="top1", title="nearest mean"),),
    prefix="centroids_",
)
'''
RUN = """
import torch

from samclr.evaluation.protocols.answers import answered
from samclr.evaluation.protocols.base import LabelledProtocol


class Centroids(LabelledProtocol):
    def measure(self, task):
        (train, test), (labels, _) = task.features, task.labels
        power = self.config.centroids_power
        means = torch.stack([train[labels == k].pow(power).mean(0) for k in range(len(task.labelled.classes))])
        return [answered(task, torch.cdist(test.pow(power), means).argsort(1))]
"""


def install(site: Path) -> Path:
    """Write the package and its entry point; `site` belongs on the path."""
    info = site / "centroids-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "centroids.py").write_text(CODE)
    (site / "centroids_run.py").write_text(RUN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: centroids\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[samclr.protocols]\ncentroids = centroids:SPEC\n")
    return site
