"""Detection and instance segmentation by fine-tuning (He et al., "Mask R-CNN", ICCV 2017, with the pyramid of Lin et
al., CVPR 2017), as MoCo and SlotCon measure backbones: all weights are trained, COCO's AP is counted."""

from dataclasses import replace
from typing import Any

from samclr.errors import EvaluationError
from samclr.evaluation.detection.batches import refuse_slim
from samclr.evaluation.detection.instances import InstanceSet
from samclr.evaluation.detection.model import check_detection
from samclr.evaluation.detection.precision import (
    average_precisions,
    class_precisions,
    match,
    precision_intervals,
    precisions,
)
from samclr.evaluation.detection.task import DetectionProtocol, DetectionTask
from samclr.evaluation.detection.training import detect
from samclr.evaluation.protocols.base import Outcome
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.evaluation.sizes import say_fewer
from samclr.log import tell
from samclr.models.fingerprints import cache_key
from samclr.runs.results import Score

KIND, FORMAT = "detection", 1
MEASURES = ("ap", "ap50", "ap75")


class Detection(DetectionProtocol[DetectionConfig]):
    """See `samclr.evaluation.detection.training.detect`."""

    def check(self, task: DetectionTask) -> None:
        """The backbone has maps for a pyramid, and images are left something of."""
        check_detection(task.backbone)
        for split in (task.instances.train, task.instances.val):
            refuse_slim(split.images, self.config)

    def measure(self, task: DetectionTask) -> list[Outcome]:
        """One outcome: box_ap, box_ap50, box_ap75, and those of masks where the set has them."""
        config, instances = self.config, self._subset(task.instances)
        left_out = len(instances.train) - len(instances.train.trained)
        if left_out:
            tell(f"{instances.name}: {left_out:,} training images without an object are left out")
        of_images = [instances.train.fingerprint, instances.val.fingerprint, instances.classes]
        own = {name: value for name, value in config.settings().items() if name != "detect_schedule"}
        key = cache_key(task.backbone, task.device, KIND, FORMAT, *of_images, config.num_steps, own)
        found = detect(task.backbone, instances, config, task.device, task.cache / "probes" / f"{KIND}-{key}.pt")
        scores, details = {}, {}
        for kind, of in (("box", "bbox"), ("mask", "segm"))[: 1 + instances.has_masks]:
            matches = match(instances.val.images, found, len(instances.classes), of)  # type: ignore[arg-type]
            counted = precisions(matches, matches[0].objects * 0 + 1)
            values, ends = average_precisions(counted), precision_intervals(matches, task.config.interval)
            for name, value, (low, high) in zip(MEASURES, values, ends, strict=True):
                scores[f"{kind}_{name}"] = Score(
                    value=float(value), low=float(low), high=float(high), n=len(instances.val)
                )
            details["per_class_ap" if kind == "box" else "per_class_mask_ap"] = class_precisions(counted)
        return [
            Outcome(
                scores=scores,
                counts=self._counts(instances, left_out),
                details=details,
                train_fingerprint=instances.train.fingerprint,
                test_fingerprint=instances.val.fingerprint,
            )
        ]

    def _subset(self, whole: InstanceSet) -> InstanceSet:
        config = self.config
        say_fewer(whole.name, "training images", config.detect_num_train, len(whole.train))
        say_fewer(whole.name, "validation images", config.detect_num_val, len(whole.val))
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
