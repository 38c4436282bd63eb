"""SimCLR (Chen et al., ICML 2020), and with region views SAMCLR (Missaoui and Yuan, NeurIPS workshop 2023)."""

import math

import torch
from torch import nn

from samclr.config.methods import SimclrConfig
from samclr.config.pretrain import PretrainConfig
from samclr.methods.base import Embeddings, Encoder, Method, StepOutput
from samclr.methods.losses import nt_xent
from samclr.methods.metrics import embedding_metrics
from samclr.methods.ranks import gather, gather_with_gradient
from samclr.models.backbone import feature_width
from samclr.models.heads import simclr_head
from samclr.views.batch import ViewBatch


class SimCLR(Method):
    """Two views of one thing attract, all others repel. Whose views they are is the plan's affair."""

    def __init__(self, backbone: nn.Module, config: PretrainConfig, options: SimclrConfig):
        super().__init__()
        width, model = feature_width(backbone), config.model
        head = simclr_head(width, model.projector_hidden or width, model.projector_out, model.projector_norm)
        self.online_encoder = Encoder(backbone, head)
        self.temperature, self.options = config.temperature, options
        self.chance_loss = math.log(config.views_per_step() - 1)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper, over the views of all ranks."""
        everywhere = gather_with_gradient(embeddings[0])
        image_index = gather(torch.from_numpy(batch.image_index).to(everywhere.device))
        ignored = image_index if self.options.same_image_negatives == "ignore" else None
        loss = nt_xent(everywhere, self.temperature, ignored)
        return StepOutput(loss=loss, metrics=embedding_metrics(everywhere, image_index, batch.step))
