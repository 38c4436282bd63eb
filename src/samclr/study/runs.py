"""Execute one run of a study, or make one region store, in this process. Both resume where a killed one stopped."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from samclr.config.pretrain import PretrainConfig
from samclr.config.segmenters import segmenter_spec
from samclr.config.serialise import fingerprint
from samclr.datasets.sources import list_scenes
from samclr.errors import RegionError, SamclrError, UsageError, name_some
from samclr.models.devices import choose_device
from samclr.models.resolve import resolve_config
from samclr.regions.segment import segment_scenes
from samclr.regions.segmenters.create import default_workers
from samclr.regions.store import open_store, store_stats
from samclr.runs.directory import open_run, read_metrics
from samclr.runs.results import Result
from samclr.scenes.fill import FillOptions
from samclr.scenes.refs import SceneRef
from samclr.study.folder import StudyFolder, store_of
from samclr.study.measure import check_measurements, measure
from samclr.study.plan import Plan, Run, Store
from samclr.study.same_data import refuse_other_images, refuse_other_set
from samclr.training.pretrain import pretrain

LOOK_S = 1.0
FAULTS = (SamclrError, OSError, RuntimeError, ValueError, ArithmeticError, ImportError)  # of a run, not of the study
Outcome = Literal["done", "failed", "missing", "stopped", "busy"]


def carry_out(folder: StudyFolder, plan: Plan, run: Run) -> Outcome:
    """Segment if needed, train, measure. A fault becomes the run's error and its outcome; it is not raised."""
    if folder.is_locked(run.name):  # perhaps by `study status` alone, which looks for a moment
        time.sleep(LOOK_S)
    with folder.lock(run.name) as locked:
        if not locked:
            return "busy"
        if folder.is_done(plan, run):
            return "done"
        if run.arm.missing:
            return "missing"
        torch.set_num_threads(plan.num_threads)
        folder.update_state(run.name, error=None, unavailable=False)
        try:
            _check(folder, plan, run)
        except FAULTS as error:
            folder.update_state(run.name, error=_sentence(error))
            return "failed"
        store = store_of(plan, run.arm)
        if store is not None and make_store(folder, plan, store) != "done":
            fault = folder.state(store.name).get("error")
            folder.update_state(run.name, error=fault, unavailable=folder.state(store.name).get("unavailable"))
            return "missing" if folder.state(store.name).get("unavailable") else "failed"
        try:
            if not _train(folder, plan, run):
                return "stopped"
            _measure(folder, plan, run)
        except FAULTS as error:
            folder.update_state(run.name, error=_sentence(error))
            return "failed"
        return "done"


def _check(folder: StudyFolder, plan: Plan, run: Run) -> None:
    """Raise SamclrError, before any work, if the run's backbone takes no such views, or what it will be measured on
    does not suit it."""
    config = resolve_config(run.config(folder.stores), tell=False)
    missing = folder.missing_measurements(plan, run)
    if not folder.state(run.name).get("trained"):  # else measuring comes next, and says it
        check_measurements(config, [one for one in plan.measurements_of(run.arm) if one.key in missing], plan)


def _train(folder: StudyFolder, plan: Plan, run: Run) -> bool:
    """Train to the last step and note the time; False if a signal stopped it."""
    if folder.state(run.name).get("trained"):
        return True
    config, directory = _with_threads(run.config(folder.stores), plan.num_threads), folder.run_directory(run)
    facts: dict[str, Any] = {"device": device_name(config), "threads": plan.num_threads}
    if run.arm.strategy == "untrained":
        open_run(directory, resolve_config(config, tell=False))
        folder.update_state(run.name, trained=True, train_s=0.0, **facts)
        return True
    result = pretrain(config, directory, check=partial(refuse_other_images, folder, plan, run))
    if result.stopped:
        return False
    folder.update_state(run.name, trained=True, train_s=train_seconds(directory, config), **facts)
    return True


