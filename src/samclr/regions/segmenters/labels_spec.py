"""Ground truth as a segmenter: settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samclr.config.segmenters import Labels, SegmenterSpec
from samclr.config.serialise import Settings

OWN = "the data set's own"  # labels of a maker
LABEL_RULE = "label_rule"  # in the notes of a store: the set by whose rule its label maps were read, and their kind


@dataclass(frozen=True, kw_only=True)
class LabelsConfig(Settings):
    """The settings of ground truth.

    Attributes:
        labels: folder of label maps with the images' relative stems; by default the data set's own.
        ignore_label: values that are not regions, such as void; of instances, the ids of their categories.
        annotations: which of the data set's own, where it has several kinds (COCO: instances or panoptic).
        crowds: take what is annotated as a crowd (COCO's iscrowd) as a region, too.
    """

    labels: Path | None = None
    ignore_label: Labels = ()
    annotations: str | None = None
    crowds: bool = False


def maker(options: LabelsConfig) -> dict[str, Any]:
    """The folder's place is not kept, as the same label maps may lie elsewhere."""
    own: dict[str, Any] = {"labels": OWN} if options.labels is None else {}
    own |= {"annotations": options.annotations} if options.annotations is not None else {}
    own |= {"crowds": True} if options.crowds else {}  # none of these in stores of older versions
    return {"ignore_label": list(options.ignore_label), **own}


SPEC = SegmenterSpec(
    name="labels",
    summary="ground truth: --labels DIR",
    config=LabelsConfig,
    build="samclr.regions.segmenters.labels:LabelsSegmenter",
    region_title="ground-truth",
    maker=maker,
    takes_labels=True,
)
