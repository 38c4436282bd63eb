"""The room's function of the public API: segment."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samclr.bank.places import refuse_inside_scenes
from samclr.config.segmenters import SegmenterConfig
from samclr.config.serialise import Threads, checked
from samclr.datasets.names import scene_paths
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError, name_some
from samclr.log import option_of, say
from samclr.processes.workers import unstated_workers
from samclr.regions.region_store import RegionStore
from samclr.regions.segment import segment_scenes
from samclr.regions.segmenters.create import default_workers
from samclr.scenes.fill import FillOptions


def segment(
    scenes: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    segmenter: str = "sam-hq-vit-h",
    workers: int | None = None,
    image_column: str | None = None,
    retry_errors: bool = False,
    replace_changed: bool = False,
    **mask_options: Any,
) -> RegionStore:
    """Find the regions of every scene and keep them in a store. Safe to interrupt: the same call resumes.

        store = samclr.segment("photos", out="photos.regions", segmenter="felzenszwalb")

    Args:
        scenes: folders of images, Parquet files, tar shards or data sets as NAME@ROOT; one, or several to be joined.
        out: folder of the store, made if missing; images that have a row there are left as they are.
        segmenter: a name of `samclr segmenters`, a Hugging Face id of a SAM, or a folder with one.
        workers: processes; by default one per core, for a SAM one per GPU, for a script without a guard
            (`if __name__ == "__main__":`) this one alone.
        image_column: column of Parquet files that holds the images.
        retry_errors: try images again that failed before.
        replace_changed: redo the rows of images whose file was replaced, instead of stopping.
        mask_options: options of that segmenter, as `samclr segment --help` lists them: points_per_side=16,
            device="cuda", min_size=200.

    Images that fail are counted in a remark and stand in the store's `errors`.

    Raises:
        UsageError: no such segmenter, model or device, or `out` lies inside the scenes.
        ConfigError: an option is unknown, of another segmenter, or out of its range.
        ScenesError: no scenes, or, without `replace_changed`, files were replaced since they were segmented.
        PartsError: `out` was made with other settings or is something else, or every image failed.
    """
    config = SegmenterConfig.with_options(checked(str, segmenter, "segmenter"), mask_options)
    workers = checked(Threads | None, workers, "workers")
    sources, path = scene_paths(scenes), Path(out).absolute()
    refuse_inside_scenes(path, sources, option_of("out"))
    usual = default_workers(config) or os.cpu_count() or 1
    options = FillOptions(
        retry_errors=retry_errors,
        replace_changed=replace_changed,
        num_workers=workers or unstated_workers(usual),
    )
    _, report = segment_scenes(list_scenes(sources, image_column), config, path, options)
    for note in report.notes:
        say(note.line())
    if report.errors:
        failed = name_some([f"{image_id}: {text}" for image_id, text in list(report.errors.items())[:3]])
        text = (
            f"{len(report.errors):,} of {report.num_images:,} images could not be segmented: {failed}; "
            f"{option_of('retry_errors')} tries them again"
        )
        if report.is_in_vain:
            raise PartsError(text)
        say(text)
    return RegionStore(path)
