"""SwAV (Caron et al., NeurIPS 2020): views predict each other's codes, which balance prototypes over the batch."""

import math
from typing import Any

import torch
from torch import nn

from samclr.methods.base import Embeddings, Encoder, Method, Pixels, StepOutput
from samclr.methods.losses import self_distillation, sinkhorn_shares
from samclr.methods.metrics import embedding_metrics
from samclr.methods.swav_spec import SwavConfig
from samclr.models.backbone import feature_width
from samclr.models.heads import SwavHead
from samclr.views.batch import ViewBatch


class SwAV(Method):
    """Global views have codes; global and local views predict those of the other views."""

    def __init__(self, backbone: nn.Module, head: SwavHead, config: SwavConfig):
        super().__init__()
        self.online_encoder, self.config = Encoder(backbone, head), config

    def embed(self, pixels: Pixels, step: int) -> Embeddings:
        """Scores of every view, group by group; at first the prototypes stay as they are."""
        return tuple(self.online_encoder.views(group, frozen=step < self.config.freeze_steps) for group in pixels)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """The swapped prediction (section 3.1) with multi-crop (3.2); each view's codes are balanced by themselves."""
        codes = [sinkhorn_shares(view, self.config.code_temperature) for view in embeddings[0].split(1, dim=1)]
        return StepOutput(
            loss=self_distillation(torch.cat(embeddings, 1), torch.cat(codes, 1), self.config.temperature),
            chance_loss=math.log(self.config.num_prototypes),
            metrics=embedding_metrics(embeddings[0], batch.image_index, batch.step),
        )

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The optimiser has moved the prototypes off the unit sphere."""
        self.online_encoder.head.normalize_prototypes()  # type: ignore[operator]


def build(backbone: nn.Module, config: SwavConfig, seed: int, num_steps: int) -> SwAV:
    """SwAV with its own head."""
    return SwAV(backbone, SwavHead(feature_width(backbone), config.projector, config.num_prototypes), config)
