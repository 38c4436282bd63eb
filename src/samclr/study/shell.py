"""The exact commands that make a run again without the study: segment, pretrain, evaluate."""

import shlex
from pathlib import Path

from samclr.config.evaluation import EvaluationConfig
from samclr.config.flags import flags
from samclr.config.kinds import KINDS
from samclr.config.model import AUTO, ModelConfig
from samclr.config.protocols import protocols_of
from samclr.config.recipes import RECIPES
from samclr.config.segmenters import SegmenterConfig
from samclr.study.folder import StudyFolder, store_of
from samclr.study.plan import Plan, Run


def commands_of(folder: StudyFolder, plan: Plan, run: Run) -> list[str]:
    """Commands that end in the same numbers, on the same kind of device with as many threads."""
    store = store_of(plan, run.arm)
    commands = []
    if store is not None:
        scenes = [str(path) for path in dict(plan.scenes)[store.scenes]]
        settings = segmenter_flags(store.segmenter)
        column = dict(plan.image_columns).get(store.scenes)
        settings += [] if column is None else ["--image-column", column]
        commands.append(_line("segment", *scenes, *settings, "--out", str(folder.stores / store.name)))
    config, again = run.config(folder.stores), str(Path("again") / run.name)
    target = [again]
    if run.arm.strategy == "untrained":
        floor = ["--which", "start"] if config.model.pretrained else ["--untrained"]
        target = [str(folder.run_directory(run)), *floor]
    else:
        base = RECIPES[config.recipe].config
        threads = ["--budget", "paper", "--num-threads", str(plan.num_threads)]
        commands.append(_line("pretrain", config.recipe, *flags(config, base), *threads, "--out", again))
    usual = EvaluationConfig()
    shared = flags(plan.measuring.interval, usual.interval)
    for kind in KINDS.values():
        measuring = (flags(plan.measuring.data, usual.data) if kind.name == "labelled" else []) + shared
        names = [spec.name for spec in protocols_of(kind.name)]
        options = [word for name in names for word in flags(plan.measuring.of(name), usual.of(name))]
        sets = [str(m.path) for m in plan.measurements_of(run.arm) if m.kind == kind.name]
        if sets:
            commands.append(_line("evaluate", *target, kind.option, *sets, *measuring, *options))
    return commands


def study_command(folder: StudyFolder, plan: Plan, *more: str) -> str:
    """The command that resumes the study, here or in another folder."""
    words = ["study", "run", plan.source, "--out", str(folder.path)]
    scenes = [f"{name}={path}" for name, paths in plan.scenes for path in paths if not _is_own(folder, path)]
    words += ["--scenes", *scenes] if scenes else []
    columns = [f"{name}={column}" for name, column in plan.image_columns]
    words += ["--image-column", *columns] if columns else []
    for kind in KINDS.values():
        sets = [
            f"{m.set}={m.path}"
            for m in plan.measurements
            if m.kind == kind.name and m.path is not None and not _is_own(folder, m.path)
        ]
        words += [kind.option, *sets] if sets else []
    labels = [f"{name}={path}" for name, path in plan.labels if not _is_own(folder, path)]
    words += ["--labels", *labels] if labels else []
    words += ["--ignore-label", *map(str, plan.ignore_label)] if plan.ignore_label else []
    words += [] if plan.start is None else flags(plan.start, ModelConfig(backbone=AUTO))
    words += [] if plan.steps is None else ["--steps", str(plan.steps)]
    words += [] if plan.stated_seeds is None else ["--seeds", *map(str, plan.stated_seeds)]
    return " ".join([_line(*words), *more])


def _is_own(folder: StudyFolder, path: Path) -> bool:
    return path.is_relative_to(folder.path.absolute())


def segmenter_flags(config: SegmenterConfig) -> list[str]:
    """The options that name a segmenter and its settings."""
    named = [] if config.segmenter == SegmenterConfig().segmenter else ["--segmenter", config.segmenter]
    return [*named, *flags(config.options, type(config.options)())]


def _line(*words: str) -> str:
    return shlex.join(["samclr", *words])
