"""The paper's linear probe: random crops of the training images through a frozen backbone."""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.config.normalisation import normalisation_of
from samclr.datasets.labelled import LabelledSet
from samclr.evaluation.crops import LabelledCrops, state_path
from samclr.evaluation.features import split_features
from samclr.evaluation.linear import ROWS_AT_ONCE, zero_layer
from samclr.evaluation.neighbours import rank
from samclr.evaluation.protocols.answers import trained
from samclr.evaluation.protocols.base import LabelledProtocol, LabelledTask, Outcome
from samclr.evaluation.protocols.crop_probe_spec import CropProbeConfig
from samclr.evaluation.training import ProbeResult, train_epochs
from samclr.models.backbone import feature_width


class CropProbe(LabelledProtocol[CropProbeConfig]):
    """See `crop_probe`."""

    def measure(self, task: LabelledTask) -> list[Outcome]:
        """One outcome."""
        return [trained(task, crop_probe(task.backbone, task.labelled, self.config, task.device, task.cache))]


def build(config: CropProbeConfig) -> CropProbe:
    """See ProtocolSpec.build."""
    return CropProbe(config)


def crop_probe(
    backbone: nn.Module, labelled: LabelledSet, config: CropProbeConfig, device: torch.device, cache: Path
) -> ProbeResult:
    """The paper's linear probe: frozen backbone in evaluation mode, a softmax layer on features as they are."""
    crops = LabelledCrops(
        labelled.train, size_px=config.crop_px, min_scale=config.crop_min_scale,
        batch_size=config.crop_batch_size, seed=config.crop_seed, cache=cache,
    )  # fmt: skip
    test = split_features(backbone, labelled.test, config.crop_px, device, cache)
    backbone.eval().to(device)
    layer = zero_layer(feature_width(backbone), len(labelled.classes)).to(device)
    normalisation = normalisation_of(backbone)
    rate = config.crop_lr * config.crop_batch_size / 256
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9)

    def logits(pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        with torch.no_grad():
            features = backbone(normalisation(pixels)).float()
        return layer(features)

    def answer() -> Int[Tensor, "n r"]:
        return torch.cat([rank(layer(chunk.to(device)).cpu()) for chunk in test.split(ROWS_AT_ONCE)])

    state = state_path("crop-probe", backbone, labelled, config.settings(), device, cache)
    labels = torch.from_numpy(labelled.test.labels)
    return train_epochs(
        "linear probe on crops", layer, optimizer, logits, answer, labels, crops, config.crop_epochs, state, device
    )
