"""Felzenszwalb's graph segmentation: settings."""

from dataclasses import dataclass
from typing import Annotated

from samclr.config.segmenters import SegmenterSpec
from samclr.config.serialise import Bounds, CountOrZero, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class FelzenszwalbConfig(Settings):
    """Felzenszwalb's settings.

    Attributes:
        scale: larger values give larger pieces.
        sigma: blur before segmenting: sigma of a Gaussian, in px.
        min_size: smallest size of a piece, in px.
    """

    scale: Positive = 500.0
    sigma: Annotated[float, Bounds(at_least=0, at_most=1000)] = 0.8
    min_size: CountOrZero = 400


SPEC = SegmenterSpec(
    name="felzenszwalb",
    summary="",
    config=FelzenszwalbConfig,
    build="samclr.regions.segmenters.felzenszwalb:FelzenszwalbSegmenter",
    licence="BSD-3 (scikit-image)",
)
