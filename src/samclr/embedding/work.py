"""The job `samclr embed`: run a backbone over all scenes and fill a folder of vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from samclr.config.embedding import EVERY_REGION, EmbedConfig
from samclr.config.evaluation import TargetConfig
from samclr.config.methods import Weights
from samclr.config.serialise import to_dict
from samclr.config.views import FilterConfig
from samclr.embedding.embedders import Item, crop_vectors, fit_embedding, pooled_vectors
from samclr.embedding.origin import origin_of, write_origin
from samclr.embedding.store import (
    IMAGES_SCHEMA,
    create_or_open_vectors,
    fault_of_rows,
    image_rows,
    keep_rows,
    write_rows,
)
from samclr.errors import PartsError, RegionError, name_some
from samclr.evaluation.targets import Target, open_target
from samclr.log import option_of, tell
from samclr.models.devices import choose_device
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.maps import map_width
from samclr.models.sizes import InputSizes
from samclr.processes.ray_cluster import join_cluster
from samclr.regions.coarsest import coarsest
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.store import open_store, read_bucket, read_regions
from samclr.scenes.buckets import may_lie_elsewhere
from samclr.scenes.decode import DecodeError, Scene, load_scene
from samclr.scenes.fill import MORE_PAGES, FillOptions, FillReport, Tally, add_tally, fill
from samclr.scenes.fill_on_ray import fill_on_ray
from samclr.scenes.read_ahead import SCENES_PER_CALL, Row, unread_row, work_through
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import MANIFEST, OK, VECTORS, PartsFolder


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """All that decides what vectors a scene gets, in plain values: each process opens it for itself.

    target, given, untrained, seed, which: as `open_target` takes them. regions: the store, None for images alone.
    scenes, image_column: what the images were listed from, which decides nothing, and is remembered.
    """

    target: str
    given: TargetConfig = field(default_factory=TargetConfig)
    untrained: bool = False
    seed: int | None = None
    which: Weights | None = None
    device: str = "auto"
    config: EmbedConfig = field(default_factory=EmbedConfig)
    filter: FilterConfig = EVERY_REGION
    regions: Path | None = None
    scenes: tuple[Path, ...] = ()
    image_column: str | None = None


def embed_scenes(
    refs: Sequence[SceneRef], job: EmbedJob, path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """Give every scene its vectors. Safe to kill and to run several times at once; see fill."""
    folder, work = open_for_embedding(refs, job, path)
    return folder, fill(folder, refs, work, options, f"embedding with {job.target}")


def embed_scenes_on_ray(
    refs: Sequence[SceneRef], job: EmbedJob, path: Path, options: FillOptions
) -> tuple[PartsFolder, FillReport]:
    """As embed_scenes, by actors of the cluster of RAY_ADDRESS, or of a Ray started on this machine; see fill_on_ray.

    Raises:
        UsageError: Ray is not installed, or its cluster cannot be joined.
    """
    ray = join_cluster()
    folder, work = open_for_embedding(refs, job, path)
    return folder, fill_on_ray(ray, folder, refs, work, options, f"embedding with {job.target}")


def open_for_embedding(refs: Sequence[SceneRef], job: EmbedJob, path: Path) -> tuple[PartsFolder, "EmbedWork"]:
    """Make or open the folder, before any work, and the work that fills it.

    Raises:
        EvaluationError, ConfigError, RunError: as `open_target`; or the backbone has no feature maps to pool.
        PartsError: the folder was made with other settings, or a scene has no row in the region store.
        UsageError: no such device.
    """
    device = choose_device(job.device)
    for cached in (_opened, _checked, _places):
        cached.cache_clear()  # of an earlier call, after which a run may have gone on
    if job.regions is not None:
        _refuse_missing(refs, open_store(job.regions))
    maker = _maker(job)
    if (path / MANIFEST).exists():
        then = PartsFolder(path, VECTORS).maker
        if then.get("fingerprint") == maker["fingerprint"]:
            maker["backbone"] = then.get("backbone")  # the same weights by another name
        differing = sorted(key for key in {*then, *maker} if then.get(key) != maker.get(key))
        if differing:
            raise PartsError(f"{path} was made with {_differences(then, maker, differing)}; name another folder")
    tell(f"backbone: {maker['backbone']} on {device}, vectors of width {maker['width']}")
    folder = create_or_open_vectors(path, maker, len(refs))
    seed = _opened(job)[0].seed
    write_origin(path, origin_of(job.scenes, job.image_column, job.target, job.untrained, seed, job.which))
    return folder, EmbedWork(job=job, fingerprint=maker["fingerprint"])


def default_workers(device: str) -> int | None:
    """Processes that suit the device: one a GPU, else None, one a core."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return None
    return torch.cuda.device_count() if device in ("auto", "cuda") and torch.cuda.is_available() else 1


