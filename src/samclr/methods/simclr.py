"""SimCLR (Chen et al., ICML 2020), and with region views SAMCLR (Missaoui and Yuan, NeurIPS workshop 2023)."""

import math

from torch import nn

from samclr.methods.base import Embeddings, Encoder, Method, StepOutput
from samclr.methods.losses import nt_xent
from samclr.methods.metrics import embedding_metrics
from samclr.methods.ranks import gather, gather_with_gradient
from samclr.methods.simclr_spec import SimclrConfig
from samclr.models.backbone import feature_width
from samclr.models.heads import simclr_head
from samclr.views.batch import ViewBatch


class SimCLR(Method):
    """Two views of one thing attract, all others repel. The plan decides whose views they are."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, config: SimclrConfig):
        super().__init__()
        self.online_encoder, self.config = Encoder(backbone, projector), config

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper, over the views of all ranks."""
        everywhere = gather_with_gradient(embeddings[0])
        image_index = gather(batch.image_index)
        ignored = image_index if self.config.same_image_negatives == "ignore" else None
        return StepOutput(
            loss=nt_xent(everywhere, self.config.temperature, ignored),
            chance_loss=math.log(everywhere.shape[0] * everywhere.shape[1] - 1),
            metrics=embedding_metrics(everywhere, image_index, batch.step),
        )


def build(backbone: nn.Module, config: SimclrConfig, seed: int, num_steps: int) -> SimCLR:
    """SimCLR with its own projector."""
    return SimCLR(backbone, simclr_head(feature_width(backbone), config.projector), config)
