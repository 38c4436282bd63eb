"""Any SAM as a segmenter: settings, and which names mean one."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterSpec
from samclr.config.serialise import Settings, to_dict
from samclr.regions.sam.catalogue import KNOWN, sam_rows


@dataclass(frozen=True, kw_only=True)
class SamConfig(Settings):
    """A SAM's settings.

    Attributes:
        masks: how masks are generated.
        compute: how the model is run.
    """

    masks: MaskConfig = field(default_factory=MaskConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def is_sam(segmenter: str) -> bool:
    """Whether a --segmenter means a SAM: a known name, a Hugging Face id, or a folder."""
    return segmenter in KNOWN or "/" in segmenter or Path(segmenter).is_dir()


def maker(options: SamConfig) -> dict[str, Any]:
    """How it is run changes no mask but by the precision, which `facts` has."""
    return dict(to_dict(options.masks))


def workers(options: SamConfig) -> int | None:
    """One process a GPU, or one that uses all cores."""
    import os

    import torch

    if "LOCAL_RANK" in os.environ or not torch.cuda.is_available() or options.compute.device not in ("auto", "cuda"):
        return 1
    return torch.cuda.device_count()


def device(options: SamConfig) -> str:
    """The one that was asked for."""
    return options.compute.device


SPEC = SegmenterSpec(
    name="SAM",
    summary="any Segment Anything model",
    config=SamConfig,
    build="samclr.regions.segmenters.sam:SamSegmenter",
    names=tuple(KNOWN),
    takes=is_sam,
    others="a Hugging Face id (owner/name), or a local directory written as ./{segmenter}",
    rows=sam_rows,
    maker=maker,
    workers=workers,
    device=device,
)
