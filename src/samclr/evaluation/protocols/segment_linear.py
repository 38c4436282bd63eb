"""Linear segmentation: a 1x1 convolution on the feature maps of a frozen backbone (Ziegler and Asano, "Self-supervised
learning of object parts for semantic segmentation", CVPR 2022; likewise CrOC and NeCo)."""

import torch

from samclr.evaluation.dense_features import chosen_scenes, scenes_fingerprint
from samclr.evaluation.matching import ImageCounts, count_pairs
from samclr.evaluation.patches import patch_px, stage_number
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.pixels import require_labels, sized_scores
from samclr.evaluation.protocols.segment_linear_spec import SegmentLinearConfig
from samclr.evaluation.segment_head import train_head
from samclr.evaluation.segmentation import enlarge_argmax
from samclr.evaluation.sizes import check_maps, say_fewer
from samclr.evaluation.square_scenes import resize_labels, stream_test_squares, whole_patches
from samclr.log import say, tell


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


def build(config: SegmentLinearConfig) -> SegmentLinear:
    """See ProtocolSpec.build."""
    return SegmentLinear(config)
