"""Anchors: the patches of the global views are held to those of the frozen start, or of a copy of some time ago.

`anchored` adds the term to any method whose embeddings come from its `online_encoder`.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.config.anchors import AnchorConfig
from samclr.errors import ConfigError
from samclr.log import option_of
from samclr.methods.base import Embeddings, Encoder, Method, Pixels, StepOutput
from samclr.methods.patch_losses import feature_distance, gram_distance
from samclr.models.maps import features_and_map, lacks_maps
from samclr.models.momentum import AVERAGE, momentum_copy
from samclr.models.schedules import cosine
from samclr.views.batch import ViewBatch


class Anchor(nn.Module):
    """The weights that hold, in evaluation mode, and the term. They stand in checkpoints, never in an export.

    Raises:
        ConfigError: the backbone has no feature maps.
    """

    def __init__(self, backbone: nn.Module, config: AnchorConfig, num_steps: int):
        super().__init__()
        if reason := lacks_maps(backbone, "anchors"):
            raise ConfigError(f"{reason}; leave {option_of('anchor')} at none", "anchor")
        self.backbone = momentum_copy(backbone)
        self._features_and_map = features_and_map
        self.config, self.num_steps = config, num_steps
        self.train(False)

    def train(self, mode: bool = True) -> "Anchor":
        """Stays in evaluation mode."""
        return super().train(False)

    def weight(self, step: int) -> float:
        """What the configured weights are multiplied by: 0 before the start, then 1, or what the schedule says."""
        config, since = self.config, step - self.config.anchor_start_step
        if since < 0:
            return 0.0
        if since < config.anchor_warmup_steps:
            return (since + 1) / config.anchor_warmup_steps
        if config.anchor_schedule == "constant":
            return 1.0
        left = self.num_steps - config.anchor_start_step - config.anchor_warmup_steps
        return cosine(1.0, 0.0, (since - config.anchor_warmup_steps) / max(left, 1))

    @torch.no_grad()
    def maps(self, pixels: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b v d gh gw"]:
        """The anchor's patches of the views."""
        return self._features_and_map(self.backbone, pixels.flatten(0, 1))[1].unflatten(0, pixels.shape[:2])

    def compile_backbone(self) -> None:
        """At its next pass, by torch.compile."""
        self._features_and_map = torch.compile(features_and_map, dynamic=False)

    def term(
        self, maps: Float[Tensor, "b v d gh gw"], anchor: Float[Tensor, "b v d gh gw"], step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """What is added to the loss, and each distance without its weight."""
        config, loss, metrics = self.config, maps.new_zeros((), dtype=torch.float32), {}
        if config.anchor in ("gram", "both"):
            metrics["anchor_gram"] = gram_distance(maps, anchor)
            loss = loss + config.anchor_gram_weight * metrics["anchor_gram"]
        if config.anchor in ("feature", "both"):
            metrics["anchor_feature"] = feature_distance(maps, anchor)
            loss = loss + config.anchor_feature_weight * metrics["anchor_feature"]
        return self.weight(step) * loss, {name: value.detach() for name, value in metrics.items()}

    def after_step(self, step: int, backbone: nn.Module) -> None:
        """A lagged anchor becomes a copy of `backbone` at its first step and every anchor_refresh_steps from there."""
        since = step + 1 - self.config.anchor_start_step
        if self.config.anchor_of == "lagged" and since >= 0 and since % self.config.anchor_refresh_steps == 0:
            self.backbone.load_state_dict(backbone.state_dict())


class Anchored(Method):
    """What `anchored` puts before a method's own class: its steps, each with the anchor's part after the method's."""

    anchor: Anchor

    def embed(self, pixels: Pixels, step: int, *seen: Any) -> Embeddings:
        """The method's embeddings, and the patches of the global views from the same pass."""
        if self.anchor.weight(step) == 0:
            return super().embed(pixels, step, *seen)
        with self.online_encoder.keeping_maps() as kept:
            embeddings = super().embed(pixels, step, *seen)
        b, v = pixels[0].shape[:2]
        if not kept or len(kept[0]) != b * v:
            raise ConfigError(
                f"{type(self).__name__} does not encode its global views in one pass of its online_encoder, which an "
                f"{option_of('anchor')} needs; leave it at none",
                "anchor",
            )
        return (*embeddings, kept[0].unflatten(0, (b, v)))

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int, *seen: Any) -> Embeddings:
        """The method's targets, and the anchor's patches."""
        if self.anchor.weight(step) == 0:
            return super().targets(pixels, step, *seen)
        return (*super().targets(pixels, step, *seen), self.anchor.maps(pixels[0]))

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """The method's loss and the term. `own_loss` is the former, to which `chance_loss` belongs."""
        if self.anchor.weight(batch.step) == 0:
            return super().contrast(embeddings, targets, batch)
        output = super().contrast(embeddings[:-1], targets[:-1], batch)
        term, metrics = self.anchor.term(embeddings[-1], targets[-1], batch.step)
        metrics = output.metrics | metrics | {"own_loss": output.loss.detach()}
        return replace(output, loss=output.loss + term, metrics=metrics)

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The method's own, and a lagged anchor's copy of the teacher, or of the trained encoder without one."""
        super().after_step(step, pending)
        slow: Encoder | None = getattr(self, "momentum_encoder", None)
        own = getattr(self, AVERAGE, self.online_encoder.backbone)
        self.anchor.after_step(step, own if slow is None else slow.backbone)


def anchored(method: Method, config: AnchorConfig, num_steps: int) -> Method:
    """The same method with an anchor, a copy of its backbone as it is; without one if the settings say none."""
    if config.anchor != "none":
        method.__class__ = type(f"Anchored{type(method).__name__}", (Anchored, type(method)), {})
        method.anchor = Anchor(method.online_encoder.backbone, config, num_steps)
    return method
