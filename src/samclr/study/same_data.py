"""Results in one table are of the same images: what a name stood for when the study began it stands for until its end.

A folder that was moved is looked at again, and taken where nothing in it differs.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samclr.config.kinds import KINDS
from samclr.datasets.names import parse_named
from samclr.errors import RunError
from samclr.runs.directory import SUMMARY_FILE, read_json
from samclr.runs.results import Result
from samclr.study.folder import StudyFolder
from samclr.study.plan import Measurement, Plan, Run
from samclr.views.data import TrainingData

HELD_OUT = "images_held_out"  # of which arms may have other shares
RESTORE = "restore the former ones, or name another --out"


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """A name of the command, and the paths that it had and has."""

    flag: str
    name: str
    old: tuple[Path, ...]
    new: tuple[Path, ...]


def refuse_other_files(folder: StudyFolder, before: Plan, plan: Plan) -> None:
    """Raise RunError if a name that was used already means other files now, as far as their names and sizes tell."""
    for one in _moved(folder, before, plan):
        if len(one.old) != len(one.new) or not all(_may_be_same(*pair) for pair in zip(one.old, one.new, strict=True)):
            were, are = (" ".join(map(str, paths)) for paths in (one.old, one.new))
            raise RunError(
                f"{folder.path} has results of {one.flag} {one.name}={were}, and {are} holds other files: both would "
                f"stand in one table; give them another name than {one.name}, or name another --out"
            )


def _moved(folder: StudyFolder, before: Plan, plan: Plan) -> Iterator[_Moved]:
    """What was used already and lies elsewhere now."""
    runs, scenes, labels = before.runs(), dict(plan.scenes), dict(plan.labels)
    segmented = {store.scenes for store in before.stores if (folder.stores / store.name).exists()}
    for name, old in before.scenes:
        new = scenes.get(name, old)
        if new != old and (name in segmented or any(run.arm.scenes == name and _facts(folder, run) for run in runs)):
            yield _Moved(flag="--scenes", name=name, old=old, new=new)
    for name, path in before.labels:
        if name in segmented and labels.get(name, path) != path:
            yield _Moved(flag="--labels", name=name, old=(path,), new=(labels[name],))
    paths = {one.key: one.path for one in plan.measurements}
    for one in before.measurements:
        was, now = one.path, paths.get(one.key)
        if was is None or now is None or now == was or not any(folder.results(run, one) for run in runs):
            continue
        yield _Moved(flag=KINDS[one.kind].option, name=one.set, old=(was,), new=(now,))


def _may_be_same(old: Path, new: Path) -> bool:
    """False where two places are known to differ; what was moved away, or is not local, can be told by its images."""
    first, second = parse_named(old), parse_named(new)
    if first is not None and second is not None:
        return first[:2] == second[:2]  # the data set and its split
    if not (old.exists() and new.exists()) or old.samefile(new):
        return True
    return _sizes(old) == _sizes(new)


def _sizes(path: Path) -> dict[str, int]:
    """Of each file below a folder, hidden ones left out."""
    if path.is_file():
        return {"": path.stat().st_size}
    found = {}
    for folder, inner, files in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                file = Path(folder, name)
                found[file.relative_to(path).as_posix()] = file.stat().st_size if file.exists() else 0
    return found


def refuse_other_images(folder: StudyFolder, plan: Plan, run: Run, data: TrainingData) -> None:
    """Raise RunError, before the run is trained, if another one of the same scenes has other images or regions."""
    facts = data.facts()
    for other in plan.runs():
        if other.name == run.name or other.arm.scenes != run.arm.scenes:
            continue
        known = _facts(folder, other)
        compared = ["data_fingerprint", "masks_fingerprint"] if other.arm.name == run.arm.name else []
        if known.get("data", {}).get(HELD_OUT) == facts["data"].get(HELD_OUT):
            compared.append("scenes_fingerprint")
        if any(known.get(name, facts.get(name)) != facts.get(name) for name in compared):
            raise RunError(
                f"the scenes {run.arm.scenes} or their regions are not those that {other.name} was trained on, with "
                f"which this run stands in one table; {RESTORE}"
            )


def refuse_other_set(
    folder: StudyFolder, plan: Plan, run: Run, measurement: Measurement, results: Sequence[Result]
) -> None:
    """Raise RunError if another run's results on the set are of other images or labels."""
    now = _images(results)
    for other in plan.runs():
        known = {} if other.name == run.name else _images(folder.results(other, measurement))
        if any(known[protocol] != now[protocol] for protocol in known.keys() & now.keys()):
            raise RunError(
                f"the images or labels of {KINDS[measurement.kind].option} {measurement.set}={measurement.path} are "
                f"not those that {other.name} was measured on, with which this run stands in one table; {RESTORE}"
            )


def _images(results: Sequence[Result]) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Fingerprints of what each protocol was measured on, as far as they are known."""
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for one in results:
        if one.test_fingerprint is not None:
            marks = one.train_fingerprint or "", one.test_fingerprint
            found.setdefault((one.protocol, one.variant), set()).add(marks)
    return found


def _facts(folder: StudyFolder, run: Run) -> dict[str, Any]:
    """What is known of the images that a run is trained on; nothing before it has begun."""
    facts: dict[str, Any] = read_json(folder.run_directory(run) / SUMMARY_FILE, {})
    return facts
