"""Intervals of results beside the resamples that their details hold."""

from typing import Any

import numpy as np


def check_resampled(details: dict[str, Any], scores: dict[str, dict[str, float]]) -> None:
    """The intervals are percentiles of what the details have; of scores without an object they are not checked."""
    assert details["resampled"]
    for name, drawn in details["resampled"].items():
        ends = np.nanpercentile(np.array(drawn, np.float64), (2.5, 97.5))
        np.testing.assert_allclose(ends, [scores[name]["low"], scores[name]["high"]])
