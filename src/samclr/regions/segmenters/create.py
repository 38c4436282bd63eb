"""From a configuration to its segmenter."""

from typing import Any

from samclr.config.registry import resolve
from samclr.config.segmenters import SegmenterConfig, segmenter_spec
from samclr.errors import PluginError
from samclr.regions.segmenters.base import Segmenter


def segmenter_class(config: SegmenterConfig) -> type[Segmenter]:
    """The class that the spec names. Raises PluginError if it is none."""
    spec = segmenter_spec(config.segmenter)
    found = resolve(spec.build)
    if not (isinstance(found, type) and issubclass(found, Segmenter)):
        raise PluginError(f"{spec.build}, which {spec.name} names, is not a samclr.regions.segmenters.base.Segmenter")
    return found


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """Make the segmenter; a model is loaded. Raises UsageError for a model or device that is not there."""
    return segmenter_class(config)(config.segmenter, config.options)


def maker_of(config: SegmenterConfig) -> dict[str, Any]:
    """What a store's manifest says of its maker: the settings and, for a SAM, its weights' hash and precision."""
    return config.maker() | segmenter_class(config).facts(config.segmenter, config.options)


def default_workers(config: SegmenterConfig) -> int | None:
    """Processes that suit the segmenter: for a SAM one a GPU, or one that uses all cores; else None, one a core."""
    return segmenter_spec(config.segmenter).workers(config.options)
