"""Linear segmentation: a 1x1 convolution on the feature maps of a frozen backbone (Ziegler and Asano, "Self-supervised
learning of object parts for semantic segmentation", CVPR 2022; likewise CrOC and NeCo)."""

import torch

from samclr.evaluation.dense_features import scenes_fingerprint
from samclr.evaluation.matching import ImageCounts, count_pairs
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.on_scenes import Squares, chosen_parts
from samclr.evaluation.protocols.pixels import require_labels, sized_scores
from samclr.evaluation.protocols.segment_linear_spec import SegmentLinearConfig
from samclr.evaluation.segment_head import train_head
from samclr.evaluation.segmentation import enlarge_argmax
from samclr.evaluation.square_scenes import resize_labels, stream_test_squares
from samclr.log import say


class SegmentLinear(DenseProtocol[SegmentLinearConfig]):
    """Trained on the training scenes, counted on the test scenes at three sizes after the last epoch."""

    def check(self, task: DenseTask) -> None:
        """The backbone has feature maps of squares."""
        self._squares(task).check(task.backbone, "linear segmentation")

    def measure(self, task: DenseTask) -> list[Outcome]:
        """One outcome: miou and pixel_accuracy of the squares, miou at full size and at the size trained on."""
        config, one = self.config, task.scenes
        numbers, test_numbers = chosen_parts(
            one, config.segment_num_train, config.segment_num_test, config.segment_seed
        )
        squares = self._squares(task)
        squares.tell_rounded("1x1 convolution", config.segment_px)
        side, stage = squares.side_px, squares.stage
        if len(numbers) < config.segment_batch_size:
            say(f"{one.name} has {len(numbers)} training images: a step has them all, not {config.segment_batch_size}")
        head = train_head(task.backbone, one.train, numbers, config, side, stage, task.device, task.cache)
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

    def _squares(self, task: DenseTask) -> Squares:
        config = self.config
        return Squares.of(task.backbone, config.segment_px, config.segment_stage, "segment_stage")


def build(config: SegmentLinearConfig) -> SegmentLinear:
    """See ProtocolSpec.build."""
    return SegmentLinear(config)
