"""The detector: torchvision's Mask R-CNN on the feature maps of any backbone that has them.

A backbone with maps at four strides (ResNet, ConvNeXt, EfficientNet ...) gets a feature pyramid (Lin et al., CVPR
2017); one whose maps are all of one stride (ViT, small-cnn) the simple pyramid of its last map (Li et al., "Exploring
plain vision transformer backbones for object detection", ECCV 2022).
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning_fabric.plugins.precision import MixedPrecision
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from samclr.config.normalisation import normalisation_of
from samclr.errors import EvaluationError
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.models.freeze import freeze_norm, modes_kept
from samclr.models.maps import feature_maps, lacks_maps, patch_px
from samclr.models.sizes import reason_of

WIDTH = 256  # of all levels of the pyramid, and of the mask head
BOX_WIDTH = 1024  # of the box head
LEVELS = 4
SIMPLE_STRIDES = (4, 8, 16, 32)
ANCHOR_CELLS = 8  # an anchor's side in cells of its level: 32 px at stride 4, as torchvision's and Detectron2's
BOX_PX = 7  # of a box's map that its head sees
RATIOS = (0.5, 1.0, 2.0)
WHAT = "detection"
BatchNorm = nn.modules.batchnorm._BatchNorm


class PyramidBackbone(nn.Module):
    """A backbone with a pyramid on it, as torchvision's detectors take it: maps of 256 channels, finest first.

    Attributes:
        out_channels: of each map.
        strides: of each map, px; the last level is pooled from the one before.
    """

    def __init__(self, backbone: nn.Module, fpn: nn.Module, stages: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.body, self.fpn, self.out_channels = backbone, fpn, WIDTH
        self.stages, self.strides = tuple(stages), tuple(strides)

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> dict[str, Tensor]:
        """Levels 0 to 3 and pool."""
        maps = feature_maps(self.body, pixels, self.stages)
        return self.fpn(OrderedDict((str(number), one) for number, one in enumerate(maps)))


class SimplePyramid(nn.Module):
    """Four maps of one: enlarged by transposed convolutions, or pooled, each then through two convolutions."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.levels = nn.ModuleList(_level(width, int(math.log2(stride / wanted))) for wanted in SIMPLE_STRIDES)
        self.pool = LastLevelMaxPool()

    def forward(self, maps: dict[str, Float[Tensor, "n c gh gw"]]) -> dict[str, Tensor]:
        """The last level is pooled from the fourth."""
        (one,) = maps.values()
        found = [level(one) for level in self.levels]
        made, names = self.pool(found, found, [str(number) for number in range(LEVELS)])
        return OrderedDict(zip(names, made, strict=True))


