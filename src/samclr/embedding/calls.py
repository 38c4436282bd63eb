"""The room's function of the public API: embed."""

import os
from collections.abc import Sequence
from pathlib import Path

from samclr.bank.places import refuse_inside_scenes
from samclr.config.embedding import EVERY_REGION, EmbedConfig
from samclr.config.evaluation import TargetConfig
from samclr.config.methods import Weights
from samclr.config.serialise import Threads, checked
from samclr.config.views import FilterConfig
from samclr.datasets.names import scene_paths
from samclr.datasets.sources import list_scenes
from samclr.embedding.vectors import Vectors
from samclr.embedding.work import EmbedJob, default_workers, embed_scenes
from samclr.errors import PartsError, name_some
from samclr.evaluation.inputs import check_target
from samclr.log import option_of, say
from samclr.processes.workers import unstated_workers
from samclr.scenes.fill import FillOptions


def embed(
    scenes: str | Path | Sequence[str | Path],
    backbone: "str | os.PathLike[str]",
    *,
    regions: str | Path | None = None,
    out: str | Path,
    config: EmbedConfig | None = None,
    filter: FilterConfig = EVERY_REGION,
    model: TargetConfig | None = None,
    untrained: bool = False,
    seed: int | None = None,
    which: Weights | None = None,
    device: str = "auto",
    workers: int | None = None,
    image_column: str | None = None,
    retry_errors: bool = False,
    replace_changed: bool = False,
) -> Vectors:
    """Make one vector of each image, and one of each region. Safe to interrupt: the same call resumes.

        vectors = samclr.embed("photos", "runs/photos", regions="photos.regions", out="photos.vectors")
        vectors.rows("region"), vectors.matrix("region")          # a table of n objects, and [n d]

    An image's vector is the mean of its patch features; a region's is their mean under its mask (the rule stands
    in samclr.embedding.windows), or with EmbedConfig(regions_by="crop") both are the backbone's features of a crop.

    Args:
        scenes: folders of images, Parquet files, tar shards or data sets as NAME@ROOT; one, or several to be joined.
        backbone: what `samclr.evaluate` takes as its target: a run, weights of any layout, the name of a timm model.
        regions: the region store of these scenes; without it images alone get a vector.
        out: folder of the vectors, made if missing; images that have vectors there are left as they are.
        config: sizes, pooling or crops, and the numbers' type.
        filter: which regions of the store get a vector, by default all; `padding` counts for crops alone.
        model: what a file of weights does not say of itself.
        untrained: the same backbone before any training. seed: of its weights.
        which: of a run, the weights; by default those that it exports.
        device: auto, cpu, cuda or cuda:1 and so on.
        workers: processes; by default one per core, on GPUs one each.
        image_column: column of Parquet files that holds the images.
        retry_errors: try images again that failed before.
        replace_changed: redo the rows of images whose file was replaced, instead of stopping.

    Images that fail are counted in a remark and stand in the vectors' `errors`.

    Raises:
        UsageError: no such device, or `out` lies inside the scenes.
        EvaluationError, ConfigError, RunError: the backbone cannot be had, or has no feature maps to pool.
        ScenesError: no scenes, or, without `replace_changed`, files were replaced since they were embedded.
        PartsError: `out` was made with other settings or is something else, or every image failed.
    """
    workers = checked(Threads | None, workers, "workers")
    sources, path = scene_paths(scenes), Path(out).absolute()
    refuse_inside_scenes(path, sources, option_of("out"))
    check_target(os.fspath(backbone), untrained, which)
    job = EmbedJob(
        target=os.fspath(backbone),
        given=model or TargetConfig(),
        untrained=untrained,
        seed=seed,
        which=which,
        device=device,
        config=config or EmbedConfig(),
        filter=filter,
        regions=None if regions is None else Path(regions).absolute(),
        scenes=tuple(map(Path, [scenes] if isinstance(scenes, str | Path) else scenes)),
        image_column=image_column,
    )
    usual = default_workers(device) or os.cpu_count() or 1
    options = FillOptions(
        retry_errors=retry_errors,
        replace_changed=replace_changed,
        num_workers=workers or unstated_workers(usual),
    )
    _, report = embed_scenes(list_scenes(sources, image_column), job, path, options)
    if report.errors:
        failed = name_some([f"{image_id}: {text}" for image_id, text in list(report.errors.items())[:3]])
        text = (
            f"{len(report.errors):,} of {report.num_images:,} images could not be embedded: {failed}; "
            f"{option_of('retry_errors')} tries them again"
        )
        if report.is_in_vain:
            raise PartsError(text)
        say(text)
    return Vectors(path)
