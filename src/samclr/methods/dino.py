"""DINO (Caron et al., ICCV 2021): a student learns what its own slow copy, the teacher, says of other views.

Where asked for it learns what the teacher says of regions and of masked patches, too (samclr.methods.dino_terms).
"""

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from samclr.errors import ConfigError
from samclr.log import option_of
from samclr.methods.base import Embeddings, Method, Pixels, StepOutput
from samclr.methods.dino_spec import DinoConfig
from samclr.methods.dino_terms import DinoEncoder, patch_loss, region_loss, taught_regions
from samclr.methods.losses import centered_shares, self_distillation, sinkhorn_shares
from samclr.methods.metrics import embedding_metrics, share_entropy
from samclr.methods.patch_masks import block_masks, num_masked_views
from samclr.methods.ranks import num_ranks, own_rank, sum_over_ranks
from samclr.models.backbone import feature_width
from samclr.models.heads import DinoHead
from samclr.models.maps import map_width
from samclr.models.momentum import follow, momentum_copy, scheduled_momentum
from samclr.views.batch import ViewBatch

Rows = tuple[Tensor, ...]
TERMS = {"region": region_loss, "patch": patch_loss}


class DINO(Method):
    """Global and local views of one thing get the teacher's opinion of its global views; the loss has no negatives."""

    online_encoder: DinoEncoder
    center: Float[Tensor, "k"]

    def __init__(
        self,
        backbone: nn.Module,
        head: DinoHead,
        config: DinoConfig,
        num_steps: int,
        own_heads: dict[str, DinoHead] | None = None,
        seed: int = 0,
    ):
        """own_heads: of the terms `region` and `patch`; one without takes `head`. seed: of the masks."""
        super().__init__()
        weights = {"region": config.region_weight, "patch": config.masked_patch_weight}
        self.term_weights = {term: weight for term, weight in weights.items() if weight > 0}
        self.wants_regions = config.wants_regions
        masks_patches = "patch" in self.term_weights
        self.online_encoder = DinoEncoder(backbone, head, own_heads or {}, masks_patches)  # the student
        self.momentum_encoder = momentum_copy(self.online_encoder)  # the teacher
        self.register_buffer("center", torch.zeros(config.num_prototypes))
        for term in self.term_weights:
            self.register_buffer(f"{term}_center", torch.zeros(config.num_prototypes))
        self.config, self.num_steps, self.seed = config, num_steps, seed

    def regions_of(self, batch: ViewBatch) -> tuple[Rows, ...]:
        """What each term looks at in the global views: regions' shares and which are taught; masks of patches."""
        seen: dict[str, Rows] = {}
        if "region" in self.term_weights:
            shares = batch.shown_shares[0]
            seen["region"] = (shares, taught_regions(shares.flatten(3).any(-1)))
        if "patch" in self.term_weights:
            seen["patch"] = (self._masks(batch.pixels[0], batch.step),)
        return tuple(seen.values())

    def _masks(self, pixels: Float[Tensor, "b v c h w"], step: int) -> Bool[Tensor, "b v ph pw"]:
        b, v, _, _, side = pixels.shape
        views = range(own_rank() * b * v, (own_rank() + 1) * b * v)
        grid, frac = self.online_encoder.grid_hw(side), (self.config.masked_view_frac, self.config.masked_patch_frac)
        masks = block_masks(self.seed, step, views, num_ranks() * b * v, grid, *frac)
        return torch.from_numpy(masks).unflatten(0, (b, v)).to(pixels.device)

    def embed(self, pixels: Pixels, step: int, *seen: Rows) -> Embeddings:
        """The student's scores of every view, group by group; at first its prototypes stay as they are.

        With terms the global views are masked, and a row of scores for each region taught and each masked patch follow.
        """
        frozen = step < self.config.freeze_steps
        if not seen:
            return tuple(self.online_encoder.views(group, frozen=frozen) for group in pixels)
        terms = dict(zip(self.term_weights, seen, strict=True))
        scores, more = self.online_encoder.views_and_terms(pixels[0], terms, hides=True, frozen=frozen)
        local = tuple(self.online_encoder.views(group, frozen=frozen) for group in pixels[1:])
        return (scores, *local, *(more[term] for term in terms))

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int, *seen: Rows) -> Embeddings:
        """The teacher's scores of the global views, whole; with terms, of the same regions and patches."""
        if not seen:
            return (self.momentum_encoder.views(pixels[0]),)
        terms = dict(zip(self.term_weights, seen, strict=True))
        scores, more = self.momentum_encoder.views_and_terms(pixels[0], terms, hides=False)
        return (scores, *(more[term] for term in terms))

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """The loss of views, and the weighted terms beside it."""
        groups = len(batch.groups)
        output = self._of_views(embeddings[:groups], targets[0], batch)
        rows = zip(self.term_weights, embeddings[groups:], targets[1:], self.regions_of(batch), strict=True)
        for term, student, teacher, (*_, where) in rows:
            output = self._and_term(output, term, student, teacher, where, batch.step)
        return output

    def _of_views(self, embeddings: Embeddings, scores: Float[Tensor, "b t k"], batch: ViewBatch) -> StepOutput:
        """Algorithm 1 of the paper, with local views and with the choice of balancing."""
        shares = self._shares(scores, self.center, batch.step)
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

    def _and_term(
        self,
        output: StepOutput,
        term: str,
        student: Float[Tensor, "m k"],
        teacher: Float[Tensor, "m k"],
        where: Bool[Tensor, "b v ..."],
        step: int,
    ) -> StepOutput:
        """One term more: a row of scores for each True of `where`."""
        shares = self._shares(teacher[None], self.get_buffer(f"{term}_center"), step)[0]
        weight, views = self.term_weights[term], where.shape[0] * where.shape[1] * num_ranks()
        loss = TERMS[term](student, shares, where, self.config.temperature)
        chance = math.log(self.config.num_prototypes)
        if term == "patch":  # views without masked patches count as 0
            chance *= num_masked_views(views, self.config.masked_view_frac) / views
        metrics = {f"{term}_loss": loss.detach(), f"{term}_teacher_entropy": share_entropy(shares).mean()}
        sums = teacher.float().sum(0), teacher.new_tensor(len(teacher), dtype=torch.float32)
        return StepOutput(
            loss=output.loss + weight * loss,
            chance_loss=(output.chance_loss or 0.0) + weight * chance,
            metrics={"image_loss": output.loss.detach()} | output.metrics | metrics,
            pending=output.pending | {f"{term}_scores": sums},
        )

    def _shares(self, scores: Float[Tensor, "b t k"], center: Float[Tensor, "k"], step: int) -> Float[Tensor, "b t k"]:
        """The teacher's, balanced as the settings say."""
        temperature = self.teacher_temperature(step)
        if self.config.centering == "center":
            return centered_shares(scores, center, temperature)
        return sinkhorn_shares(scores, temperature)

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The teacher follows the student, each center the mean of all ranks' scores."""
        config = self.config
        momentum = scheduled_momentum(config.ema_momentum, config.ema_momentum_end, step, self.num_steps)
        follow(self.momentum_encoder, self.online_encoder, momentum)
        mean = sum_over_ranks(pending["scores_sum"]) / (pending["num_scores"] * num_ranks())
        self.center.lerp_(mean.to(self.center.dtype), 1 - config.center_momentum)
        for term in self.term_weights:
            center, (total, count) = self.get_buffer(f"{term}_center"), map(sum_over_ranks, pending[f"{term}_scores"])
            mean = torch.where(count > 0, total / count.clamp(min=1), center)  # a step may show no region twice
            center.lerp_(mean.to(center.dtype), 1 - config.center_momentum)

    def teacher_temperature(self, step: int) -> float:
        """Linear from its start to its end over the warm-up."""
        config = self.config
        done = min(1.0, step / max(config.teacher_temperature_steps, 1))
        start, end = config.teacher_temperature_start, config.teacher_temperature
        return end if config.teacher_temperature_steps == 0 else start + done * (end - start)


def build(backbone: nn.Module, config: DinoConfig, seed: int, num_steps: int) -> DINO:
    """DINO with its own heads. Those of the terms have no batch norm, as iBOT's: a pass may have few rows, or none.

    Raises:
        ConfigError: the backbone has no patches that a head could take.
    """
    head = DinoHead(feature_width(backbone), config.projector, config.num_prototypes)
    plain, own_heads = replace(config.projector, projector_norm=False), {}
    for term, weight, option, choice in (
        ("region", config.region_weight, "region_head", config.region_head),
        ("patch", config.masked_patch_weight, "masked_patch_head", config.masked_patch_head),
    ):
        if weight > 0 and choice == "own":
            own_heads[term] = DinoHead(map_width(backbone), plain, config.num_prototypes)
        elif weight > 0 and map_width(backbone) != feature_width(backbone):
            raise ConfigError(
                f"{option} is shared, but the backbone's patches have {map_width(backbone)} channels and its features "
                f"{feature_width(backbone)}; give {option_of(option)} own",
                option,
            )
    return DINO(backbone, head, config, num_steps, own_heads, seed)
