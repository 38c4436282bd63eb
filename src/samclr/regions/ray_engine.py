"""`samclr segment --engine ray`: the same store, filled by actors of a Ray cluster; see samclr.scenes.fill_on_ray."""

from collections.abc import Sequence
from pathlib import Path

from samclr.config.segmenters import SegmenterConfig
from samclr.processes.ray_cluster import has_gpus, join_cluster
from samclr.regions.segment import SegmentWork, open_for_segmenting, settled
from samclr.regions.segmenters.create import segmenter_class
from samclr.scenes.fill import FillOptions, FillReport
from samclr.scenes.fill_on_ray import fill_on_ray
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder


def segment_scenes_on_ray(
    refs: Sequence[SceneRef], config: SegmenterConfig, store_path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """As segment_scenes, by actors of the cluster of RAY_ADDRESS, or of a Ray started on this machine; see fill_on_ray.

    Raises:
        UsageError: Ray is not installed, or its cluster cannot be joined.
        PartsError, Stopped: as fill_on_ray.
    """
    ray = join_cluster()
    kind, config = segmenter_class(config), settled(config, refs)
    config = SegmenterConfig(segmenter=config.segmenter, options=kind.on_cluster(config.options, has_gpus(ray)))
    store = open_for_segmenting(config, store_path, refs, in_this_process=False)
    refs = kind.prepared(config.options, refs)
    title = f"segmenting with {config.segmenter}"
    report = fill_on_ray(ray, store, refs, SegmentWork(config=config), options, title)
    kind.say_counted(config.options, report.tally)
    return store, report
