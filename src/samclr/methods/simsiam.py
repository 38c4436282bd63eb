"""SimSiam (Chen and He, CVPR 2021): predict the other view's embedding; the gradient stops at what is predicted."""

import torch
from torch import nn

from samclr.methods.base import Embeddings, Encoder, Method, Pixels, StepOutput, predict
from samclr.methods.losses import negative_cosine
from samclr.methods.metrics import embedding_metrics
from samclr.methods.simsiam_spec import SimsiamConfig
from samclr.models.backbone import feature_width
from samclr.models.heads import predictor_head, simsiam_head
from samclr.views.batch import ViewBatch


class SimSiam(Method):
    """One encoder for both views. What is predicted is of the same pass as the predictions."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, predictor: nn.Module, config: SimsiamConfig):
        super().__init__()
        self.online_encoder, self.predictor, self.config = Encoder(backbone, projector), predictor, config

    def embed(self, pixels: Pixels, step: int) -> Embeddings:
        """Of each view its prediction and its embedding, side by side [b v 2d]."""
        embeddings = self.online_encoder.views(pixels[0])
        return (torch.cat([predict(self.predictor, embeddings), embeddings], -1),)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper; the metrics are those of the embeddings, whose collapse it watches."""
        predictions, projections = embeddings[0].chunk(2, -1)
        return StepOutput(
            loss=negative_cosine(predictions, projections),
            metrics=embedding_metrics(projections, batch.image_index, batch.step),
        )


def build(backbone: nn.Module, config: SimsiamConfig, seed: int, num_steps: int) -> SimSiam:
    """SimSiam with its own heads."""
    projector = simsiam_head(feature_width(backbone), config.projector)
    return SimSiam(backbone, projector, predictor_head(config.projector, config.predictor_hidden), config)
