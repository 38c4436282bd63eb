"""Overclustering of patches: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown, first_is_main
from samclr.config.serialise import Bounds, Count, InputSide, Seed, Steps
from samclr.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OverclusterConfig(ProtocolConfig):
    """K-means on the patches of the test images, its clusters matched with classes, at the settings of Leopart.

    Attributes:
        overcluster: Numbers of clusters, such as 100 200 500; none by default. As many as there are classes are matched
            with them one to one, any other number many to one.
        overcluster_px: Side of the squares that images are resized to, in px; rounded down to whole patches.
        overcluster_mask_px: Side of the label maps that are counted, in px.
        overcluster_stage: Which feature map, from 0; by default the last.
        overcluster_components: Principal components that are clustered.
        overcluster_runs: Runs of k-means, of which the mean is the result.
        overcluster_starts: Starts of k-means in each run, the best of which counts.
        overcluster_iterations: Iterations of k-means at most.
        overcluster_per_cluster: Random patches a cluster that k-means learns from.
        overcluster_num_test: Size of a seeded random subset of the test images; None takes all.
        overcluster_seed: Seed for subsets and of the first run; the others count up from it.
    """

    name: ClassVar[str] = "overcluster"

    overcluster: Annotated[tuple[int, ...], Bounds(at_least=2, at_most=65_536)] = ()
    overcluster_px: InputSide = 448
    overcluster_mask_px: InputSide = 100
    overcluster_stage: Annotated[int, Bounds(at_least=0, at_most=1000)] | None = None
    overcluster_components: Count = 50
    overcluster_runs: Annotated[int, Bounds(at_least=1, at_most=1000)] = 5
    overcluster_starts: Annotated[int, Bounds(at_least=1, at_most=1000)] = 5
    overcluster_iterations: Steps = 100
    overcluster_per_cluster: Count = 256
    overcluster_num_test: Count | None = None
    overcluster_seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.overcluster)) < len(self.overcluster):
            raise ConfigError("overcluster names a number twice; expected each once", "overcluster")

    @property
    def is_asked(self) -> bool:
        """Whether a number is named."""
        return bool(self.overcluster)

    @property
    def variants(self) -> dict[str, str]:
        """The main one for the first number of clusters, then one for each other."""
        return first_is_main(f"k{k}" for k in self.overcluster)

    @staticmethod
    def in_words(setting: str) -> str:
        """See ProtocolConfig."""
        return f"{setting[1:]} clusters"


SPEC = ProtocolSpec(
    title="clusters",
    config=OverclusterConfig,
    build="samclr.evaluation.protocols.overcluster:build",
    measures={"miou": "mIoU", "pixel_accuracy": "pixels"},
    shown=(
        Shown(measure="miou", title="mIoU, clusters"),
        *(Shown(measure="miou", title=f"mIoU, {k} clusters", variant=f"k{k}") for k in (100, 200, 300, 500)),
        Shown(measure="miou", title="mIoU", variant=None),
    ),
    prefix="overcluster_",
    switch="overcluster",
    kind="dense",
    per_class="per_class_iou",
    side="overcluster_px",
    told={"overcluster": "clusters", "overcluster_components": "components"},
    order=80,
)
