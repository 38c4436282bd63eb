"""95 % confidence intervals by the bootstrap over test images (Efron, "Bootstrap methods", 1979): percentiles of what
resamples of the images, drawn with replacement, would have given."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from samclr.config.evaluation import IntervalConfig

PERCENTILES = (2.5, 97.5)


def bootstrap_intervals(
    per_image: Float[np.ndarray, "n m"],
    config: IntervalConfig,
    measure: Callable[[Float[np.ndarray, "m"]], Float[np.ndarray, "q"]] | None = None,
) -> Float[np.ndarray, "q 2"]:
    """Lower and upper end for each measure; row i of `per_image` is what image i adds to the sums they are made of.

    measure: from the m sums over the images of a resample to q measures; by default the means over its images.
    The resamples depend on the seed and the number of images alone, so backbones are compared on equal ones.
    """
    n, found = len(per_image), []
    for times in resamples(n, config):
        sums = times @ per_image
        found.append(sums / n if measure is None else measure(sums))
    return np.percentile(np.stack(found), PERCENTILES, axis=0).T


def resamples(num_images: int, config: IntervalConfig) -> Iterator[Float[np.ndarray, "n"]]:
    """How often each image is in each resample."""
    random = np.random.Generator(np.random.PCG64(config.bootstrap_seed))
    for _ in range(config.bootstrap):
        yield np.bincount(random.integers(0, num_images, num_images), minlength=num_images).astype(np.float64)
