"""Detection and instance segmentation by fine-tuning (He et al., "Mask R-CNN", ICCV 2017, with the pyramid of Lin et
al., CVPR 2017), as MoCo and SlotCon measure backbones: all weights are trained, COCO's AP is counted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from samclr.errors import EvaluationError
from samclr.evaluation.detection.batches import refuse_slim
from samclr.evaluation.detection.instances import InstanceSet
from samclr.evaluation.detection.model import check_detection
from samclr.evaluation.detection.precision import (
    ClassMatches,
    Rule,
    average_precisions,
    class_precisions,
    match,
    precisions,
    resampled_precisions,
)
from samclr.evaluation.detection.ranks import check_devices, precision_of
from samclr.evaluation.detection.task import DetectionProtocol, DetectionTask
from samclr.evaluation.detection.training import detect
from samclr.evaluation.detection.voc_precision import VOC_RULES, match_by_voc
from samclr.evaluation.intervals import RESAMPLED, interval_ends, resampled_details, score_of
from samclr.evaluation.protocols.base import Outcome
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.evaluation.sizes import say_fewer
from samclr.log import tell
from samclr.models.fingerprints import cache_key
from samclr.runs.results import Score

KIND, FORMAT = "detection", 2
MEASURES = ("ap", "ap50", "ap75")
BOXES_AND_MASKS: tuple[Literal["bbox", "segm"], ...] = ("bbox", "segm")  # as COCOeval calls them


class Detection(DetectionProtocol[DetectionConfig]):
    """See `samclr.evaluation.detection.training.detect`."""

    def check(self, task: DetectionTask) -> None:
        """The backbone makes a pyramid, devices and script will do, and of the images chosen something is left."""
        check_devices(self.config, task.device)
        check_detection(task.backbone, self.config)
        for split in (task.instances.train, task.instances.val):
            refuse_slim(split.images, self.config)
        self._subset(task.instances)

    def measure(self, task: DetectionTask) -> list[Outcome]:
        """box_ap, box_ap50, box_ap75, and those of masks where the set has them; of a set by VOC's rules, too, two more
        outcomes with those of boxes by each rule."""
        config, instances, whole = self.config, self._subset(task.instances), task.instances
        say_fewer(whole.name, "training images", config.detect_num_train, len(whole.train))
        say_fewer(whole.name, "validation images", config.detect_num_val, len(whole.val))
        left_out = len(instances.train) - len(instances.train.trained)
        if left_out:
            tell(f"{instances.name}: {left_out:,} training images without an object are left out")
        found = detect(task.backbone, instances, config, task.device, self._state_file(task, instances))
        images, num_classes = instances.val.images, len(instances.classes)
        by_coco = [match(images, found, num_classes, of) for of in BOXES_AND_MASKS[: 1 + instances.has_masks]]
        outcomes = [self._outcome(task, instances, by_coco)]
        if instances.by_voc:
            matches = match_by_voc(images, found, num_classes)
            outcomes += [self._outcome(task, instances, [matches], rule, name) for name, rule in VOC_RULES.items()]
        counts = self._counts(instances, left_out)
        chosen = {"precision": precision_of(config.detect_precision, task.device)}
        return [replace(one, counts=counts, chosen=chosen) for one in outcomes]

    def _state_file(self, task: DetectionTask, instances: InstanceSet) -> Path:
        """Where the training stands: where `auto` means another precision, it is another training, but not where other
        images are to be found in."""
        config, idle = self.config, ("detect_schedule", "detect_num_val")
        of_images = [instances.train.fingerprint, instances.classes]
        own = {name: value for name, value in config.settings().items() if name not in idle}
        own |= config.schedule.other_rates
        if task.device.type != "cpu":  # there `auto` has one meaning
            own["detect_precision"] = precision_of(config.detect_precision, task.device)
        key = cache_key(task.backbone, task.device, KIND, FORMAT, *of_images, config.num_steps, own)
        return task.cache / "probes" / f"{KIND}-{key}.pt"

    def _outcome(
        self,
        task: DetectionTask,
        instances: InstanceSet,
        matches: Sequence[Sequence[ClassMatches]],
        rule: Rule = precisions,
        variant: str = "",
    ) -> Outcome:
        """AP by a rule of the matches of boxes, and of masks where there are some."""
        scores: dict[str, Score] = {}
        resampled: dict[str, Any] = {}
        details: dict[str, Any] = {RESAMPLED: resampled}
        for kind, own in zip(("box", "mask"), matches, strict=False):
            counted = rule(own, own[0].objects * 0 + 1)
            values, drawn = average_precisions(counted), resampled_precisions(own, task.config.interval, rule)
            names = [f"{kind}_{name}" for name in MEASURES]
            for name, value, ends in zip(names, values, interval_ends(drawn), strict=True):
                scores[name] = score_of(value, ends, len(instances.val))
            resampled |= resampled_details(names, drawn)[RESAMPLED]
            details["per_class_ap" if kind == "box" else "per_class_mask_ap"] = class_precisions(counted)
        return Outcome(
            scores=scores,
            variant=variant,
            details=details,
            train_fingerprint=instances.train.fingerprint,
            test_fingerprint=instances.val.fingerprint,
        )

    def _subset(self, whole: InstanceSet) -> InstanceSet:
        config = self.config
        train = whole.train.subset(config.detect_num_train, config.detect_seed)
        val = whole.val.subset(config.detect_num_val, config.detect_seed)
        for name, split in (("training", train), ("validation", val)):
            if split.num_objects == 0:
                raise EvaluationError(f"the {len(split)} {name} images chosen of {whole.name} have no object")
        return replace(whole, train=train, val=val)

    def _counts(self, instances: InstanceSet, left_out: int) -> dict[str, Any]:
        sizes = {"num_train": len(instances.train) - left_out, "num_test": len(instances.val)}
        return sizes | {"num_objects": instances.val.num_objects, "num_steps": self.config.num_steps}


def build(config: DetectionConfig) -> Detection:
    """See ProtocolSpec.build."""
    return Detection(config)
