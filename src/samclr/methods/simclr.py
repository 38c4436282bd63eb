"""SimCLR (Chen et al., ICML 2020), and with region views SAMCLR (Missaoui and Yuan, NeurIPS workshop 2023)."""

import torch
from torch import nn

from samclr.config import PretrainConfig
from samclr.methods.base import Encoder, Method, StepOutput
from samclr.methods.losses import embedding_spread, nt_xent
from samclr.views.batch import ViewBatch


class SimCLR(Method):
    """Two views of one thing attract, all others repel. Whose views they are is the plan's affair."""

    def __init__(self, backbone: nn.Module, config: PretrainConfig):
        super().__init__()
        self.online_encoder = Encoder(backbone, config.model.projector_hidden, config.model.projector_out)
        self.temperature = config.temperature

    def loss(self, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper: encode all views, contrast them."""
        pixels = batch.groups[0].pixels
        b, v = pixels.shape[:2]
        embeddings = self.online_encoder(pixels.flatten(0, 1)).unflatten(0, (b, v))
        loss = nt_xent(embeddings, self.temperature)
        with torch.no_grad():
            spread = embedding_spread(embeddings.flatten(0, 1))
        return StepOutput(loss=loss, metrics={"embedding_spread": spread})
