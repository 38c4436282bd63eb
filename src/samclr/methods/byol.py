"""BYOL (Grill et al., NeurIPS 2020): predict a momentum encoder's embedding of the other view, without negatives."""

from typing import Any

import torch
from torch import nn

from samclr.methods.base import Embeddings, Encoder, Method, Pixels, StepOutput, predict
from samclr.methods.byol_spec import ByolConfig
from samclr.methods.losses import negative_cosine
from samclr.methods.metrics import embedding_metrics
from samclr.models.backbone import feature_width
from samclr.models.heads import plain_head, predictor_head
from samclr.models.momentum import follow, momentum_copy, scheduled_momentum
from samclr.views.batch import ViewBatch


class BYOL(Method):
    """The predictor and the momentum encoder's lag are all that keeps the embeddings apart."""

    def __init__(
        self, backbone: nn.Module, projector: nn.Module, predictor: nn.Module, config: ByolConfig, num_steps: int
    ):
        super().__init__()
        self.online_encoder, self.predictor = Encoder(backbone, projector), predictor
        self.momentum_encoder = momentum_copy(self.online_encoder)
        self.config, self.num_steps = config, num_steps

    def embed(self, pixels: Pixels, step: int) -> Embeddings:
        """Predictions of the online network."""
        return (predict(self.predictor, self.online_encoder.views(pixels[0])),)

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int) -> Embeddings:
        """Embeddings of the momentum encoder."""
        return (self.momentum_encoder.views(pixels[0]),)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Equation 2 of the paper, in both directions, less its constants."""
        return StepOutput(
            loss=negative_cosine(embeddings[0], targets[0]),
            metrics=embedding_metrics(embeddings[0], batch.image_index, batch.step),
        )

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The momentum encoder follows backbone and projector."""
        momentum = scheduled_momentum(self.config.ema_momentum, self.config.ema_momentum_end, step, self.num_steps)
        follow(self.momentum_encoder, self.online_encoder, momentum)


def build(backbone: nn.Module, config: ByolConfig, seed: int, num_steps: int) -> BYOL:
    """BYOL with its own heads."""
    projector = plain_head(feature_width(backbone), config.projector, num_layers=2)
    predictor = predictor_head(config.projector, config.predictor_hidden)
    return BYOL(backbone, projector, predictor, config, num_steps)
