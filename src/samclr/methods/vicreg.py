"""VICReg (Bardes et al., ICLR 2022): invariance to views, and variance and covariance that rule out collapse."""

from torch import nn

from samclr.methods.base import Embeddings, Encoder, Method, StepOutput
from samclr.methods.losses import variance_invariance_covariance
from samclr.methods.metrics import embedding_metrics
from samclr.methods.ranks import gather, gather_with_gradient
from samclr.methods.vicreg_spec import VicregConfig
from samclr.models.backbone import feature_width
from samclr.models.heads import plain_head
from samclr.views.batch import ViewBatch


class VICReg(Method):
    """Variance and covariance are those of the global batch."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, config: VicregConfig):
        super().__init__()
        self.online_encoder, self.config = Encoder(backbone, projector), config

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper, over the views of all ranks; its three terms are logged."""
        everywhere, config = gather_with_gradient(embeddings[0]), self.config
        terms = variance_invariance_covariance(
            everywhere, config.invariance_weight, config.variance_weight, config.covariance_weight
        )
        loss = terms.pop("loss")
        metrics = embedding_metrics(everywhere, gather(batch.image_index), batch.step)
        return StepOutput(loss=loss, metrics=metrics | {f"{name}_term": term.detach() for name, term in terms.items()})


def build(backbone: nn.Module, config: VicregConfig, seed: int, num_steps: int) -> VICReg:
    """VICReg with its own projector."""
    return VICReg(backbone, plain_head(feature_width(backbone), config.projector, num_layers=3), config)
