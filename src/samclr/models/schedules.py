"""How a number changes over a run."""

import math


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` at a progress of 0 to `end` at 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
