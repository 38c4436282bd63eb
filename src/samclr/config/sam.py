"""Settings of mask generation by a SAM: what masks it looks for, and how the model is run."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from samclr.config.serialise import Bounds, Count, CountOrZero, Positive, Settings, Share
from samclr.errors import ConfigError

Threshold = Annotated[float, Bounds(at_least=-1, at_most=2)]  # predicted scores may leave 0 to 1 a little


@dataclass(frozen=True, kw_only=True)
class MaskConfig(Settings):
    """SAM only: how masks are generated, in the reference's words and with its defaults.

    Attributes:
        points_per_side: prompts per side of the grid laid over each crop.
        pred_iou_thresh: masks with a predicted IoU up to this are dropped.
        stability_score_thresh: masks less stable than this are dropped; see stability_score_offset.
        stability_score_offset: stability = area above +offset by area above -offset, in logits.
        box_nms_thresh: of two masks of one crop whose boxes overlap by more (IoU), the better scored one stays.
        crop_n_layers: further layers of crops to search; layer i has 2^i x 2^i of them.
        crop_nms_thresh: as box_nms_thresh, between crops; the mask of the smaller crop stays.
        crop_overlap_ratio: overlap of the crops of the first layer, as a share of the image's shorter side.
        crop_n_points_downscale_factor: layer i has points_per_side / factor^i points a side.
        min_mask_region_area: holes and islands smaller than this are removed from masks, px; 0 leaves them.
    """

    points_per_side: Annotated[int, Bounds(at_least=1, at_most=1024)] = 32
    pred_iou_thresh: Threshold = 0.88
    stability_score_thresh: Threshold = 0.95
    stability_score_offset: Annotated[float, Bounds(at_least=0)] = 1.0
    box_nms_thresh: Share = 0.7
    crop_n_layers: Annotated[int, Bounds(at_least=0, at_most=6)] = 0
    crop_nms_thresh: Share = 0.7
    crop_overlap_ratio: Share = 512 / 1500
    crop_n_points_downscale_factor: Annotated[int, Bounds(at_least=1, at_most=1024)] = 1
    min_mask_region_area: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points_per_side < self.crop_n_points_downscale_factor**self.crop_n_layers:
            raise ConfigError(
                f"points_per_side {self.points_per_side} leaves no point for crop layer {self.crop_n_layers}: "
                f"raise it, or lower crop_n_points_downscale_factor",
                "points_per_side",
            )


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Settings):
    """SAM only: how the model is run; of these, precision alone changes results.

    Attributes:
        device: auto (CUDA where there is one), cpu, cuda, or cuda:1 and so on.
        precision: auto (float16 autocast on CUDA, float32 elsewhere), float32, float16 or bfloat16.
        memory_gb: what decoder and masks may take at a time, beyond weights, images and the encoder.
        encode_together: images (or crops) that go through the encoder at once.
        compile: compile the encoder (torch.compile): slow to start, faster over thousands of images.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    memory_gb: Positive = 1.0
    encode_together: Count = 4
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"auto|cpu|(cuda|mps)(:\d{1,4})?", self.device):
            raise ConfigError(f"device is {self.device!r}; expected auto, cpu, cuda, mps or cuda:NUMBER", "device")