def _measure(folder: StudyFolder, plan: Plan, run: Run) -> None:
    missing = folder.missing_measurements(plan, run)
    for measurement in plan.measurements_of(run.arm):
        if measurement.key not in missing:
            continue
        start = time.perf_counter()
        untrained = run.arm.strategy == "untrained"
        row = measure(folder.run_directory(run), run.config(folder.stores), measurement, plan, untrained)
        refuse_other_set(folder, plan, run, measurement, [Result.from_dict(one) for one in row["results"]])
        row["measure_s"] = time.perf_counter() - start
        folder.update_state(run.name, measured=folder.state(run.name).get("measured", {}) | {measurement.key: row})


def make_store(folder: StudyFolder, plan: Plan, store: Store) -> Outcome:
    """Segment the scenes of a store. Several processes may do so at a time; each returns when all rows are there."""
    scenes = dict(plan.scenes)[store.scenes]
    try:
        refs = list_scenes(scenes, dict(plan.image_columns).get(store.scenes))
        made_of = _made_of(plan, store, refs)
        if folder.state(store.name).get("made_of") == made_of:
            return "done"
        with folder.lock(store.name, wait=True):
            folder.update_state(store.name, error=None, unavailable=False)  # begun, also while a model is loaded
        workers = min(plan.num_threads, default_workers(store.segmenter) or plan.num_threads)
        made, report = segment_scenes(
            refs, store.segmenter, folder.stores / store.name, FillOptions(num_workers=workers)
        )
        if len(report.errors) == len(refs):
            first = next(iter(report.errors.items()))
            raise RegionError(f"none of the {len(refs)} scenes could be segmented: {name_some([': '.join(first)])}")
        stats = store_stats(made)
    except (SamclrError, OSError, RuntimeError, ValueError, ImportError) as error:
        with folder.lock(store.name, wait=True):
            # A segmenter that cannot be had is no fault of the run: the page shows the arm as missing.
            folder.update_state(store.name, error=_sentence(error), unavailable=isinstance(error, UsageError))
        return "failed"
    facts = {"device": store_device(store), "threads": plan.num_threads // workers if workers > 1 else plan.num_threads}
    with folder.lock(store.name, wait=True):
        folder.update_state(
            store.name,
            error=None,
            unavailable=False,
            images=len(refs),
            made_of=made_of,
            failed_images=len(report.errors),
            regions=stats["num_regions"],
            segment_s=segment_seconds(folder.stores / store.name),
            **facts,
        )
    return "done"


def _made_of(plan: Plan, store: Store, refs: Sequence[SceneRef]) -> str:
    """Changes with the scenes and where they and their label maps lie: then the store's rows are looked at again."""
    places = [*dict(plan.scenes)[store.scenes], dict(plan.labels).get(store.scenes)]
    return fingerprint([list(map(str, places)), [ref.image_id for ref in refs]])


def segment_seconds(store: Path) -> float:
    """Seconds that the segmenter took for all images, whoever ran it."""
    seconds = open_store(store).read(["image_id", "segment_s"])["segment_s"].to_pylist()
    return float(sum(value or 0.0 for value in seconds))


def train_seconds(run: Path, config: PretrainConfig) -> float:
    """Seconds of all steps, each counted once, waiting for data included; not what a killed process lost."""
    return sum(config.views_per_step() / row["views_per_s"] for row in read_metrics(run) if row.get("views_per_s"))


def device_name(config: PretrainConfig) -> str:
    """The kind of device that a run is executed on."""
    return choose_device(config.runtime.device).type


def store_device(store: Store) -> str:
    """What the segmenter ran on."""
    return choose_device(segmenter_spec(store.segmenter.segmenter).device(store.segmenter.options)).type


def _with_threads(config: PretrainConfig, num_threads: int) -> PretrainConfig:
    os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))
    return replace(config, runtime=replace(config.runtime, num_threads=num_threads, workers=num_threads))


def _sentence(error: Exception) -> str:
    if isinstance(error, SamclrError):
        return str(error)
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"
