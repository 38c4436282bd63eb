"""Fine-tuning: all weights of a copy of the backbone are trained on crops."""

import copy
import os
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.config.normalisation import normalisation_of
from samclr.datasets.labelled import LabelledSet
from samclr.errors import EvaluationError
from samclr.evaluation.crops import LabelledCrops, state_path
from samclr.evaluation.features import pixel_features
from samclr.evaluation.linear import zero_layer
from samclr.evaluation.neighbours import rank
from samclr.evaluation.protocols.answers import trained
from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.evaluation.protocols.fine_tune_spec import FineTuneConfig
from samclr.evaluation.squares import decode_square
from samclr.evaluation.training import ProbeResult, train_epochs
from samclr.log import option_of
from samclr.models.backbone import feature_width
from samclr.models.devices import own_draws
from samclr.models.onnx_file import lacks

DECODE_AT_ONCE = 1024
FORMAT = 2  # of the states in the cache; in 1 random layers were not seeded


class FineTune(LabelledProtocol[FineTuneConfig]):
    """See `fine_tune`."""

    def check(self, task: LabelledTask) -> None:
        """The backbone has weights that can be trained, and its batch norms more than one value a step."""
        if reason := lacks(task.backbone, "fine-tuning"):
            raise EvaluationError(reason)
        if min(len(task.labelled.train.refs), self.config.tune_batch_size) == 1:
            self._try_one_image(task)

    def _try_one_image(self, task: LabelledTask) -> None:
        side = self.config.tune_px
        try:
            with own_draws(task.device), torch.no_grad():
                copy.deepcopy(task.backbone).train()(torch.zeros(1, 3, side, side, device=task.device))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise EvaluationError(
                f"a step of one image of {side} px leaves the batch norm of {type(task.backbone).__name__} one value a "
                f"channel, which has no statistics; take 2 or more training images and {option_of('tune_batch_size')} "
                f"2 or more, or a larger {option_of('tune_px')}"
            ) from None

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """One outcome."""
        return [trained(task, fine_tune(task.backbone, task.labelled, self.config, task.device, task.cache))]


def build(config: FineTuneConfig) -> FineTune:
    """See ProtocolSpec.build."""
    return FineTune(config)


def fine_tune(
    backbone: nn.Module, labelled: LabelledSet, config: FineTuneConfig, device: torch.device, cache: Path
) -> ProbeResult:
    """Train all weights of a copy of the backbone, and a softmax layer on it with a learning rate of its own."""
    crops = LabelledCrops(
        labelled.train, size_px=config.tune_px, min_scale=config.tune_min_scale,
        batch_size=config.tune_batch_size, seed=config.tune_seed, cache=cache,
    )  # fmt: skip
    normalisation = normalisation_of(backbone)
    settings = config.settings() | {"format": FORMAT}
    state = state_path("fine-tune", backbone, labelled, settings, device, cache)
    body = copy.deepcopy(backbone).requires_grad_(True)
    model = nn.Sequential(body, zero_layer(feature_width(backbone), len(labelled.classes))).to(device)
    scale = config.tune_batch_size / 256
    rates = (config.tune_backbone_lr * scale, config.tune_head_lr * scale)
    groups = [{"params": part.parameters(), "lr": rate} for part, rate in zip(model, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=config.tune_weight_decay)
    test = labelled.test

    def logits(pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        model.train()
        return model(normalisation(pixels))

    def answer() -> Int[Tensor, "n r"]:
        ranked = []
        for first in range(0, len(test.refs), DECODE_AT_ONCE):
            pixels = decode_square(test.refs[first : first + DECODE_AT_ONCE], config.tune_px, os.cpu_count() or 1)
            ranked.append(rank(pixel_features(model, pixels, device, normalisation)))
        return torch.cat(ranked)

    labels = torch.from_numpy(test.labels)
    return train_epochs(
        "fine-tuning", model, optimizer, logits, answer, labels, crops, config.tune_epochs, state, device,
        layers_of=config.tune_seed,
    )  # fmt: skip
