"""Training of a detector, and what it then finds in the validation images. Safe to interrupt: rerun to resume."""

import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from samclr.draws import layers_seed
from samclr.errors import EvaluationError
from samclr.evaluation.detection.batches import (
    Target,
    TrainingBatches,
    as_image,
    first_images,
    load_pixels,
    refuse_unreadable,
)
from samclr.evaluation.detection.instances import ImageInstances, InstanceSet, InstanceSplit
from samclr.evaluation.detection.model import begin_training, build_detector, compute_in_bfloat16
from samclr.evaluation.detection.precision import MOST_DETECTIONS, Detections
from samclr.evaluation.detection.ranks import any_wants, gathered, precision_of, run_on, share_buffers
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.evaluation.states import load_state, save_state
from samclr.log import option_of, tell
from samclr.models.devices import own_draws
from samclr.processes.stopping import stop_requested

SAVE_EVERY_S = 300.0
SAY_EVERY_S = 30.0
MASK_FROM = 0.5  # of a pixel's share, to belong to a mask


def detect(
    backbone: nn.Module, instances: InstanceSet, config: DetectionConfig, device: torch.device, state_file: Path
) -> list[Detections]:
    """Train a detector on a copy of the backbone; what it finds in each validation image.

    state_file: where the training stands, and at its end the weights; what was found lies beside it, by the validation
    images. So these may be mended or chosen anew, and nothing is trained again.

    Raises:
        EvaluationError: an image is broken, which is seen before the first step; the loss is not finite, or the device
            has too little memory.
        Stopped: by SIGTERM or Ctrl-C; the state is saved.
    """
    found_file = state_file.with_name(f"{state_file.stem}-{instances.val.fingerprint}.pt")
    state = load_state(found_file)
    if state is None:
        num_trained = 0 if state_file.exists() else config.num_steps * config.detect_batch_size
        refuse_unreadable([*first_images(instances.train, config.detect_seed, num_trained), *instances.val.images])
        run_on(
            Work(copy.deepcopy(backbone).cpu(), instances, config, state_file, found_file),
            device,
            config.detect_devices,
        )
        state = load_state(found_file)
        assert state is not None
    return [_unpacked(one) for one in state["found"]]


class Work:
    """What each rank does; called with its Fabric, it returns whether it was told to stop.

    No dataclass: Fabric would take it to pieces on its way to another process.
    """

    def __init__(
        self, backbone: nn.Module, instances: InstanceSet, config: DetectionConfig, state_file: Path, found_file: Path
    ):
        self.backbone, self.instances, self.config = backbone, instances, config
        self.state_file, self.found_file = state_file, found_file

    def __call__(self, fabric: Fabric) -> bool:
        try:
            with own_draws(fabric.device):
                return self._run(fabric)
        except torch.OutOfMemoryError as error:
            raise EvaluationError(
                f"the device has too little memory ({str(error).splitlines()[0]}); give a smaller "
                f"{option_of('detect_micro_batch')} or {option_of('detect_px')}, or {option_of('detect_precision')} "
                f"bfloat16; the last state is kept"
            ) from None

    def _run(self, fabric: Fabric) -> bool:
        config, instances = self.config, self.instances
        detector = self._detector(fabric)
        state = load_state(self.state_file)
        if state is not None:
            detector.load_state_dict(state["detector"])
        begin_training(detector, config)
        wrapped, optimizer = fabric.setup(detector, make_optimizer(detector, config))
        first = 0
        if state is not None:
            first = state["steps"]
            if first < config.num_steps:  # at the end the weights alone are kept
                optimizer.optimizer.load_state_dict(state["optimizer"])
        batches = TrainingBatches(
            instances.train, config.detect_batch_size, config.detect_seed, fabric.global_rank, fabric.world_size
        )

        def save(steps: int) -> None:
            if fabric.is_global_zero:
                state = {"steps": steps, "detector": detector.state_dict()}
                if steps < config.num_steps:
                    state["optimizer"] = optimizer.optimizer.state_dict()
                save_state(self.state_file, state)

        start = last_saved = last_said = time.monotonic()
        for step, examples in enumerate(batches.from_step(first, config.num_steps), first):
            loss = train_step(fabric, wrapped, optimizer, examples, step, config)
            done, now = step + 1, time.monotonic()
            is_told = any_wants(fabric, stop_requested())
            if is_told or done == config.num_steps or any_wants(fabric, now - last_saved > SAVE_EVERY_S):
                save(done)
                last_saved = time.monotonic()
            if fabric.is_global_zero and (now - last_said > SAY_EVERY_S or done == config.num_steps):
                pace = (now - start) / (done - first)
                left = pace * (config.num_steps - done) / 60
                tell(f"detection: step {done:,} of {config.num_steps:,}, loss {loss:.3f}, {pace:.2f} s a step, about "
                     f"{left:.0f} min to go")  # fmt: skip
                last_said = now
            if is_told:
                return True
        share_buffers(detector)
        found = find(fabric, detector, instances.val)
        if found is None:
            return True
        if fabric.is_global_zero:
            save_state(self.found_file, {"found": found})
        return False

    def _detector(self, fabric: Fabric) -> nn.Module:
        """Equal heads on all ranks, and in each run of the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.detect_seed)
            own = copy.deepcopy(self.backbone)
            detector = build_detector(own, len(self.instances.classes), self.instances.has_masks, self.config)
        if precision_of(self.config.detect_precision, fabric.device) == "bfloat16":
            compute_in_bfloat16(detector, fabric.device)
        if fabric.world_size > 1 and fabric.device.type == "cuda" and self.config.detect_norm == "trained":
            detector = nn.SyncBatchNorm.convert_sync_batchnorm(detector)
        return detector


def make_optimizer(detector: nn.Module, config: DetectionConfig) -> torch.optim.Optimizer:
    """Of what learns."""
    parameters = [one for one in detector.parameters() if one.requires_grad]
    rate, decay = config.rate(0), config.detect_weight_decay
    if config.detect_optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)


def train_step(
    fabric: Fabric,
    wrapped: Any,
    optimizer: Any,
    examples: Sequence[tuple[Tensor, Target]],
    step: int,
    config: DetectionConfig,
) -> float:
    """One step; returns this rank's loss.

    Raises:
        EvaluationError: the loss is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    optimizer.zero_grad()
    torch.manual_seed(layers_seed(config.detect_seed, step, fabric.global_rank))  # sizes, and samples of boxes
    size, whole = config.detect_micro_batch or len(examples), 0.0
    for first in range(0, len(examples), size):
        part = fabric.to_device(list(examples[first : first + size]))
        share, is_last = len(part) / len(examples), first + size >= len(examples)
        with fabric.no_backward_sync(wrapped, enabled=not is_last):
            losses = wrapped([image for image, _ in part], [target for _, target in part])
            loss = sum(losses.values()) * share
            whole += float(loss.detach())
            if not math.isfinite(whole):
                raise EvaluationError(_not_finite(step, losses))
            fabric.backward(loss)
    optimizer.step()
    return whole


