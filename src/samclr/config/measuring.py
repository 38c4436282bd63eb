"""Settings of what is measured while a run trains, before and after."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from samclr.config.serialise import Count, CountsWith, InputSide, Settings, Steps

ON_A_SET = CountsWith("knn_on", also=CountsWith("dense_on"))


@dataclass(frozen=True, kw_only=True)
class MeasuringConfig(Settings):
    """Before and after: the start, some steps and the end are measured on the sets of knn_on and dense_on.

    The step that is best on their validation parts is kept (load_backbone, evaluate and export take it as best); the
    start, the end and the best are compared on their test parts at the end.

    Attributes:
        dense_on: Set with label maps that the backbone is measured on before, while and after it trains.
        dense_px: Shorter side that its images are resized to, in px.
        dense_num_train: Size of a seeded random subset of its training images; None takes all.
        dense_num_test: Size of a seeded random subset of its validation and of its test images; None takes all.
        measure_every: Steps between two measurements; None takes a quarter of the run.
        measure_by: What the best step is chosen by: mIoU of the linear probe on dense_on (dense), or kNN on knn_on
            (knn); auto takes dense where it is given.
    """

    dense_on: Path | None = None
    dense_px: Annotated[InputSide, CountsWith("dense_on")] = 360
    dense_num_train: Annotated[Count | None, CountsWith("dense_on")] = None
    dense_num_test: Annotated[Count | None, CountsWith("dense_on")] = None
    measure_every: Annotated[Steps | None, ON_A_SET] = None
    measure_by: Annotated[Literal["auto", "dense", "knn"], ON_A_SET] = "auto"
