"""A study's folder: the plan in study.json, a run directory and a state for each run, stores, logs and locks.

study.json        the plan and the version that made it
runs/RUN/         run directories
states/NAME.json  what a run, or a region store, has come to
stores/STORE/     region stores
logs/NAME.log     what the process said
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from samclr._version import __version__
from samclr.config.protocols import protocols_of
from samclr.config.serialise import from_dict, to_dict
from samclr.errors import ConfigError, RunError
from samclr.log import say
from samclr.runs.directory import SUMMARY_FILE, differences
from samclr.runs.results import Result
from samclr.runs.saved import checkpoints, has_checkpoint, read_config
from samclr.storage.files import read_json, write_json
from samclr.storage.locks import locked
from samclr.study.plan import Arm, Measurement, Plan, Run, Store

STUDY_FILE = "study.json"
FORMAT = 2  # 1, of samclr 0.1, had a setting for each protocol, and states without typed results
OWN_FOLDERS = ("data", "locks", "logs", "runs", "states", "stores")
AGAIN = "restore it, or remove it and give the command that began the study again, with the same --out"
Stage = Literal["done", "running", "failed", "waiting", "missing"]


@dataclass(frozen=True, kw_only=True)
class StudyFolder:
    """The places in a study's folder, and what they hold."""

    path: Path

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def stores(self) -> Path:
        return self.path / "stores"

    def run_directory(self, run: Run) -> Path:
        return self.runs / run.name

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def state(self, name: str) -> dict[str, Any]:
        """What a run or store has come to; empty before its first start."""
        state: dict[str, Any] = read_json(self.path / "states" / f"{name}.json", {}, AGAIN)
        return state

    def update_state(self, name: str, **values: Any) -> None:
        """Change some of a state's values in one move; the caller holds its lock."""
        write_json(self.path / "states" / f"{name}.json", self.state(name) | values, sealed=True)

    @contextmanager
    def lock(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Lock a run or the plan; yields whether this process has it. The lock ends with its process."""
        with locked(self.path / "locks" / name, wait) as has_it:
            yield has_it

    def is_locked(self, name: str) -> bool:
        """Whether a process has this run, or the plan, under way."""
        with self.lock(name) as free:
            return not free

    def has_begun(self, plan: Plan) -> bool:
        """Whether a run or a store has left something, or a process has a run under way."""
        places = [place for place in (self.runs, self.stores, self.path / "states") if place.is_dir()]
        return any(any(place.iterdir()) for place in places) or any(self.is_locked(run.name) for run in plan.runs())

    def missing_measurements(self, plan: Plan, run: Run) -> list[str]:
        """Keys of the evaluations that the run lacks still."""
        measured = self.state(run.name).get("measured", {})
        return [m.key for m in plan.measurements_of(run.arm) if m.key not in measured]

    def results(self, run: Run, measurement: Measurement) -> list[Result]:
        """What was found of a run on one set; empty where it was not measured yet."""
        measured = self.state(run.name).get("measured", {}).get(measurement.key, {})
        return [Result.from_dict(row) for row in measured.get("results", [])]

    def stage(self, plan: Plan, run: Run) -> Stage:
        """The state of a run."""
        if self.is_done(plan, run):
            return "done"
        if run.arm.missing:
            return "missing"
        if self.is_locked(run.name):
            return "running"
        state = self.state(run.name)
        if state.get("unavailable"):
            return "missing"
        return "failed" if state.get("error") else "waiting"

    def is_done(self, plan: Plan, run: Run) -> bool:
        """Trained and measured on every set."""
        return bool(self.state(run.name).get("trained")) and not self.missing_measurements(plan, run)

    def steps_done(self, run: Run) -> int:
        """Steps trained, as far as a checkpoint or the metrics tell."""
        directory = self.run_directory(run)
        if not has_checkpoint(directory):
            return 0
        summary = read_json(directory / SUMMARY_FILE, {})
        return int(summary.get("steps_done", int(checkpoints(directory)[0].stem.split("-")[1])))

    def reason(self, run: Run) -> str:
        """Why a run failed or is missing."""
        return run.arm.missing or str(self.state(run.name).get("error") or "")


def open_study(path: Path) -> tuple[StudyFolder, Plan]:
    """Open a folder for reading.

    Raises:
        RunError: the folder holds no study, or one of another format.
    """
    saved = read_json(path / STUDY_FILE, {}, AGAIN)
    if not saved:
        raise RunError(f"{path} holds no study: it has no {STUDY_FILE}; name what `samclr study run NAME --out` made")
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise RunError(_of_another_version(path, saved))
    try:
        plan: Plan = from_dict(Plan, saved["plan"], "plan")
    except (ConfigError, KeyError) as error:
        raise RunError(f"{_of_another_version(path, saved)} ({error})") from None
    return StudyFolder(path=path), plan


def begin_study(path: Path, plan: Plan) -> tuple[StudyFolder, Plan]:
    """Begin a study's folder or continue in it: what the new plan adds (seeds, scenes, sets) is taken in.

    Raises:
        RunError: the folder holds something else, or a study of another version, or with other settings.
    """
    folder = StudyFolder(path=path)
    if not (path / STUDY_FILE).exists() and path.exists() and not _may_begin(path) and not (path / STUDY_FILE).exists():
        raise RunError(f"{path} exists and holds no study; name a new or empty folder with --out")
    with folder.lock("plan", wait=True):
        if (path / STUDY_FILE).exists():
            _, before = open_study(path)
            saved = read_json(path / STUDY_FILE, {}, AGAIN)
            if saved.get("samclr") != __version__:
                raise RunError(_of_another_version(path, saved))
            plan = _extended(folder, before, plan)
        write_json(path / STUDY_FILE, {"format": FORMAT, "samclr": __version__, "plan": to_dict(plan)}, sealed=True)
    for run in plan.runs():
        check_run_directory(folder.run_directory(run), run, folder.stores)
    return folder, plan


def merge(path: Path, old: Plan, new: Plan) -> Plan:
    """The old plan with what the new one adds. Raises RunError if the two differ in a setting of what both have."""
    old_settings, new_settings = _settings(old), _settings(new)
    shared = set(old_settings) & set(new_settings)
    differing = differences({k: old_settings[k] for k in shared}, {k: new_settings[k] for k in shared})
    if old.study != new.study or differing:
        first = [f"the study was {old.study!r}, now {new.study!r}"] if old.study != new.study else differing[:3]
        raise RunError(
            f"{path} holds a study with other settings: {'; '.join(first)}; "
            f"name another --out, or give the settings it was started with"
        )
    arms = {arm.name: arm for arm in old.arms}
    for arm in new.arms:
        known = arms.get(arm.name)
        arms[arm.name] = arm if known is None or known.missing or not arm.missing else known
    measured = {m.key: m for m in old.measurements} | {m.key: m for m in new.measurements}
    return replace(
        new,
        arms=tuple(arms.values()),
        seeds=tuple(dict.fromkeys((*old.seeds, *new.seeds))),
        stores=tuple(({s.name: s for s in old.stores} | {s.name: s for s in new.stores}).values()),
        measurements=tuple(measured.values()),
        num_threads=old.num_threads,
    )


def _extended(folder: StudyFolder, before: Plan, plan: Plan) -> Plan:
    """As `merge`; but a plan of which nothing has begun, as `--list` leaves it, gives way to one that differs."""
    try:
        return merge(folder.path, before, plan)
    except RunError:
        if before.study != plan.study or folder.has_begun(before):
            raise
    say(f"{folder.path}: nothing of the study had begun; it is planned anew, with the settings given now")
    return plan


def check_run_directory(directory: Path, run: Run, stores: Path) -> None:
    """Raise RunError, in one sentence, if the run directory is of another version or has other settings."""
    saved = read_json(directory / "config.json", {}, f"restore it, or remove {directory}: the run is then redone")
    if not saved:
        return
    version = saved.get("samclr")
    if version != __version__:
        raise RunError(_of_another_version(directory, saved))
    try:
        begun = read_config(saved)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError):
        raise RunError(_of_another_version(directory, saved)) from None
    from samclr.models.resolve import resolve_config  # here, as it needs timm

    old, new = (to_dict(resolve_config(config, tell=False)) for config in (begun, run.config(stores)))
    differing = differences(old, new, ignore=("runtime", "evaluation", "knn", "data"))
    if differing:
        raise RunError(
            f"{directory} holds a run with other settings: {'; '.join(differing[:3])}; "
            f"move it away, or name another --out"
        )


def store_of(plan: Plan, arm: Arm) -> Store | None:
    """The region store that an arm reads."""
    return next((store for store in plan.stores if store.name == arm.store), None)


def _settings(plan: Plan) -> dict[str, Any]:
    """What must not change while a study continues: arms that can run, and how they are measured."""
    settings: dict[str, Any] = {
        arm.name: arm.config.settings() | {"region store": arm.store} for arm in plan.arms if not arm.missing
    }
    measuring: dict[str, Any] = {"data": plan.measuring.data, "interval": plan.measuring.interval}
    measuring |= {spec.name: plan.measuring.of(spec.name) for spec in protocols_of()}
    columns = dict(plan.image_columns)
    settings |= {f"image column of {name}": columns.get(name) for name, _ in plan.scenes}
    return settings | {name: to_dict(config) for name, config in measuring.items()}


def _may_begin(path: Path) -> bool:
    """Whether a folder holds nothing but parts of a study, whose plan may have been damaged and removed."""
    return path.is_dir() and all(entry.name in OWN_FOLDERS or entry.suffix == ".tmp" for entry in path.iterdir())


def _of_another_version(path: Path, saved: Any) -> str:
    version = saved.get("samclr", "an unknown version") if isinstance(saved, dict) else "an unknown version"
    if version == __version__:
        return f"{path} does not fit this samclr {version}: it was changed by hand or is damaged; name a new --out"
    return (
        f"{path} was written by samclr {version}, this is {__version__}; results of two versions are not put in "
        f"one table: name a new --out, or continue with samclr {version}"
    )
