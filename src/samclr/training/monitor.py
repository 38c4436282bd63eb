"""Notice during training that it goes wrong: NaN, collapse, a loss that never leaves chance."""

import math
from collections import Counter
from collections.abc import Callable, Mapping

from samclr.config.pretrain import PretrainConfig
from samclr.errors import ConfigError, RunError
from samclr.log import option_of
from samclr.methods.base import Method
from samclr.models.layer_groups import name_of

COLLAPSED_SPREAD = 0.1
ONE_PROTOTYPE, NO_OPINION = 0.02, 0.999  # of DINO's entropies, as shares of the largest possible
STUCK_FRAC = 0.005
PATIENCE_STEPS = 50
MOST_IDENTICAL = 0.05  # of the pairs, which then teach nothing
SAMPLED_PAIRS = 2000


class CollapseMonitor:
    """Watches a run's metrics. Speaks when a kind of trouble has lasted PATIENCE_STEPS steps, once until it ends."""

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}

    def check(self, step: int, metrics: dict[str, float], chance_loss: float | None = None) -> str | None:
        """A warning with advice, or None. Raises RunError when the loss is not finite: such weights are never saved.

        metrics: `loss`; and where the method has them `own_loss` (without an anchor's term), `embedding_spread`,
            `teacher_entropy` and `prototype_entropy`.
        chance_loss: the loss of a model that cannot tell anything apart, where there is one.
        """
        loss, embedding_spread = metrics["loss"], metrics.get("embedding_spread", 1.0)
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} at step {step}; the last checkpoint is from before. "
                f"Lower {option_of('lr')}, add {option_of('warmup_steps')}, or use {option_of('precision')} float32; "
                f"then start with another {option_of('out')}"
            )
        if self._lasts("collapsed", embedding_spread < COLLAPSED_SPREAD):
            return (
                f"step {step}: the embeddings have collapsed (spread {embedding_spread:.3f} of 1 for "
                f"{PATIENCE_STEPS} steps): all images look alike to the model. "
                f"Lower {option_of('lr')}, add {option_of('warmup_steps')}, check that the views show anything"
            )
        if self._lasts("one prototype", metrics.get("prototype_entropy", 1.0) < ONE_PROTOTYPE):
            return (
                f"step {step}: the teacher has collapsed to one prototype for all views ({PATIENCE_STEPS} steps). "
                f"Lower {option_of('center_momentum')}, or use {option_of('centering')} sinkhorn; "
                f"then start with another {option_of('out')}"
            )
        if self._lasts("no opinion", metrics.get("teacher_entropy", 0.0) > NO_OPINION):
            return (
                f"step {step}: the teacher's shares are uniform ({PATIENCE_STEPS} steps): it teaches nothing. "
                f"Lower {option_of('teacher_temperature')}, or lower {option_of('ema_momentum')} for short runs"
            )
        own_loss = metrics.get("own_loss", loss)
        if chance_loss and self._lasts("stuck", abs(own_loss - chance_loss) < STUCK_FRAC * chance_loss):
            return (
                f"step {step}: the loss is stuck at chance, {chance_loss:.3f}, "
                f"for {PATIENCE_STEPS} steps. "
                f"Raise {option_of('lr')}, lower {option_of('temperature')}, or weaken the augmentation"
            )
        return None

    def _lasts(self, kind: str, now: bool) -> bool:
        self._streaks[kind] = self._streaks.get(kind, 0) + 1 if now else 0
        return self._streaks[kind] == PATIENCE_STEPS


def pairs_per_step(config: PretrainConfig) -> int:
    """Rows of a step's view groups that hold a positive pair or more."""
    groups = sum(group.num_views > 1 for group in config.groups)
    return config.optim.global_batch_size * config.views.regions_per_image * groups


def identical_pairs_warning(identical: int, pairs: int) -> str | None:
    """A warning with advice where too many pairs show one box twice, or None."""
    if pairs == 0 or identical / pairs <= MOST_IDENTICAL:
        return None
    return (
        f"{identical / pairs:.0%} of the pairs ({identical:,} of {pairs:,}) show the same box twice: their windows are "
        f"too thin, or too small, for different crops. Give a wider {option_of('crop_ratio')}, "
        f"leave out thin regions by {option_of('min_box_px')}, "
        f"or widen their windows by {option_of('max_window_aspect')} 3"
    )


def sample_counts(
    config: PretrainConfig, num_steps: int, counts_of: Callable[[int], Mapping[str, int]]
) -> tuple[Counter[str], int]:
    """Counts and pairs of the run's first steps, SAMPLED_PAIRS or more if it has as many.

    counts_of: the counts of a step's plan.
    """
    pairs = pairs_per_step(config)
    steps = min(-(-SAMPLED_PAIRS // pairs), num_steps)
    counts = Counter[str]()
    for step in range(steps):
        counts.update(counts_of(step))
    return counts, steps * pairs


def refuse_without_carried(config: PretrainConfig, counts: Mapping[str, int]) -> None:
    """Raise ConfigError where the method needs regions that views carry, and none of the counted views carries one."""
    if config.method.wants_regions and not counts["carried_regions"]:
        views = config.views
        raise ConfigError(
            f"carried_regions is {views.carried_regions}, but none of {counts['rows_without_regions']:,} images drawn "
            f"has a region that two of its views show by {views.shown_frac:g} of its area and {views.shown_cells:g} "
            f"cells of the feature map; lower {option_of('shown_frac')} or {option_of('shown_cells')}, or give a "
            f"larger {option_of('size_px')}",
            "carried_regions",
        )


def refuse_without_negatives(config: PretrainConfig, num_images: int) -> None:
    """Raise ConfigError where images of their own are no negatives, and there is one image."""
    if num_images == 1 and getattr(config.method, "same_image_negatives", "keep") == "ignore":
        raise ConfigError(
            f"same_image_negatives is ignore, which leaves no negatives where all views are of one image; add images, "
            f"or give {option_of('same_image_negatives')} keep",
            "same_image_negatives",
        )


def not_reached_remark(method: Method) -> str | None:
    """Which layers of the backbone the loss does not train, by the shortest names that hold no other; None if all."""
    if not method.not_reached:
        return None
    backbone = method.online_encoder.backbone
    others = [name for name, _ in backbone.named_parameters() if name not in method.not_reached]
    layers = dict.fromkeys(_layer_of(name, others) for name in method.not_reached)
    return (
        f"the loss looks at the feature map alone: of {name_of(backbone)}, {', '.join(layers)} come after it and keep "
        f"the weights that they begin with"
    )


def _layer_of(name: str, others: list[str]) -> str:
    words = name.split(".")
    beginnings = (".".join(words[:number]) for number in range(1, len(words) + 1))
    return next(one for one in beginnings if not any(f"{other}.".startswith(f"{one}.") for other in others))
