"""DetCon (Hénaff et al., ICCV 2021): features pooled under a region's mask find those of the region's other view."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from samclr.methods.base import Embeddings, Encoder, Method, Pixels, RegionShares, StepOutput, predict
from samclr.methods.detcon_spec import DetconConfig
from samclr.methods.losses import region_contrast
from samclr.methods.metrics import embedding_metrics
from samclr.methods.ranks import gather, gather_with_gradient
from samclr.models.heads import plain_head, predictor_head
from samclr.models.maps import map_width
from samclr.models.momentum import follow, momentum_copy, scheduled_momentum
from samclr.views.batch import ViewBatch

MEASURED = 512  # regions whose embeddings are measured: metrics take products over all pairs


class DetCon(Method):
    """One region in two views attracts, all other regions repel. With a predictor it is DetCon-B, else DetCon-S."""

    wants_regions = True
    maps_alone = True

    def __init__(
        self,
        backbone: nn.Module,
        projector: nn.Module,
        predictor: nn.Module | None,
        config: DetconConfig,
        num_steps: int,
    ):
        super().__init__()
        self.online_encoder, self.predictor = Encoder(backbone, projector), predictor
        self.momentum_encoder = None if predictor is None else momentum_copy(self.online_encoder)
        self.config, self.num_steps = config, num_steps

    def embed(self, pixels: Pixels, step: int, regions: RegionShares = ()) -> Embeddings:
        """Embeddings of each region in each view, or the predictions from them: [b v r d]."""
        embeddings = self.online_encoder.regions(pixels[0], regions[0])
        if self.predictor is None:
            return (embeddings,)
        return (predict(self.predictor, embeddings.flatten(1, 2)).unflatten(1, embeddings.shape[1:3]),)

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int, regions: RegionShares = ()) -> Embeddings:
        """The momentum encoder's embeddings of each region in each view; nothing in the shared form."""
        if self.momentum_encoder is None:
            return ()
        return (self.momentum_encoder.regions(pixels[0], regions[0]),)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """Equation 3 of the paper, in both directions, over the regions of all ranks."""
        group, carried = batch.groups[0], batch.carried
        assert carried is not None  # embed has seen the shares of its regions
        assert group.region_shown is not None
        everywhere = gather_with_gradient(embeddings[0])
        keys = gather(targets[0]) if targets else everywhere
        shown, region, image = gather(group.region_shown), gather(carried), gather(batch.image_index)
        ignored = image if self.config.same_image_negatives == "ignore" else None
        return StepOutput(
            loss=region_contrast(everywhere, keys, shown, region, self.config.temperature, ignored),
            metrics=_metrics(everywhere.detach(), shown, image, batch.step),
        )

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The momentum encoder follows backbone and projector."""
        if self.momentum_encoder is not None:
            config = self.config
            momentum = scheduled_momentum(config.ema_momentum, config.ema_momentum_end, step, self.num_steps)
            follow(self.momentum_encoder, self.online_encoder, momentum)


@torch.no_grad()
def _metrics(
    embeddings: Float[Tensor, "b v r d"], shown: Bool[Tensor, "b v r"], image: Int[Tensor, "b"], step: int
) -> dict[str, Tensor]:
    """Regions a row that two views show; and of the first that all views show, what is measured of any embeddings."""
    everywhere = shown.all(1).flatten()
    first = torch.argsort(~everywhere, stable=True)[:MEASURED]
    rows, of_image = embeddings.transpose(1, 2).flatten(0, 1)[first], image.repeat_interleave(shown.shape[2])[first]
    metrics = embedding_metrics(rows, of_image, step, everywhere[first])
    return {"regions_per_row": (shown.sum(1) >= 2).sum(1).float().mean()} | metrics


def build(backbone: nn.Module, config: DetconConfig, seed: int, num_steps: int) -> DetCon:
    """DetCon with its own heads, on the width of the backbone's feature map."""
    projector = plain_head(map_width(backbone), config.projector, num_layers=2)
    predictor = predictor_head(config.projector, config.predictor_hidden) if config.form == "momentum" else None
    return DetCon(backbone, projector, predictor, config, num_steps)
