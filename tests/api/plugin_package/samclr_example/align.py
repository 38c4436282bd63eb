"""Alignment and uniformity (Wang and Isola, ICML 2020)."""

import torch
import torch.nn.functional as F
from torch import nn

from samclr.methods.base import Embeddings, Encoder, Method, StepOutput
from samclr.models.backbone import feature_width
from samclr.models.heads import simclr_head
from samclr.views.batch import ViewBatch
from samclr_example.align_spec import AlignConfig


class Align(Method):
    """Views of one thing lie near each other, and all views spread over the sphere."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, config: AlignConfig):
        super().__init__()
        self.online_encoder, self.config = Encoder(backbone, projector), config

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """The sum of both, as in the paper's figure 5."""
        first, second = F.normalize(embeddings[0], dim=-1).unbind(1)
        alignment = (first - second).square().sum(-1).mean()
        uniformity = torch.stack([torch.pdist(x).square().mul(-2).exp().mean().log() for x in (first, second)]).mean()
        metrics = {"alignment": alignment.detach(), "uniformity": uniformity.detach()}
        return StepOutput(loss=alignment + self.config.uniformity * uniformity, metrics=metrics)


def build(backbone: nn.Module, config: AlignConfig, seed: int, num_steps: int) -> Align:
    """See MethodSpec.build."""
    return Align(backbone, simclr_head(feature_width(backbone), config.projector), config)
