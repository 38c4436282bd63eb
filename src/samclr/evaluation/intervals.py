"""95 % confidence intervals by the bootstrap over test images (Efron, "Bootstrap methods", 1979): percentiles of what
resamples of the images, drawn with replacement, would have given."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from samclr.config.evaluation import IntervalConfig
from samclr.runs.results import Score

PERCENTILES = (2.5, 97.5)
RESAMPLED = "resampled"  # in details


def bootstrap_intervals(
    per_image: Float[np.ndarray, "n m"],
    config: IntervalConfig,
    measure: Callable[[Float[np.ndarray, "m"]], Float[np.ndarray, "q"]] | None = None,
) -> Float[np.ndarray, "q 2"]:
    """Lower and upper end for each measure; row i of `per_image` is what image i adds to the sums they are made of.

    measure: from the m sums over the images of a resample to q measures; by default the means over its images.
    The resamples depend on the seed and the number of images alone, so backbones are compared on equal ones.
    """
    return interval_ends(bootstrap_values(per_image, config, measure))


def bootstrap_values(
    per_image: Float[np.ndarray, "n m"],
    config: IntervalConfig,
    measure: Callable[[Float[np.ndarray, "m"]], Float[np.ndarray, "q"]] | None = None,
) -> Float[np.ndarray, "b q"]:
    """The measures in each resample. Arguments: as `bootstrap_intervals`."""
    n, found = len(per_image), []
    for times in resamples(n, config):
        sums = times @ per_image
        found.append(sums / n if measure is None else measure(sums))
    return np.stack(found)


def interval_ends(values: Float[np.ndarray, "b q"]) -> Float[np.ndarray, "q 2"]:
    """Of the measures in each resample; one that is not a number there is left out of its interval."""
    percentile = np.nanpercentile if np.isnan(values).any() else np.percentile
    return percentile(values, PERCENTILES, axis=0).T


def score_of(value: float, ends: Float[np.ndarray, "2"], num_images: int) -> Score:
    """A score with its interval; of one image, which has but one resample, it has none."""
    if num_images == 1:
        return Score(value=float(value), n=1)
    return Score(value=float(value), low=float(ends[0]), high=float(ends[1]), n=num_images)


def resampled_details(names: Sequence[str], values: Float[np.ndarray, "b q"]) -> dict[str, Any]:
    """For a result's details: each score in each resample, so that two backbones can be paired by image later."""
    columns = [[None if np.isnan(one) else float(one) for one in column] for column in values.T]
    return {RESAMPLED: dict(zip(names, columns, strict=True))}


def resamples(num_images: int, config: IntervalConfig) -> Iterator[Float[np.ndarray, "n"]]:
    """How often each image is in each resample."""
    random = np.random.Generator(np.random.PCG64(config.bootstrap_seed))
    for _ in range(config.bootstrap):
        yield np.bincount(random.integers(0, num_images, num_images), minlength=num_images).astype(np.float64)
