"""samclr: contrastive pre-training on complex scenes, with both views from one region.

    import samclr

    store = samclr.segment("photos", out="photos.regions", segmenter="felzenszwalb")
    views = samclr.RegionViews("photos", "photos.regions", batch_size=64, steps=1000)

What stands in `__all__`, and the modules config, losses, methods and evaluation, is public and kept
(docs/reference/stability.md); all else is private. Names load when they are first used: importing samclr loads no
torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from samclr._version import __version__
from samclr.errors import SamclrError

if TYPE_CHECKING:
    from samclr import config as config
    from samclr import evaluation as evaluation
    from samclr import losses as losses
    from samclr import methods as methods
    from samclr.config.methods import register_method as register_method
    from samclr.config.pretrain import PretrainConfig as PretrainConfig
    from samclr.config.protocols import register_protocol as register_protocol
    from samclr.config.views import AugmentConfig as AugmentConfig
    from samclr.config.views import FilterConfig as FilterConfig
    from samclr.embedding.calls import embed as embed
    from samclr.embedding.vectors import Vectors as Vectors
    from samclr.embedding.vectors import open_vectors as open_vectors
    from samclr.evaluation.calls import evaluate as evaluate
    from samclr.regions.calls import segment as segment
    from samclr.regions.mask_generator import MaskGenerator as MaskGenerator
    from samclr.regions.records import ImageRegions as ImageRegions
    from samclr.regions.region_store import RegionStore as RegionStore
    from samclr.regions.region_store import open_regions as open_regions
    from samclr.runs.checkpoint import load_backbone as load_backbone
    from samclr.runs.export import export as export
    from samclr.runs.results import Result as Result
    from samclr.runs.results import Score as Score
    from samclr.runs.run import Run as Run
    from samclr.runs.run import open_run as open_run
    from samclr.training.calls import pretrain as pretrain
    from samclr.views.batch import ViewBatch as ViewBatch
    from samclr.views.region_dataset import RegionDataset as RegionDataset
    from samclr.views.region_views import RegionViews as RegionViews

MODULES = ("config", "evaluation", "losses", "methods")
# One line a name; the block above says the same to type checkers, and a test compares them.
_PLACES = {
    "segment": "samclr.regions.calls",
    "open_regions": "samclr.regions.region_store",
    "MaskGenerator": "samclr.regions.mask_generator",
    "RegionDataset": "samclr.views.region_dataset",
    "RegionViews": "samclr.views.region_views",
    "pretrain": "samclr.training.calls",
    "open_run": "samclr.runs.run",
    "load_backbone": "samclr.runs.checkpoint",
    "evaluate": "samclr.evaluation.calls",
    "embed": "samclr.embedding.calls",
    "open_vectors": "samclr.embedding.vectors",
    "Vectors": "samclr.embedding.vectors",
    "export": "samclr.runs.export",
    "register_method": "samclr.config.methods",
    "register_protocol": "samclr.config.protocols",
    "Result": "samclr.runs.results",
    "Score": "samclr.runs.results",
    "Run": "samclr.runs.run",
    "RegionStore": "samclr.regions.region_store",
    "ImageRegions": "samclr.regions.records",
    "ViewBatch": "samclr.views.batch",
    "FilterConfig": "samclr.config.views",
    "AugmentConfig": "samclr.config.views",
    "PretrainConfig": "samclr.config.pretrain",
}

__all__ = [
    "AugmentConfig",
    "FilterConfig",
    "ImageRegions",
    "MaskGenerator",
    "PretrainConfig",
    "RegionDataset",
    "RegionStore",
    "RegionViews",
    "Result",
    "Run",
    "SamclrError",
    "Score",
    "Vectors",
    "ViewBatch",
    "__version__",
    "embed",
    "evaluate",
    "export",
    "load_backbone",
    "open_regions",
    "open_run",
    "open_vectors",
    "pretrain",
    "register_method",
    "register_protocol",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return importlib.import_module(f"samclr.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'samclr' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *MODULES})
