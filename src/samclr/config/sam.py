"""Settings of mask generation by a SAM: what masks it looks for, and how the model is run."""

from dataclasses import dataclass
from typing import Annotated, Literal

from samclr.config.devices import Precision, check_device
from samclr.config.serialise import Bounds, CountOrZero, CountsWith, Settings, Share
from samclr.errors import ConfigError

WITH_LAYERS = CountsWith("crop_n_layers")
Threshold = Annotated[float, Bounds(at_least=-1, at_most=2)]  # predicted scores may leave 0 to 1 a little


@dataclass(frozen=True, kw_only=True)
class MaskConfig(Settings):
    """SAM only: how masks are generated, in the reference's words and with its defaults.

    Attributes:
        points_per_side: Prompts per side of the grid laid over each crop.
        pred_iou_thresh: Drop masks with a predicted IoU of at most this.
        stability_score_thresh: Drop masks less stable than this; see stability_score_offset.
        stability_score_offset: Stability is the area above +offset divided by the area above -offset, in logits.
        box_nms_thresh: Of two masks of one crop whose boxes overlap by more than this (IoU), keep the better one.
        crop_n_layers: Further layers of crops to search; layer i has 2^i x 2^i crops.
        crop_nms_thresh: As box_nms_thresh, between crops; the mask of the smaller crop is kept.
        crop_overlap_ratio: Overlap of the crops of the first layer, as a share of the image's shorter side.
        crop_n_points_downscale_factor: Layer i has points_per_side / factor^i points per side.
        min_mask_region_area: Remove holes and islands smaller than this from masks, in px; 0 keeps them.
    """

    points_per_side: Annotated[int, Bounds(at_least=1, at_most=1024)] = 32
    pred_iou_thresh: Threshold = 0.88
    stability_score_thresh: Threshold = 0.95
    stability_score_offset: Annotated[float, Bounds(at_least=0)] = 1.0
    box_nms_thresh: Share = 0.7
    crop_n_layers: Annotated[int, Bounds(at_least=0, at_most=6)] = 0
    crop_nms_thresh: Annotated[Share, WITH_LAYERS] = 0.7
    crop_overlap_ratio: Annotated[Share, WITH_LAYERS] = 512 / 1500
    crop_n_points_downscale_factor: Annotated[int, Bounds(at_least=1, at_most=1024), WITH_LAYERS] = 1
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
    """SAM only: how the model is run; only precision changes results.

    Attributes:
        device: Device: auto (CUDA or MPS where available), cpu, cuda, cuda:1 ..., or mps.
        precision: Precision: auto (float16 autocast on CUDA, float32 elsewhere), float32, float16 or bfloat16.
        memory_gb: Memory for decoder and masks at a time, in GB, beyond weights, images and the encoder.
        encode_together: Images (or crops) that go through the encoder at once.
        compile: Compile the encoder (torch.compile): slow to start, faster over thousands of images.
    """

    device: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    memory_gb: Annotated[float, Bounds(over=0, at_most=4096)] = 1.0
    encode_together: Annotated[int, Bounds(at_least=1, at_most=256)] = 4
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
