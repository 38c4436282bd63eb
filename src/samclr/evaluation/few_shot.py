"""Few labels: a class-balanced, seeded part of a training split."""

import numpy as np
from jaxtyping import Int

from samclr.draws import epoch_order
from samclr.errors import EvaluationError


def few_rows(labels: Int[np.ndarray, "n"], num_classes: int, share: float, seed: int) -> Int[np.ndarray, "few"]:
    """Rows of `share` of the labels, as many of each class, at least one; a smaller share is part of a larger one.

    Raises:
        EvaluationError: a class has fewer images than its part.
    """
    each = max(round(share * len(labels) / num_classes), 1)
    chosen = []
    for number in range(num_classes):
        rows = np.flatnonzero(labels == number)
        if len(rows) < each:
            raise EvaluationError(
                f"{share:.0%} of {len(labels)} labels are {each} of each class, but class {number} has {len(rows)}; "
                f"take a smaller `few_shot`, or more training images (`num_train`)"
            )
        chosen.append(rows[epoch_order(seed, number, len(rows))[:each]])
    return np.sort(np.concatenate(chosen))


def share_name(share: float) -> str:
    """As result rows call it: few_shot_1pct."""
    return f"few_shot_{100 * share:g}pct"
