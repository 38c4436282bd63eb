"""What every method is: embeddings, targets, a loss over both, and an update after the optimiser's step."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.views.batch import ViewBatch

Pixels = tuple[Float[Tensor, "b _ c _ _"], ...]  # one for each view group
Embeddings = tuple[Float[Tensor, "b _ d"], ...]  # one for each view group


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """What a step gives.

    Attributes:
        loss: to be minimised.
        metrics: to be logged, tensors without gradient.
        chance_loss: the loss of a model that tells nothing apart, None where there is no such number.
        pending: what after_step has to apply.
    """

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor]
    chance_loss: float | None = None
    pending: dict[str, Any] = field(default_factory=dict)


class Encoder(nn.Module):
    """Backbone and head: pixels [n c h w] -> embeddings [n d]. `options` go to the head."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, pixels: Float[Tensor, "n c h w"], **options: Any) -> Float[Tensor, "n d"]:
        """Embeddings, not normalised."""
        return self.head(self.backbone(pixels), **options)

    def views(self, pixels: Float[Tensor, "b v c h w"], **options: Any) -> Float[Tensor, "b v d"]:
        """Embeddings of one view group, all its views in one pass."""
        return self(pixels.flatten(0, 1), **options).unflatten(0, pixels.shape[:2])


def predict(predictor: nn.Module, embeddings: Float[Tensor, "b v d"]) -> Float[Tensor, "b v d"]:
    """What a predictor of rows [n d] makes of a view group's embeddings, all views in one pass."""
    predictions: Tensor = predictor(embeddings.flatten(0, 1))
    return predictions.unflatten(0, embeddings.shape[:2])


class Method(nn.Module):
    """A contrastive method. `loss` changes no state; `after_step` alone does, once the optimiser has stepped.

    `embed` and `targets` treat rows of a batch apart (but for batch norm); `contrast` sees them together, also
    with those of the other ranks. So a batch can be encoded in parts and contrasted as a whole.

    A method is built from a backbone, a head and its own settings (`SimCLR(backbone, projector, config)`).
    """

    online_encoder: Encoder

    def embed(self, pixels: Pixels, step: int) -> Embeddings:
        """What the trained encoder makes of each view group."""
        return tuple(self.online_encoder.views(group) for group in pixels)

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int) -> Embeddings:
        """What a momentum encoder makes of the views that are compared with; nothing without one."""
        return ()

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """The loss. Averaged over ranks its gradient is that of the global batch."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def loss(self, batch: ViewBatch) -> StepOutput:
        """The three in one."""
        pixels, step = batch.pixels, batch.step
        return self.contrast(self.embed(pixels, step), self.targets(pixels, step), batch)

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """Update momentum copies, queues and centres; a method without such has nothing to do."""
