"""DINO (Caron et al., ICCV 2021): a student learns what its own slow copy, the teacher, says of other views."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.methods.base import Embeddings, Encoder, Method, Pixels, StepOutput
from samclr.methods.dino_spec import DinoConfig
from samclr.methods.losses import centered_shares, self_distillation, sinkhorn_shares
from samclr.methods.metrics import embedding_metrics, share_entropy
from samclr.methods.ranks import num_ranks, sum_over_ranks
from samclr.models.backbone import feature_width
from samclr.models.heads import DinoHead
from samclr.models.momentum import follow, momentum_copy, scheduled_momentum
from samclr.views.batch import ViewBatch


class DINO(Method):
    """Global and local views of one thing get the teacher's opinion of its global views; the loss has no negatives."""

    center: Float[Tensor, "k"]

    def __init__(self, backbone: nn.Module, head: DinoHead, config: DinoConfig, num_steps: int):
        super().__init__()
        self.online_encoder = Encoder(backbone, head)  # the student
        self.momentum_encoder = momentum_copy(self.online_encoder)  # the teacher
        self.register_buffer("center", torch.zeros(config.num_prototypes))
        self.config, self.num_steps = config, num_steps

    def embed(self, pixels: Pixels, step: int) -> Embeddings:
        """The student's scores of every view, group by group; at first its prototypes stay as they are."""
        return tuple(self.online_encoder.views(group, frozen=step < self.config.freeze_steps) for group in pixels)

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int) -> Embeddings:
        """The teacher's scores of the global views."""
        return (self.momentum_encoder.views(pixels[0]),)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper, with local views and with the choice of balancing."""
        (scores,) = targets
        temperature = self.teacher_temperature(batch.step)
        if self.config.centering == "center":
            shares = centered_shares(scores, self.center, temperature)
        else:
            shares = sinkhorn_shares(scores, temperature)
        student = torch.cat(embeddings, 1)
        with torch.no_grad():
            metrics = embedding_metrics(embeddings[0], batch.image_index, batch.step)
            metrics["teacher_entropy"] = share_entropy(shares).mean()
            metrics["prototype_entropy"] = share_entropy(shares.mean((0, 1)))
        return StepOutput(
            loss=self_distillation(student, shares, self.config.temperature),
            chance_loss=math.log(self.config.num_prototypes),
            metrics=metrics,
            pending={"scores_sum": scores.float().sum((0, 1)), "num_scores": scores.shape[0] * scores.shape[1]},
        )

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The teacher follows the student, the center the mean of all ranks' scores."""
        config = self.config
        momentum = scheduled_momentum(config.ema_momentum, config.ema_momentum_end, step, self.num_steps)
        follow(self.momentum_encoder, self.online_encoder, momentum)
        mean = sum_over_ranks(pending["scores_sum"]) / (pending["num_scores"] * num_ranks())
        self.center.lerp_(mean.to(self.center.dtype), 1 - config.center_momentum)

    def teacher_temperature(self, step: int) -> float:
        """Linear from its start to its end over the warm-up."""
        config = self.config
        done = min(1.0, step / max(config.teacher_temperature_steps, 1))
        start, end = config.teacher_temperature_start, config.teacher_temperature
        return end if config.teacher_temperature_steps == 0 else start + done * (end - start)


def build(backbone: nn.Module, config: DinoConfig, seed: int, num_steps: int) -> DINO:
    """DINO with its own head."""
    return DINO(backbone, DinoHead(feature_width(backbone), config.projector, config.num_prototypes), config, num_steps)
