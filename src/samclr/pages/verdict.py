"""The report's first sentence: what the runs are worth, beside each other and beside no training.

It is made from typed results. What is missing is said, with the command that adds it.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from samclr.config.evaluation import IntervalConfig
from samclr.config.flags import flags
from samclr.config.kinds import KINDS
from samclr.config.pretrain import PretrainConfig
from samclr.config.protocols import EvaluationData, Shown
from samclr.config.registry import PROTOCOLS
from samclr.config.serialise import fingerprint, from_dict
from samclr.datasets.catalogue import DATASETS
from samclr.errors import name_some
from samclr.pages.measured import (
    Measured,
    Scored,
    difference,
    main_scores,
    mean_interval,
    measured_by,
    newest,
    scored,
)
from samclr.runs.directory import SUMMARY_FILE, read_json
from samclr.runs.results import Result, RunResult

VIEWS = {"image": "image views", "region": "region views", "random-box": "random boxes"}
MAX_OTHERS = 3  # groups that a sentence names; the tables have all
FLOOR = "the untrained backbone"
BEGINNING = "its start"


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What the verdict lacks, and the command that adds it."""

    text: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Sentences, the most important first, and what they lack."""

    sentences: tuple[str, ...]
    missing: tuple[Missing, ...]

    @property
    def compares(self) -> bool:
        """Whether a sentence holds a difference."""
        return any(" points " in sentence for sentence in self.sentences)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs on the same data that differ in the seed alone, and what was found of the weights that they have now."""

    label: str
    runs: tuple[Path, ...]
    config: PretrainConfig
    found: tuple[Measured, ...]


def make_verdict(configs: Mapping[Path, PretrainConfig], results: Mapping[Path, Sequence[RunResult]]) -> Verdict:
    """The verdict on the first runs with region views, else on the first. results: as `results_of_run` gives them."""
    groups = _groups(configs, results)
    subject = next((group for group in groups if group.config.views.strategy == "region"), groups[0])
    others = [group for group in groups if group is not subject][:MAX_OTHERS]
    floors = [
        measured_by(run, configs[run], one.result)
        for run, found in results.items()
        for one in found
        if one.is_own and one.result.untrained
    ]
    starts = [
        Measured(run=run, seed=configs[run].seed, result=one.result)
        for run in subject.runs
        for one in results[run]
        if one.is_start
    ]
    sentences, missing = [], []
    for on in dict.fromkeys(one.result.on for one in subject.found):
        is_first = True
        for spec, shown in main_scores():
            like = newest(subject.found, on, spec, shown)
            if like is None:
                continue
            ours = scored(subject.label, subject.found, shown, like)
            beside = [scored(group.label, group.found, shown, like) for group in others]
            floor = scored(FLOOR, floors, shown, like)
            start = scored(BEGINNING, starts, shown, like)
            sentences.append(_sentence(ours, [start, *beside, floor], like, shown))
            if is_first:  # one command measures all protocols
                pairs = [*zip(others, beside, strict=True)]
                missing += [_unmeasured(group, like) for group, one in pairs if not one.values]
                if subject.config.model.pretrained is not None:
                    missing += [] if start.values else [_no_start(subject, like)]
                elif not floor.values:
                    missing.append(_no_floor(subject, like))
            is_first = False
    if not sentences:
        missing.append(_nothing(subject, results))
    if subject.config.views.strategy == "region" and not any(g.config.views.strategy == "image" for g in groups):
        missing.append(_no_image_views(subject))
    return Verdict(sentences=tuple(sentences), missing=tuple(missing))


def _groups(configs: Mapping[Path, PretrainConfig], results: Mapping[Path, Sequence[RunResult]]) -> list[Group]:
    alike: dict[tuple[str, int], list[Path]] = {}
    seen: Counter[tuple[str, int]] = Counter()
    for run, config in configs.items():
        settings = {name: value for name, value in config.settings().items() if name != "seed"}
        key = fingerprint([settings, _data_of(run, config)])
        again = seen[key, config.seed]  # a second run of the same seed is no further seed
        alike.setdefault((key, again), []).append(run)
        seen[key, config.seed] += 1
    names = run_names(list(configs))
    labels = [VIEWS[configs[runs[0]].views.strategy] for runs in alike.values()]
    groups = []
    for runs, label in zip(alike.values(), labels, strict=True):
        several = f" ({name_some([names[run] for run in runs], 2)})" if labels.count(label) > 1 else ""
        found = [
            replace(measured_by(run, configs[run], one.result), seed=configs[run].seed)
            for run in runs
            for one in results[run]
            if one.is_own and one.is_current and not one.result.untrained
        ]
        groups.append(Group(label=label + several, runs=tuple(runs), config=configs[runs[0]], found=tuple(found)))
    return groups


