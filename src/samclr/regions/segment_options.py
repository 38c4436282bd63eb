"""From a segmenter's name and options as keywords to its settings."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from samclr.config.segmenters import ComputeConfig, MaskConfig, SegmenterConfig
from samclr.errors import ConfigError


def segmenter_config(segmenter: str, options: Mapping[str, Any]) -> SegmenterConfig:
    """The settings of a segmenter; an option is a field of SegmenterConfig, MaskConfig or ComputeConfig.

    Raises:
        ConfigError: there is no such option, or its value is out of range.
    """
    own, masks, compute = (
        {field.name for field in fields(config)} - {"segmenter", "masks", "compute"}
        for config in (SegmenterConfig, MaskConfig, ComputeConfig)
    )
    for name in options:
        if name not in own | masks | compute:
            near = difflib.get_close_matches(name, own | masks | compute, n=1)
            raise ConfigError(
                f"{name} is not an option of segmenters"
                + (
                    f" (did you mean {near[0]}?)"
                    if near
                    else f"; expected one of {', '.join(sorted(own | masks | compute))}"
                )
            )

    def given(names: set[str]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name in names}

    return SegmenterConfig(
        segmenter=segmenter,
        masks=MaskConfig(**given(masks)),
        compute=ComputeConfig(**given(compute)),
        **given(own),
    )
