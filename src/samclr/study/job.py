"""The job `samclr study`: plan, execute, write the tables and the page."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from samclr.config.kinds import KINDS, Kind
from samclr.config.registry import resolve
from samclr.datasets.sources import list_scenes
from samclr.demo.data import make_data
from samclr.demo.protocol_sets import make_sets
from samclr.errors import UsageError, name_some
from samclr.study.engine import Tally, carry_out_all, local_slots
from samclr.study.folder import STUDY_FILE, StudyFolder, begin_study, open_study
from samclr.study.plan import GENERATED, Given, Plan, Run, matches
from samclr.study.planning import make_plan, with_paths_of
from samclr.study.recipe import Study
from samclr.study.runs import Outcome, carry_out
from samclr.study.same_data import refuse_other_files

Engine = Literal["local", "ray"]


def plan_study(study: Study, source: str, out: Path, given: Given, parallel: int | None) -> tuple[StudyFolder, Plan]:
    """Begin the folder `out`, or continue in it. Paths, weights, steps and seeds that the command leaves out are those
    of the time before.

    Raises:
        UsageError: the study lacks what it needs, or has no arm of a name in `given.only`.
        RunError: as begin_study; or a name that was used already means other files now.
        ScenesError: scenes that do not exist.
        EvaluationError: a set cannot be opened that a run which the command means is still to be measured on.
    """
    if study.generated:
        given = _with_generated(study, out, given)
    before = open_study(out) if (out / STUDY_FILE).exists() else None
    if before is not None:
        given = with_paths_of(given, before[1])
    for name, paths in given.scenes.items():
        if not any(path.is_relative_to(out.absolute()) for path in paths):
            list_scenes(paths, given.image_columns.get(name))
    for grid in study.grids:
        for name in grid.segmenters:
            study.segmenter(name)  # refuses a name that means none
    num_arms = sum(len(grid.strategies) * len(grid.segmenters) for grid in study.grids)
    slots = local_slots(parallel, None, num_arms * len(study.seeds), study.device)
    plan = make_plan(study, source, given, slots.num_threads)
    if before is not None:
        refuse_other_files(*before, plan)
    _open_sets(StudyFolder(path=out), plan, select_runs(plan, given))
    return begin_study(out, plan)


def _open_sets(folder: StudyFolder, plan: Plan, runs: list[Run]) -> None:
    """See that the sets are there which runs are still to be measured on: each run would train and then end in this."""
    due = {key for run in runs if not run.arm.missing for key in folder.missing_measurements(plan, run)}
    for one in plan.measurements:
        if one.key in due and one.path is not None and not one.path.is_relative_to(folder.path.absolute()):
            resolve(KINDS[one.kind].opens)(one.path)


def select_runs(plan: Plan, given: Given) -> list[Run]:
    """The runs that the command means. Raises UsageError for an --only that names none."""
    for pattern in given.only:
        if not any(matches(run.name, pattern) for run in plan.runs()):
            arms = name_some([arm.name for arm in plan.arms], limit=12)
            raise UsageError(f"--only {pattern!r} names no arm; arms are {arms}")
    return [
        run
        for run in plan.runs()
        if (not given.only or any(matches(run.name, pattern) for pattern in given.only))
        and (given.seeds is None or run.seed in given.seeds)
    ]


def run_study(
    folder: StudyFolder,
    plan: Plan,
    runs: list[Run],
    engine: Engine,
    parallel: int | None,
    device: str,
    say: Callable[[str], None],
) -> Tally:
    """Execute the runs that are not done."""
    slots: Any
    if engine == "ray":
        from samclr.study.ray_slots import RaySlots

        slots = RaySlots(parallel, plan.num_threads)
    else:
        slots = local_slots(parallel, plan.num_threads, len(runs), device)
    say(f"{plan.study}: {len(runs)} runs, {slots.count} at a time, in {folder.path}")
    return carry_out_all(folder, plan, runs, slots, say)


def run_one(folder: StudyFolder, plan: Plan, index: int) -> tuple[Run, Outcome]:
    """Execute one run of the list in this process, as a task of a SLURM array does."""
    runs = plan.runs()
    if not 0 <= index < len(runs):
        raise UsageError(f"--index {index} names no run; {folder.path} has 0 to {len(runs) - 1}: see --list")
    os.environ.setdefault("OMP_NUM_THREADS", str(plan.num_threads))
    return runs[index], carry_out(folder, plan, runs[index])


def _with_generated(study: Study, out: Path, given: Given) -> Given:
    """Make the study's own scenes, unless they are there."""
    data = (out / f"data/{GENERATED}").absolute()
    folder = StudyFolder(path=out)
    made: dict[Kind, Path] = {}
    asked = {evaluation.kind for evaluation in study.evaluations if evaluation.set == GENERATED} - {"labelled"}
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a new or empty folder")
    if not out.exists() or not any(out.iterdir()) or (out / "data").exists() or (out / STUDY_FILE).exists():
        with folder.lock("data", wait=True):
            make_data(data, study.generated)
            made = make_sets(data / "sets") if asked else {}
    sets: dict[str, Any] = {
        KINDS[kind].setting: {GENERATED: path} | given.sets(kind) for kind, path in made.items() if kind in asked
    }
    return replace(
        given,
        scenes={GENERATED: (data / "scenes",)} | given.scenes,
        on={GENERATED: data / "digits"} | given.on,
        labels={GENERATED: data / "labels"} | given.labels,
        **sets,
    )
