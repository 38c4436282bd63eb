"""Linear segmentation: a 1x1 convolution on the feature maps of a frozen backbone (Ziegler and Asano, "Self-supervised
learning of object parts for semantic segmentation", CVPR 2022; likewise CrOC and NeCo)."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

import samclr.draws as draws
from samclr.datasets.labelled_scenes import IGNORED, LabelledScenes
from samclr.errors import EvaluationError
from samclr.evaluation.dense_features import chosen_scenes, scenes_fingerprint
from samclr.evaluation.matching import ImageCounts, count_pairs
from samclr.evaluation.patches import patch_px, stage_number
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.pixels import require_labels, sized_scores
from samclr.evaluation.protocols.segment_linear_spec import SegmentLinearConfig
from samclr.evaluation.segmentation import enlarge_argmax
from samclr.evaluation.sizes import check_maps, say_fewer
from samclr.evaluation.square_scenes import (
    RandomSquares,
    resize_labels,
    stream_squares,
    stream_test_squares,
    whole_patches,
)
from samclr.log import option_of, say, tell

DROP, MOMENTUM = 0.1, 0.9


class SegmentLinear(DenseProtocol[SegmentLinearConfig]):
    """Trained on the training scenes, counted on the test scenes at three sizes after the last epoch."""

    def check(self, task: DenseTask) -> None:
        """The backbone has feature maps of squares."""
        config = self.config
        stage = stage_number(task.backbone, config.segment_stage, "segment_stage")
        side = whole_patches(config.segment_px, patch_px(task.backbone))
        check_maps(task.backbone, side, stage, "linear segmentation", square=True)

    def measure(self, task: DenseTask) -> list[Outcome]:
        """One outcome: miou and pixel_accuracy of the squares, miou at full size and at the size trained on."""
        config, one = self.config, task.scenes
        say_fewer(one.name, "training images", config.segment_num_train, len(one.train))
        say_fewer(one.name, "test images", config.segment_num_test, len(one.test))
        numbers = chosen_scenes(one.train, config.segment_num_train, config.segment_seed)
        test_numbers = chosen_scenes(one.test, config.segment_num_test, config.segment_seed)
        stage = stage_number(task.backbone, config.segment_stage, "segment_stage")
        side = whole_patches(config.segment_px, patch_px(task.backbone))
        if side != config.segment_px:
            tell(f"1x1 convolution: squares of {side} px, whole patches of {patch_px(task.backbone)} px")
        if len(numbers) < config.segment_batch_size:
            say(f"{one.name} has {len(numbers)} training images: a step has them all, not {config.segment_batch_size}")
        head = train_head(task.backbone, one.train, numbers, config, side, stage, task.device)
        found: dict[str, list[ImageCounts]] = {"": [], "_full_size": [], "_mask_size": []}
        mask_hw, num_classes = (config.segment_mask_px, config.segment_mask_px), len(one.test.classes)
        for maps, labels in stream_test_squares(task.backbone, one.test, test_numbers, side, stage, task.device):
            with torch.no_grad():
                scores = head(maps[None])[0].cpu()
            small = resize_labels(labels.square, mask_hw, corners=True)
            for name, wanted in (("", labels.square), ("_full_size", labels.full), ("_mask_size", small)):
                found[name].append(count_pairs(wanted, enlarge_argmax(scores, wanted.shape), num_classes))
        require_labels(found["_full_size"])
        scores_found, details = sized_scores(found, num_classes, task.config.interval)
        return [
            Outcome(
                scores=scores_found,
                counts={"num_train": len(numbers), "num_test": len(test_numbers)},
                details=details,
                train_fingerprint=scenes_fingerprint(one.train, numbers),
                test_fingerprint=scenes_fingerprint(one.test, test_numbers),
            )
        ]


def build(config: SegmentLinearConfig) -> SegmentLinear:
    """See ProtocolSpec.build."""
    return SegmentLinear(config)


def head_of(width: int, num_classes: int, seed: int) -> nn.Conv2d:
    """A 1x1 convolution with the weights that torch draws by default, from a generator of its own."""
    head = nn.utils.skip_init(nn.Conv2d, width, num_classes, 1)
    generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(width)
    for weights in head.parameters():
        nn.init.uniform_(weights, -bound, bound, generator=generator)
    return head


def pixel_loss(
    head: nn.Module, maps: Float[Tensor, "b d gh gw"], labels: Int[Tensor, "b s t"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Mean cross-entropy of the pixels that count, and how many do; 0 where none does.

    Scores are enlarged, not features as in the papers' code: the same, as both steps are linear and bilinear weights
    sum to one.
    """
    scores = F.interpolate(head(maps), labels.shape[1:], mode="bilinear")
    counted = (labels != IGNORED).sum()
    return F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="sum") / counted.clamp(min=1), counted


def train_head(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: SegmentLinearConfig,
    side_px: int,
    stage: int,
    device: torch.device,
) -> nn.Module:
    """SGD over newly cropped images in every epoch; the head after the last step.

    Raises:
        EvaluationError: an image or label map is broken, no pixel has a label, or the loss is not finite.
    """
    head: nn.Conv2d | None = None
    batch_size, total = min(config.segment_batch_size, len(numbers)), 0
    for epoch in range(config.segment_epochs):
        for maps, labels in _batches(backbone, scenes, numbers, config, side_px, stage, device, epoch, batch_size):
            if head is None:
                head = head_of(maps.shape[1], len(scenes.classes), config.segment_seed).to(device)
                optimizer = torch.optim.SGD(
                    head.parameters(), lr=config.segment_lr, momentum=MOMENTUM, weight_decay=config.segment_weight_decay
                )
            optimizer.param_groups[0]["lr"] = config.segment_lr * DROP ** (epoch // config.segment_drop_epochs)
            optimizer.zero_grad()
            loss, counted = pixel_loss(head, maps, labels)
            loss.backward()
            optimizer.step()
            total += int(counted)
        if total == 0:
            raise EvaluationError(f"none of the {len(numbers)} training label maps has a pixel that counts")
        if not bool(torch.isfinite(loss)):
            raise EvaluationError(f"the loss is not finite in epoch {epoch + 1}; lower {option_of('segment_lr')}")
    assert head is not None
    return head.eval()


def _batches(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: SegmentLinearConfig,
    side_px: int,
    stage: int,
    device: torch.device,
    epoch: int,
    batch_size: int,
) -> Iterator[tuple[Float[Tensor, "b d gh gw"], Int[Tensor, "b s t"]]]:
    """Feature maps and label maps of an epoch, a last batch of fewer left out."""
    order = [numbers[int(place)] for place in draws.epoch_order(config.segment_seed, epoch, len(numbers))]
    order = order[: len(order) // batch_size * batch_size]
    squares = RandomSquares(side_px=side_px, scale=(config.segment_min_scale, 1.0), seed=config.segment_seed, flip=True)
    mask_hw = (config.segment_mask_px, config.segment_mask_px)

    def cut(
        place: int, pixels: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
    ) -> tuple[UInt8[np.ndarray, "3 s s"], UInt8[np.ndarray, "t t"]]:
        square, own = squares.cut(epoch, order[place], pixels, labels)
        return square, resize_labels(own, mask_hw, corners=True)

    maps, masks = [], []
    title = f"1x1 convolution, epoch {epoch + 1} of {config.segment_epochs}"
    for one, labels in stream_squares(backbone, scenes, order, cut, stage, device, title):
        maps.append(one)
        masks.append(torch.from_numpy(labels.astype(np.int64)))
        if len(maps) == batch_size:
            yield torch.stack(maps), torch.stack(masks).to(device)
            maps, masks = [], []
