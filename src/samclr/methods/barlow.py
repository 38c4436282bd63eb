"""Barlow Twins (Zbontar et al., ICML 2021): views agree in each dimension, and dimensions do not repeat each other."""

from torch import nn

from samclr.methods.barlow_spec import BarlowConfig
from samclr.methods.base import Embeddings, Encoder, Method, StepOutput
from samclr.methods.losses import cross_correlation
from samclr.methods.metrics import embedding_metrics
from samclr.methods.ranks import gather, gather_with_gradient
from samclr.models.backbone import feature_width
from samclr.models.heads import plain_head
from samclr.views.batch import ViewBatch


class BarlowTwins(Method):
    """Drives the cross-correlation over the global batch towards the identity."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, config: BarlowConfig):
        super().__init__()
        self.online_encoder, self.config = Encoder(backbone, projector), config

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper, over the views of all ranks."""
        everywhere = gather_with_gradient(embeddings[0])
        return StepOutput(
            loss=cross_correlation(everywhere, self.config.redundancy_weight),
            metrics=embedding_metrics(everywhere, gather(batch.image_index), batch.step),
        )


def build(backbone: nn.Module, config: BarlowConfig, seed: int, num_steps: int) -> BarlowTwins:
    """Barlow Twins with its own projector."""
    return BarlowTwins(backbone, plain_head(feature_width(backbone), config.projector, num_layers=3), config)