@lru_cache(maxsize=1)
def _opened(job: EmbedJob) -> tuple[Target, EmbedConfig]:
    """One loaded backbone a process, and the settings with a size that it takes."""
    target = open_target(job.target, job.given, job.untrained, job.seed, job.config.image_px, job.which)
    return target, fit_embedding(target.backbone, job.config)


@lru_cache(maxsize=1)
def _checked(job: EmbedJob, fingerprint: str) -> tuple[Target, EmbedConfig]:
    """As `_opened`. Raises PartsError if the weights are not those of the fingerprint."""
    target, config = _opened(job)
    if weights_fingerprint(target.backbone) != fingerprint:
        raise PartsError(
            f"{job.target} has other weights than when this began, perhaps as it is being trained; embed with a copy, "
            f"such as samclr export makes"
        )
    return target, config


def _maker(job: EmbedJob) -> dict[str, Any]:
    """What the manifest says of the vectors; see Vectors.manifest."""
    target, config = _opened(job)
    backbone, pool = target.backbone, config.regions_by == "pool"
    sizes: InputSizes | None = getattr(backbone, "input_sizes", None)
    assert pool or sizes is not None  # which every backbone of open_target has
    facts: dict[str, Any] = {"backbone": target.name, "fingerprint": weights_fingerprint(backbone)}
    facts |= {"model": target.facts(), "width": map_width(backbone) if sizes is None or pool else sizes.width}
    settings = {key: value for key, value in to_dict(config).items() if pool or key != "window_cells"}
    facts |= {"dtype": settings.pop("dtype"), "settings": settings}
    if job.regions is not None:
        facts |= {"filter": to_dict(job.filter), "regions": open_store(job.regions).maker}
    return facts


def _differences(then: dict[str, Any], now: dict[str, Any], names: list[str]) -> str:
    """What differs, as far as it goes into a sentence: `image_px 224, now asked for 448`."""
    texts = []
    for name in names:
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
            texts.append(_differences(before, after, inner))
        elif (before is None or after is None) and isinstance(before or after, dict):
            texts.append(
                f"{'no ' if before is None else ''}{name}, now asked for {'none' if after is None else 'some'}"
            )
        else:
            texts.append(f"{name} {before}, now asked for {after}")
    return "; ".join(texts)


def _refuse_missing(refs: Sequence[SceneRef], store: PartsFolder) -> None:
    known = {image_id for _, rows in store.parts(["image_id"]) for image_id in rows["image_id"].to_pylist()}
    missing = [ref.image_id for ref in refs if ref.image_id not in known]
    if missing:
        raise PartsError(
            f"{len(missing)} scenes have no row in the region store {store.path}: {name_some(missing)}; "
            f"run samclr segment on the same scenes with --out {store.path}"
        )