def _level(width: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(doublings):
        layers += [] if number == 0 else [LayerNorm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, max(width // 2, WIDTH // 8), 2, 2))
        width = max(width // 2, WIDTH // 8)
    if doublings < 0:
        layers.append(nn.MaxPool2d(2**-doublings))
    for side, padding in ((1, 0), (3, 1)):
        layers += [nn.Conv2d(width, WIDTH, side, padding=padding, bias=False), LayerNorm2d(WIDTH)]
        width = WIDTH
    return nn.Sequential(*layers)


def check_detection(backbone: nn.Module, config: DetectionConfig) -> None:
    """See that a pyramid can be built, by building one. Raises EvaluationError."""
    with torch.random.fork_rng(devices=[]):
        add_pyramid(backbone, config)


def build_detector(backbone: nn.Module, num_classes: int, has_masks: bool, config: DetectionConfig) -> nn.Module:
    """Mask R-CNN, or Faster R-CNN for a set of boxes. It keeps and trains the backbone that it is given.

    Takes images [3 h w] from 0 to 1 of any size, which it resizes and normalises by the backbone's mean and deviation.

    Raises:
        EvaluationError: the backbone has no maps that make a pyramid.
    """
    pyramid = add_pyramid(backbone, config)
    own = normalisation_of(backbone)
    sizes = tuple((ANCHOR_CELLS * stride,) for stride in (*pyramid.strides, 2 * pyramid.strides[-1]))
    outputs = num_classes + 1  # and background, class 0
    masks: dict[str, nn.Module] = {}
    if has_masks:
        masks = {
            "mask_head": MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1),
            "mask_predictor": MaskRCNNPredictor(WIDTH, WIDTH, outputs),
        }
    return (MaskRCNN if has_masks else FasterRCNN)(
        pyramid,
        min_size=config.sides_px,
        max_size=config.longest_px,
        image_mean=list(own.mean),
        image_std=list(own.std),
        box_head=TwoMLPHead(WIDTH * BOX_PX**2, BOX_WIDTH),
        box_predictor=FastRCNNPredictor(BOX_WIDTH, outputs),
        box_batch_size_per_image=config.detect_boxes,
        rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
        size_divisible=math.lcm(32, patch_px(backbone)),
        **masks,
    )


def compute_in_bfloat16(detector: nn.Module, device: torch.device) -> None:
    """Put the layers that learn under autocast; anchors, boxes, what is decoded of them and losses stay float32.

    torchvision takes the type of anchors from the maps and that of boxes from the heads' answers, and from 256 px on
    bfloat16 has every second pixel alone: so each part gives float32.
    """
    precision = MixedPrecision("bf16-mixed", device.type)
    whole: Any = detector
    for part in (whole.backbone, whole.rpn.head, *whole.roi_heads.children()):
        if next(part.parameters(), None) is not None:
            part.forward = _under(precision, part.forward)


def _under(precision: MixedPrecision, forward: Callable[..., Any]) -> Callable[..., Any]:
    def converted(*given: Any) -> Any:
        with precision.forward_context():
            answer = forward(*given)
        return precision.convert_output(answer)

    return converted


def begin_training(detector: nn.Module, config: DetectionConfig) -> None:
    """Put a detector into training mode, its frozen norms aside."""
    detector.requires_grad_(True)
    detector.train()
    if config.detect_norm == "frozen":
        freeze_norm(detector.backbone.body, "all")  # type: ignore[union-attr,arg-type]


def add_pyramid(backbone: nn.Module, config: DetectionConfig) -> PyramidBackbone:
    """A backbone with its pyramid. Raises EvaluationError where it has no maps for one."""
    stages = _stages(backbone)
    side = 4 * patch_px(backbone)
    device = next(backbone.parameters()).device
    try:
        with torch.no_grad(), modes_kept(backbone):
            maps = feature_maps(backbone.eval(), torch.zeros(1, 3, side, side, device=device), stages)
    except Exception as error:  # asserts, views and products of shapes that do not fit
        raise EvaluationError(
            f"{type(backbone).__name__} does not accept images of {side} px ({reason_of(error)}); {WHAT} needs a "
            f"backbone of any size, such as a ViT or a ResNet"
        ) from None
    strides = [side // one.shape[-1] for one in maps]
    widths = [one.shape[1] for one in maps]
    if len(stages) == 1:
        if strides[0] not in SIMPLE_STRIDES:
            raise EvaluationError(
                f"{type(backbone).__name__} has maps of stride {strides[0]} alone; {WHAT} makes a pyramid of a single "
                f"map whose stride is one of {', '.join(map(str, SIMPLE_STRIDES))} px"
            )
        return PyramidBackbone(backbone, SimplePyramid(widths[0], strides[0]), stages, SIMPLE_STRIDES)
    has_norm = any(isinstance(part, BatchNorm) for part in backbone.modules())
    norm = nn.BatchNorm2d if has_norm and config.detect_norm == "trained" else None
    fpn = FeaturePyramidNetwork(widths, WIDTH, extra_blocks=LastLevelMaxPool(), norm_layer=norm)
    return PyramidBackbone(backbone, fpn, stages, strides)


def _stages(backbone: nn.Module) -> list[int]:
    """The deepest stage of each of the four largest strides, or the last one of a backbone of one stride."""
    if reason := lacks_maps(backbone, WHAT):
        raise EvaluationError(reason)
    deepest = {int(info["reduction"]): number for number, info in enumerate(backbone.feature_info)}  # type: ignore[arg-type]
    if len(deepest) not in (1,) and len(deepest) < LEVELS:
        raise EvaluationError(
            f"{type(backbone).__name__} has maps at {len(deepest)} strides; {WHAT} needs maps at four, such as a "
            f"ResNet's, or at one, such as a ViT's"
        )
    return [deepest[stride] for stride in sorted(deepest)[-LEVELS:]]