def _not_finite(step: int, losses: dict[str, Tensor]) -> str:
    odd = [name for name, value in losses.items() if not math.isfinite(float(value.detach()))]
    return (
        f"detection: the loss ({', '.join(odd)}) is not finite in step {step + 1:,}; lower "
        f"{option_of('detect_lr')}, or keep batch norm as it is with {option_of('detect_norm')} frozen"
    )


@torch.inference_mode()
def find(fabric: Fabric, detector: nn.Module, split: InstanceSplit) -> list[dict[str, Any]] | None:
    """What the detector finds in each image, all ranks together, as it is saved; None where it was told to stop."""
    detector.eval()
    mine, last_said = [], time.monotonic()
    own = split.images[fabric.global_rank :: fabric.world_size]
    rounds = -(-len(split) // fabric.world_size)
    for number in range(rounds):
        if any_wants(fabric, stop_requested()):
            return None
        if number < len(own):
            mine.append(_found(fabric, detector, own[number]))
        if fabric.is_global_zero and time.monotonic() - last_said > SAY_EVERY_S:
            tell(f"detection: {number + 1:,} of {rounds:,} validation images")
            last_said = time.monotonic()
    return gathered(mine)


def _found(fabric: Fabric, detector: nn.Module, one: ImageInstances) -> dict[str, Any]:
    image = fabric.to_device(as_image(load_pixels(one)))
    (found,) = detector([image])
    order = found["scores"].argsort(descending=True, stable=True)[:MOST_DETECTIONS]
    kept = {name: values[order].float().cpu() for name, values in found.items() if name != "masks"}
    packed = {"boxes": kept["boxes"], "labels": kept["labels"].long() - 1, "scores": kept["scores"], "rles": []}
    if "masks" in found:
        masks = (found["masks"][order, 0] > MASK_FROM).byte().cpu().numpy()
        coded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0))) if len(masks) else []
        packed["rles"] = [rle["counts"].decode("ascii") for rle in coded]
    return packed


def _unpacked(one: dict[str, Any]) -> Detections:
    return Detections(
        boxes_xyxy=one["boxes"].numpy().astype(np.float64),
        labels=one["labels"].numpy(),
        scores=one["scores"].numpy().astype(np.float64),
        rles=tuple(rle.encode("ascii") for rle in one["rles"]),
    )
