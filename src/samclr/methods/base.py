"""What every method is: embeddings, targets, a loss over both, and an update after the optimiser's step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.models.maps import features_and_map, pool_regions
from samclr.views.batch import ViewBatch

Pixels = tuple[Float[Tensor, "b _ c _ _"], ...]  # one for each view group
RegionShares = tuple[Float[Tensor, "b _ r _ _"], ...]  # likewise: ViewBatch.shown_shares
Embeddings = tuple[Float[Tensor, "_ ..."], ...]  # [b v d] for each view group, or what else is made of rows in order


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
        self._features_and_map = features_and_map
        self._kept_maps: list[Tensor] | None = None

    def forward(self, pixels: Float[Tensor, "n c h w"], **options: Any) -> Float[Tensor, "n d"]:
        """Embeddings, not normalised."""
        features = self.backbone(pixels) if self._kept_maps is None else self.features_and_map(pixels)[0]
        return self.head(features, **options)

    def views(self, pixels: Float[Tensor, "b v c h w"], **options: Any) -> Float[Tensor, "b v d"]:
        """Embeddings of one view group, all its views in one pass."""
        return self(pixels.flatten(0, 1), **options).unflatten(0, pixels.shape[:2])

    def features_and_map(
        self, pixels: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k g g"]]:
        """The backbone's features and its last feature map, in one pass (samclr.models.maps)."""
        features, maps = self._features_and_map(self.backbone, pixels)
        if self._kept_maps is not None:
            self._kept_maps.append(maps)
        return features, maps

    @contextmanager
    def keeping_maps(self) -> Iterator[list[Float[Tensor, "n k g g"]]]:
        """The feature map of each pass meanwhile, in order: for a term that a method knows nothing of."""
        self._kept_maps = []
        try:
            yield self._kept_maps
        finally:
            self._kept_maps = None

    def regions(
        self, pixels: Float[Tensor, "b v c h w"], shares: Float[Tensor, "b v r g g"], **options: Any
    ) -> Float[Tensor, "b v r d"]:
        """Embeddings of the regions in one view group: the head's, of the feature map pooled under each mask.

        A region without a share gets that of the whole view.
        """
        pooled = pool_regions(self.features_and_map(pixels.flatten(0, 1))[1], shares.flatten(0, 1))
        return self.head(pooled.flatten(0, 1), **options).unflatten(0, shares.shape[:3])

    def compile_backbone(self) -> None:
        """At its next pass, by torch.compile. In place: the names of the weights stay.

        Each size of views is compiled by itself: a ViT's position embeddings cannot be resampled to a size that
        torch.compile leaves open (antialiasing fails inside torch).
        """
        self.backbone.compile(dynamic=False)
        self._features_and_map = torch.compile(features_and_map, dynamic=False)


def predict(predictor: nn.Module, embeddings: Float[Tensor, "b v d"]) -> Float[Tensor, "b v d"]:
    """What a predictor of rows [n d] makes of a view group's embeddings, all views in one pass."""
    predictions: Tensor = predictor(embeddings.flatten(0, 1))
    return predictions.unflatten(0, embeddings.shape[:2])


class Method(nn.Module):
    """A contrastive method. `loss` changes no state; `after_step` alone does, once the optimiser has stepped.

    `embed` and `targets` treat rows of a batch apart (but for batch norm); `contrast` sees them together, also
    with those of the other ranks. So a batch can be encoded in parts and contrasted as a whole.

    A method is built from a backbone, a head and its own settings (`SimCLR(backbone, projector, config)`).

    Attributes:
        wants_regions: `embed` and `targets` take a third argument, `regions: RegionShares = ()`: of each view group
            the shares of its feature maps' cells that the carried regions cover, those that are shown. The settings
            say the same (MethodConfig.wants_regions). `contrast` finds `carried` and `region_shown` in the batch.
        maps_alone: the loss looks at the backbone's last feature map and never at the features made of it.
        not_reached: names of the backbone's parameters that such a loss does not reach (samclr.models.maps.behind_map).
            `create_method` finds them; training leaves them as they are.
    """

    online_encoder: Encoder
    wants_regions: bool = False
    maps_alone: bool = False
    not_reached: tuple[str, ...] = ()

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
        pixels, step, regions = batch.pixels, batch.step, self.regions_of(batch)
        return self.contrast(self.embed(pixels, step, *regions), self.targets(pixels, step, *regions), batch)

    def regions_of(self, batch: ViewBatch) -> tuple[RegionShares, ...]:
        """What `embed` and `targets` take after the step: the regions, or nothing. Raises ValueError without any."""
        return (batch.shown_shares,) if self.wants_regions else ()

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """Update momentum copies, queues and centres; a method without such has nothing to do."""
