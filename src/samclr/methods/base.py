"""What every method is: a loss, and an update after the optimiser's step."""

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from samclr.models.backbone import feature_width
from samclr.models.heads import projector
from samclr.views.batch import ViewBatch


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """A step's loss, metrics to be logged (tensors without gradient), and what after_step has to apply."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor]
    pending: dict[str, Any] = field(default_factory=dict)


class Encoder(nn.Module):
    """Backbone and projector: pixels [n c h w] -> embeddings [n d]."""

    def __init__(self, backbone: nn.Module, hidden: int | None, width_out: int):
        super().__init__()
        self.backbone = backbone
        width = feature_width(backbone)
        self.projector = projector(width, hidden or width, width_out)

    def forward(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Embeddings, not normalised."""
        return self.projector(self.backbone(pixels))


class Method(nn.Module):
    """A contrastive method. `loss` changes no state; `after_step` alone does, once the optimiser has stepped."""

    online_encoder: Encoder

    def loss(self, batch: ViewBatch) -> StepOutput:
        """Loss of one rank's batch."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """Update momentum copies, queues and centres; a method without such has nothing to do."""
