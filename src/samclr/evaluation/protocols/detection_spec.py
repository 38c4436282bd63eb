"""Detection and instance segmentation by fine-tuning: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import BatchSize, Bounds, Count, InputSide, PositiveShare, Rate, Seed, Steps

SOURCE_BATCH = 16  # images that learning rates and schedules are stated for
WARM_UP_FROM = 1e-3  # the share of the rate that a warm-up begins with


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long is trained and how the rate falls.

    Attributes:
        num_steps: of SOURCE_BATCH images.
        decays: shares of the steps, from each of which on the rate is a tenth of what it was.
        warm_up: steps in which it rises, a tenth of all at most.
    """

    num_steps: int
    decays: tuple[float, float] = (2 / 3, 8 / 9)
    warm_up: int = 1000

    @property
    def other_rates(self) -> dict[str, Any]:
        """What of its rates is not as in the first schedule that there was."""
        usual = Schedule(num_steps=self.num_steps)
        return {} if self == usual else {"decays": self.decays, "warm_up": self.warm_up}


SCHEDULES = {
    "1x": Schedule(num_steps=90_000),  # the rate falls at 60,000 and 80,000
    "short": Schedule(num_steps=9_000),
    "24k": Schedule(num_steps=24_000, decays=(18 / 24, 22 / 24), warm_up=100),  # MoCo's pascal_voc_R_50_C4_24k.yaml
}


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(ProtocolConfig):
    """Detection and instance segmentation by fine-tuning: Mask R-CNN with a feature pyramid, all weights trained.

    Attributes:
        detect_schedule: 1x: 90,000 steps of 16 images, 12 epochs of COCO (He et al. 2019); short: a tenth of that;
            24k: 24,000 steps, MoCo's for Pascal VOC. Another batch size has as many images in all.
        detect_steps: Steps instead of a schedule's; the rate falls at the same shares of them (2/3 and 8/9; of 24k,
            3/4 and 11/12).
        detect_batch_size: Images per step, on all devices together.
        detect_micro_batch: Images in memory at a time on each device; by default its whole share of the batch. Batch
            norm sees them alone.
        detect_lr: Learning rate for a batch of 16, scaled with the batch size. By default 0.02 for sgd, 1e-4 for adamw.
        detect_optimizer: sgd (momentum 0.9), or adamw, which ViTs want.
        detect_weight_decay: Weight decay; of norms and biases, too. ViTDet takes 0.1 with adamw.
        detect_norm: Batch norm of the backbone: trained, synchronised between GPUs, with batch norm in the pyramid, as
            MoCo; or frozen, as torchvision.
        detect_px: Shorter side that images are resized to, in px; the longer one is at most 5/3 of it.
        detect_min_scale: In training the shorter side is one of six, from this share of detect_px to all of it.
        detect_boxes: Boxes of an image that the heads learn from in a step, a quarter of them on objects at most.
        detect_num_train: Size of a seeded random subset of the training images; None takes all.
        detect_num_val: Size of a seeded random subset of the validation images; None takes all.
        detect_devices: GPUs to train and measure on; with CPU as the device, processes.
        detect_precision: Arithmetic of the network; auto takes bfloat16 on GPUs that have it, else float32.
        detect_seed: Seed for heads, order, flips, sizes and samples of boxes.
    """

    name: ClassVar[str] = "detection"

    detect_schedule: Literal["1x", "short", "24k"] = "1x"
    detect_steps: Steps | None = None
    detect_batch_size: BatchSize = SOURCE_BATCH
    detect_micro_batch: BatchSize | None = None
    detect_lr: Rate | None = None
    detect_optimizer: Literal["sgd", "adamw"] = "sgd"
    detect_weight_decay: Annotated[float, Bounds(at_least=0, at_most=1000)] = 1e-4
    detect_norm: Literal["trained", "frozen"] = "trained"
    detect_px: InputSide = 800
    detect_min_scale: PositiveShare = 0.8
    detect_boxes: Annotated[int, Bounds(at_least=4, at_most=10_000)] = 512
    detect_num_train: Count | None = None
    detect_num_val: Count | None = None
    detect_devices: Annotated[int, Bounds(at_least=1, at_most=1024)] = 1
    detect_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    detect_seed: Seed = 0

    @property
    def schedule(self) -> Schedule:
        """The one that is named."""
        return SCHEDULES[self.detect_schedule]

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return self.detect_steps or max(self.schedule.num_steps * SOURCE_BATCH // self.detect_batch_size, 1)

    @property
    def sides_px(self) -> tuple[int, ...]:
        """Shorter sides of training images; the last is that of validation images."""
        shares = (self.detect_min_scale + number * (1 - self.detect_min_scale) / 5 for number in range(6))
        return tuple(max(round(self.detect_px * share), 1) for share in shares)

    @property
    def longest_px(self) -> int:
        """Of a longer side: 1333 of 800."""
        return self.detect_px * 5 // 3

    def rate(self, step: int) -> float:
        """The learning rate of a step: a linear warm-up, then a tenth and a hundredth of it."""
        usual = self.detect_lr or {"sgd": 0.02, "adamw": 1e-4}[self.detect_optimizer]
        rate, steps = usual * self.detect_batch_size / SOURCE_BATCH, self.num_steps
        warm_up = min(self.schedule.warm_up, steps // 10)
        if step < warm_up:
            return rate * (WARM_UP_FROM + (1 - WARM_UP_FROM) * step / warm_up)
        return rate * 0.1 ** sum(step >= round(share * steps) for share in self.schedule.decays)


SPEC = ProtocolSpec(
    title="detector",
    config=DetectionConfig,
    build="samclr.evaluation.protocols.detection:build",
    measures={
        "box_ap": "box AP", "box_ap50": "box AP50", "box_ap75": "box AP75",
        "mask_ap": "mask AP", "mask_ap50": "mask AP50", "mask_ap75": "mask AP75",
    },
    shown=(
        Shown(measure="box_ap", title="box AP"),
        Shown(measure="box_ap50", title="box AP50"),
        Shown(measure="mask_ap", title="mask AP"),
        Shown(measure="box_ap50", title="VOC's AP50, 11 points", variant="voc_11_points"),
        Shown(measure="box_ap50", title="VOC's AP50, area", variant="voc_area"),
    ),
    prefix="detect_",
    kind="detection",
    per_class="per_class_ap",
    side="detect_px",
    told={"num_steps": "steps", "detect_norm": "batch norm"},
    order=10,
)  # fmt: skip