@dataclass(kw_only=True)
class EmbedWork:
    """Makes one part of a folder of vectors: reads ahead while the backbone works.

    On a CPU each scene goes through the backbone alone, so that its vectors do not depend on its neighbours.
    """

    job: EmbedJob
    fingerprint: str
    tally: Tally = field(default_factory=dict)
    part_columns: tuple[str, ...] = ("status", "num_regions")

    def fault_of(self, path: Path, rows: pa.Table) -> str | None:
        """What is wrong with a part's vectors, if anything is."""
        return fault_of_rows(path, rows)

    def keep_only(self, companion: Path, image_ids: set[str]) -> None:
        """Leave other images out of a part's vectors."""
        keep_rows(companion, image_ids)

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        device = choose_device(self.job.device)
        _checked(self.job, self.fingerprint)
        regions = _regions_of(self.job.regions, refs) if self.job.regions is not None else {}

        def work(waiting: list[tuple[Row, Scene]]) -> None:
            self._embed(waiting, regions, device)

        rows = work_through(refs, self._read, work, 1 if device.type == "cpu" else SCENES_PER_CALL)
        write_rows(companion, [row.pop("vectors") for row in rows if row["status"] == OK])
        return pa.Table.from_pylist(rows, schema=IMAGES_SCHEMA)

    def _read(self, ref: SceneRef) -> tuple[Row, Scene | None]:
        row = unread_row(ref) | {"num_regions": 0}
        try:
            scene = load_scene(ref)
        except DecodeError as error:
            return row | {"status": str(error)}, None
        height, width = scene.pixels.shape[:2]
        return row | {"content_hash": scene.content_hash, "height": height, "width": width}, scene

    def _embed(
        self,
        waiting: list[tuple[Row, Scene]],
        regions: dict[str, ImageRegions | SegmentError],
        device: torch.device,
    ) -> None:
        """Put the vectors, or why there are none, into the scenes' rows."""
        ready: list[tuple[Row, Item]] = []
        for row, scene in waiting:
            found = regions.get(scene.image_id) if self.job.regions is not None else None
            if fault := _fault_of_regions(scene, found, self.job.regions):
                row["status"] = fault
                continue
            assert not isinstance(found, SegmentError)
            kept = [] if found is None else sorted(coarsest(found, self.job.filter))
            ready.append((row, (scene, found, kept)))
        for (row, (scene, found, numbers)), vectors in zip(ready, self._vectors(ready, device), strict=True):
            if isinstance(vectors, str):
                row["status"] = vectors
                continue
            regions_kept = [] if found is None else [found.regions[number] for number in numbers]
            boxes = np.array([region.box_xyxy for region in regions_kept], np.int32).reshape(-1, 4)
            areas, size_hw = [region.area_px for region in regions_kept], (row["height"], row["width"])
            rows = image_rows(scene.image_id, size_hw, vectors, numbers, boxes, areas, self.job.config.dtype)
            row |= {"status": OK, "num_regions": len(numbers), "vectors": rows}
            counted = {} if found is None else {"regions": float(len(numbers))}
            add_tally(self.tally, {"images": 1, MORE_PAGES: float(scene.has_more_pages), **counted})

    def _vectors(self, ready: list[tuple[Row, Item]], device: torch.device) -> list[Float[np.ndarray, "_ d"] | str]:
        """Vectors of each, or why there are none: a fault of one scene is that scene's alone."""
        (target, config), items = _checked(self.job, self.fingerprint), [item for _, item in ready]
        if not items:
            return []
        try:
            if config.regions_by == "crop":
                found = crop_vectors(target.backbone, items, config, self.job.filter, device)
            else:
                found = pooled_vectors(target.backbone, items, config, device)
        except RegionError as error:
            if len(items) == 1:
                return [str(error)]
            return [answer for one in ready for answer in self._vectors([one], device)]
        return [
            _fault_of_vectors(vectors, numbers, config) or vectors
            for vectors, (_, _, numbers) in zip(found, items, strict=True)
        ]


def _fault_of_regions(scene: Scene, found: ImageRegions | SegmentError | None, store: Path | None) -> str | None:
    if isinstance(found, SegmentError):
        return f"its regions: {found.message}"
    if store is None:
        return None
    if found is None:
        return f"it is no longer in the region store {store}"
    if found.content_hash != scene.content_hash or (found.height, found.width) != scene.pixels.shape[:2]:
        return "it was replaced since it was segmented; run samclr segment with --replace-changed"
    return None


def _fault_of_vectors(vectors: Float[np.ndarray, "_ d"], numbers: Sequence[int], config: EmbedConfig) -> str | None:
    """Zero has no direction, and what is not finite no place: as they are kept, in float16 for instance."""
    with np.errstate(over="ignore"):  # what float16 cannot hold is infinite, and named
        lengths = np.linalg.norm(vectors.astype(config.dtype).astype(np.float64), axis=1)
    odd = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(odd) == 0:
        return None
    of = "the image" if odd[0] == 0 else f"region {numbers[odd[0] - 1]}"
    what = "zero" if lengths[odd[0]] == 0 else "not finite"
    hint = f"; {option_of('dtype')} float32 holds more" if np.isfinite(vectors).all() and vectors[odd[0]].any() else ""
    return f"the vector of {of} is {what}{f' in {config.dtype}' if hint else ''}{hint}"


def _regions_of(path: Path, refs: list[SceneRef]) -> dict[str, ImageRegions | SegmentError]:
    """What the store has of some scenes; each of its buckets is read once."""
    store = open_store(path)
    places = _places(path) if may_lie_elsewhere(store, refs) else {}
    buckets: dict[int, set[str]] = {}
    for ref in refs:
        bucket = places.get(ref.image_id)
        buckets.setdefault(store.bucket_of(ref.locality_key) if bucket is None else bucket, set()).add(ref.image_id)
    found: dict[str, ImageRegions | SegmentError] = {}
    for bucket, wanted in buckets.items():
        found |= _read(store, bucket, wanted)
    return found


def _read(store: PartsFolder, bucket: int, wanted: set[str]) -> dict[str, ImageRegions | SegmentError]:
    if not store.part_paths(bucket):
        return {}
    rows = read_bucket(store, bucket)
    rows = rows.filter(pa.array([image_id in wanted for image_id in rows["image_id"].to_pylist()], pa.bool_()))
    return {row["image_id"]: read_regions(row) for row in rows.to_pylist()}


@lru_cache(maxsize=1)
def _places(path: Path) -> dict[str, int]:
    """As PartsFolder.places, read once a process: every scene has its row when the job begins, and it stays there."""
    return open_store(path).places()