def _data_of(run: Path, config: PretrainConfig) -> Any:
    """The images and regions that a run is trained on: by their fingerprint, before there is one by their places."""
    found = read_json(run / SUMMARY_FILE, {}).get("data_fingerprint")
    return found or [str(one) for one in (*config.data.scenes, config.data.regions, config.data.exclude)]


def run_names(runs: Sequence[Path]) -> dict[Path, str]:
    """Names of run directories, with as many of the folders above as tell them apart."""
    parts = {run: run.resolve().parts for run in runs}
    names: dict[Path, str] = {}
    for run, own in parts.items():
        others = [other for other in parts.values() if other != own]
        length = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
        names[run] = "/".join(own[-length:])
    return names


# ---- in words ----


def _sentence(ours: Scored, others: Sequence[Scored], like: Result, shown: Shown) -> str:
    """Region views: 89.5% kNN on digits (95% interval 86.2 to 92.5; 400 test images), 1.5 points over ..."""
    interval = mean_interval(ours, like, shown)
    facts = [] if interval is None else [f"95% interval {_span(interval)}"]
    if len(ours.values) > 1:
        values = sorted(ours.values.values())
        facts.insert(0, f"mean of {len(values)} seeds, {_span((values[0], values[-1]))} by seed")
    facts.append(f"{like.scores[shown.measure].n:,} test images")
    compared = [_compared(ours, one, like) for one in others if one.values]
    title, _, more = shown.title.partition(", ")
    title += f" ({more})" if more else ""  # mIoU (linear)
    text = f"{_capital(ours.label)}: {ours.mean:.1%} {title} on {like.on} ({'; '.join(facts)})"
    return f"{', '.join([text, *compared])}."


def _compared(ours: Scored, theirs: Scored, like: Result) -> str:
    gap, interval, common = difference(ours, theirs, like)
    sign = -1 if gap < 0 else 1
    notes = []
    if interval is not None:
        low, high = sorted(sign * end for end in interval)
        notes.append(_span((low, high)))
        if low <= 0 <= high:
            notes.append("not told apart")
    if not common:
        notes.append("other seeds")
    elif len(common) < len(ours.values):
        notes.append(f"seed{'s' if len(common) > 1 else ''} {', '.join(map(str, common))}")
    noted = f" ({', '.join(notes)})" if notes else ""
    return f"{100 * abs(gap):.1f} points {'under' if sign < 0 else 'over'} {theirs.label}{noted}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _span(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


# ---- what is missing ----


def _no_floor(group: Group, like: Result) -> Missing:
    return Missing(
        text=f"No untrained floor was measured on {like.on}, so what training adds is unknown. Add it by",
        command=_evaluate(group, like, "--untrained"),
    )


def _no_start(group: Group, like: Result) -> Missing:
    return Missing(
        text=f"The weights that it began with were not measured on {like.on}, so what it gained or forgot is unknown. "
        "Add them by",
        command=_evaluate(group, like, "--which", "start"),
    )


def _unmeasured(group: Group, like: Result) -> Missing:
    return Missing(
        text=f"{_capital(group.label)} were not measured on {like.on} in the same way. Add them by",
        command=_evaluate(group, like),
    )


def _nothing(group: Group, results: Mapping[Path, Sequence[RunResult]]) -> Missing:
    past = any(one.is_own and not one.is_current for run in group.runs for one in results[run])
    text = "Only earlier weights have been measured" if past else "No backbone has been measured yet"
    return Missing(text=f"{text}. Measure by", command=_line("evaluate", str(group.runs[0]), "--on", "SET"))


def _no_image_views(group: Group) -> Missing:
    run = group.runs[0]
    other = str(run.with_name(f"{run.resolve().name}-image"))
    train = _line("pretrain", "from-config", str(run / "config.json"), "--strategy", "image", "--out", other)
    return Missing(
        text="No run with image views is in this report, so what regions add is unknown. Train one as below, "
        "measure it, and name it after this run in samclr report",
        command=train,
    )


def _evaluate(group: Group, like: Result, *more: str) -> str:
    """The command that measures a group's first run as `like` was."""
    settings, spec = like.settings, PROTOCOLS[like.protocol]
    words = [
        word for kind in (EvaluationData, IntervalConfig, spec.config) for word in flags(_of(kind, settings), kind())
    ]
    on = like.on if like.on.partition(":")[0] in DATASETS else f"PATH/{like.on}"
    return _line("evaluate", str(group.runs[0]), *more, KINDS[like.kind].option, on, *words)


def _of(kind: Any, settings: Mapping[str, Any]) -> Any:
    """Settings of this kind; a result has one of several values where each has a result of its own."""
    several = {one.name: isinstance(one.default, tuple) for one in fields(kind)}
    given = {name: value for name, value in settings.items() if name in several}
    return from_dict(kind, {n: [v] if several[n] and not isinstance(v, list) else v for n, v in given.items()})


def _line(*words: str) -> str:
    return shlex.join(["samclr", *words])
