"""Tell while it happens that training goes wrong: NaN, collapse, a loss that never leaves chance."""

import math

from samclr.errors import RunError

COLLAPSED_SPREAD = 0.1
STUCK_FRAC = 0.005
PATIENCE_STEPS = 50


class CollapseMonitor:
    """Watches loss and embedding spread. Speaks once for each kind of trouble."""

    def __init__(self, chance_loss: float):
        self._chance = chance_loss
        self._streaks = {"collapsed": 0, "stuck": 0}

    def check(self, step: int, loss: float, embedding_spread: float) -> str | None:
        """A warning with advice, or None. Raises RunError when the loss is not finite: such weights are never saved."""
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} at step {step}; the last checkpoint is from before. "
                f"Lower --lr, add --warmup-steps, or use --precision 32-true; then start with another --out"
            )
        if self._lasts("collapsed", embedding_spread < COLLAPSED_SPREAD):
            return (
                f"step {step}: the embeddings have collapsed (spread {embedding_spread:.3f} of 1 for "
                f"{PATIENCE_STEPS} steps): all images look alike to the model. "
                f"Lower --lr, add --warmup-steps, check that the views show anything"
            )
        if self._lasts("stuck", abs(loss - self._chance) < STUCK_FRAC * self._chance):
            return (
                f"step {step}: the loss is stuck at chance, {self._chance:.3f}, "
                f"for {PATIENCE_STEPS} steps. Raise --lr, lower --temperature, or weaken the augmentation"
            )
        return None

    def _lasts(self, kind: str, now: bool) -> bool:
        self._streaks[kind] = self._streaks[kind] + 1 if now else 0
        return self._streaks[kind] == PATIENCE_STEPS
