"""From a study and what the command gives it to a plan: expand the grid, name and title its arms. Imports no torch."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from samclr.config.kinds import KINDS
from samclr.config.pretrain import PretrainConfig
from samclr.config.registry import METHODS, SEGMENTERS
from samclr.config.segmenters import SegmenterConfig, segmenter_spec
from samclr.config.serialise import fingerprint
from samclr.datasets.names import parse_named
from samclr.errors import UsageError, name_some
from samclr.storage.files import is_portable
from samclr.study.plan import UNTRAINED, Arm, Given, Measurement, Plan, Store, matches
from samclr.study.recipe import ANY, Evaluation, Grid, Study, Variant, usual_metrics

_NONE: tuple[None] = (None,)


def make_plan(study: Study, source: str, given: Given, num_threads: int) -> Plan:
    """Expand the grid. Arms without scenes or labels stay in the plan, as missing.

    Raises:
        UsageError: a name that the study does not know, or nothing that could be run or measured.
    """
    _check_names(study, given)
    _refuse_shared_folders(given.scenes)
    arms: dict[str, Arm] = {}
    stores: dict[str, Store] = {}
    for grid in study.grids:
        for scenes in _expand(grid.scenes, given.scenes, "SCENES"):
            for arm in _arms_of(study, grid, scenes, given, stores):
                arms.setdefault(arm.name, arm)
    for scenes in _expand((ANY,), given.scenes, "SCENES") if study.variants else ():
        for variant in study.variants:
            arm = _with_store(study, _of_variant(study, variant, scenes, given), given, stores)
            arms.setdefault(arm.name, arm)
    if all(arm.missing for arm in arms.values()):
        wanted = " or ".join(dict.fromkeys(f"--scenes {arm.scenes}=PATH" for arm in arms.values()))
        raise UsageError(f"study {study.name} has no scenes to train on: add {wanted}")
    measurements = _measurements(study, given)
    if all(m.path is None for m in measurements):
        wanted = " or ".join(f"{KINDS[m.kind].option} {m.set}=PATH" for m in measurements)
        raise UsageError(f"study {study.name} has no set to measure on: add {wanted}")
    titled = _with_titles(list(arms.values()))
    if study.untrained:
        titled.insert(0, _untrained(titled))
    if given.seeds is not None and len(set(given.seeds)) < len(given.seeds):
        raise UsageError(f"the seeds {' '.join(map(str, given.seeds))} name one twice; expected each once")
    return Plan(
        study=study.name,
        source=source,
        summary=study.summary,
        seeds=given.seeds or study.seeds,
        arms=tuple(titled),
        stores=tuple(stores.values()),
        measurements=tuple(measurements),
        measuring=study.measuring,
        metrics=study.metrics or usual_metrics(study.measuring),
        references=study.references,
        quoted=study.quoted,
        headline=study.headline,
        num_threads=num_threads,
        start=given.start,
        scenes=tuple(given.scenes.items()),
        image_columns=tuple(given.image_columns.items()),
        labels=tuple(given.labels.items()),
        ignore_label=given.ignore_label,
        steps=given.steps,
        own_seeds=study.seeds,
    )


def with_paths_of(given: Given, plan: Plan) -> Given:
    """What the command says, completed by what it said the last time."""
    sets: dict[str, Any] = {
        kind.setting: {m.set: _as_typed(m.path) for m in plan.measurements if m.path and m.kind == kind.name}
        | given.sets(kind.name)
        for kind in KINDS.values()
    }
    return replace(
        given,
        **sets,
        scenes=dict(plan.scenes) | given.scenes,
        image_columns=dict(plan.image_columns) | given.image_columns,
        labels=dict(plan.labels) | given.labels,
        ignore_label=given.ignore_label or plan.ignore_label,
        start=given.start or plan.start,
        steps=given.steps or plan.steps,
        seeds=given.seeds or plan.stated_seeds,
    )


def _as_typed(path: Path) -> Path:
    """A measured set without its scenes' split, which older studies hold beside every name."""
    found = parse_named(path)
    if found is None or found[2] is None or found[1] != found[0].scene_split:
        return path
    return Path(f"{found[0].name}@{found[2]}")


def _check_names(study: Study, given: Given) -> None:
    if study.continues and given.start is None:
        raise UsageError(f"study {study.name} continues trained weights; name them with --pretrained")
    if given.start is not None and not study.continues:
        raise UsageError(f"study {study.name} begins with random weights; leave out --pretrained")
    names = {name for grid in study.grids for name in grid.scenes} | ({ANY} if study.variants else set())
    known: dict[str, tuple[set[str], Iterable[str]]] = {
        "--scenes": (names, given.scenes),
    }
    for kind in KINDS.values():
        known[kind.option] = {e.set for e in study.evaluations if e.kind == kind.name}, given.sets(kind.name)
    for flag, (names, used) in known.items():
        for name in used:
            if ANY not in names and name not in names:
                expected = f"it knows {name_some(sorted(names))}" if names else "it has none"
                raise UsageError(f"study {study.name} has no {flag} named {name!r}; {expected}")
    for flag, named in (("--labels", given.labels), ("--image-column", given.image_columns)):
        for name in named:
            if name not in given.scenes:
                raise UsageError(f"{flag} {name}=... names no scenes; add --scenes {name}=PATH")


def _refuse_shared_folders(names: Iterable[str]) -> None:
    """Names of scenes begin those of runs' folders, and Windows and macOS tell no capitals apart in these."""
    plain: dict[str, str] = {}
    for name in names:
        other = plain.setdefault(name.casefold(), name)
        if other != name:
            raise UsageError(f"--scenes {other}=... and {name}=... differ in capitals alone; rename one of them")
        if not is_portable(name):
            raise UsageError(f"--scenes {name}=... would name a folder that Windows does not take; rename it")


def _expand(names: Sequence[str], given: dict[str, tuple[Path, ...]], placeholder: str) -> list[str]:
    every = list(given) or [placeholder]
    return [n for name in names for n in (every if name == ANY else [name])]


def _arms_of(study: Study, grid: Grid, scenes: str, given: Given, stores: dict[str, Store]) -> Iterator[Arm]:
    for method in grid.methods:
        for strategy in grid.strategies:
            of_image = not study.config(method, strategy, None, grid.steps).views.reads_regions
            for segmenter in _NONE if of_image else grid.segmenters:
                for temperature in grid.temperatures:
                    for padding in _NONE if of_image else grid.paddings:
                        config = study.config(method, strategy, temperature, grid.steps)
                        config = _of_steps(config, given.steps)
                        if padding is not None:
                            config = replace(config, filter=replace(config.filter, padding=padding))
                        paths, column = given.scenes.get(scenes, ()), given.image_columns.get(scenes)
                        data = replace(config.data, scenes=paths, image_column=column)
                        arm = Arm(
                            name="",
                            title="",
                            scenes=scenes,
                            method=method,
                            strategy=strategy,
                            segmenter=segmenter,
                            temperature=getattr(config.method, "temperature", None),
                            padding=None if of_image else config.filter.padding,
                            on=grid.on,
                            config=replace(config, data=data),
                        )
                        yield _with_store(study, replace(arm, name=arm_name(arm)), given, stores)


def _of_steps(config: PretrainConfig, steps: int | None) -> PretrainConfig:
    """With another budget, of which warm-ups keep their share."""
    optim = config.optim
    if steps is None or optim.steps is None:
        return config
    warmups = {name: getattr(optim, name) * steps // optim.steps for name in ("warmup_steps", "head_warmup_steps")}
    return replace(config, optim=replace(optim, steps=steps, **warmups))


def _of_variant(study: Study, variant: Variant, scenes: str, given: Given) -> Arm:
    config, start = study.measured(variant.config), given.start
    if start is not None:
        named = replace(config.model, backbone=start.backbone, pretrained=start.pretrained)
        config = replace(config, model=replace(named, mean=start.mean, std=start.std))
    config = _of_steps(config, given.steps)
    paths, column = given.scenes.get(scenes, ()), given.image_columns.get(scenes)
    data = replace(config.data, scenes=paths, image_column=column, held_out=0.0)  # all arms train on the same scenes
    return Arm(
        name=f"{scenes}.{variant.name}",
        title=variant.title,
        scenes=scenes,
        method=config.method.name,
        strategy=config.views.strategy,
        segmenter=variant.segmenter if config.views.reads_regions else None,
        temperature=None,
        padding=None,
        on=(ANY,),
        config=replace(config, data=data),
        variant=variant.name,
    )


def _with_store(study: Study, arm: Arm, given: Given, stores: dict[str, Store]) -> Arm:
    """The arm with the store that it reads, which joins `stores`, or with what is missing."""
    store = None if arm.segmenter is None else _store(study, arm.scenes, arm.segmenter, given)
    arm = replace(arm, store=store.name if store is not None else None)
    missing, adds = _missing(study, arm, given)
    if store is not None and not missing:
        stores[store.name] = store
    return replace(arm, missing=missing, adds=adds)


def arm_name(arm: Arm) -> str:
    """The arm's factors in one word, good as a file's name and for --only."""
    parts = [arm.scenes, arm.method, arm.strategy]
    if arm.segmenter is not None:
        parts.append(_slug(arm.segmenter))
    if arm.temperature is not None:
        parts.append(f"t{arm.temperature:g}")
    if arm.padding is not None:
        parts.append(f"c{arm.padding:g}")
    return ".".join(parts)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")


def _store(study: Study, scenes: str, name: str, given: Given) -> Store:
    config = study.segmenter(name)
    if segmenter_spec(config.segmenter).takes_labels:
        options: Any = config.options
        ignored = given.ignore_label or options.ignore_label
        own = {"labels": given.labels.get(scenes), "ignore_label": ignored}
        config = SegmenterConfig(segmenter=config.segmenter, options=options, **own)
    key = fingerprint(config.maker())[:8]
    return Store(name=f"{scenes}.{_slug(name)}-{key}", scenes=scenes, segmenter=config)


def _missing(study: Study, arm: Arm, given: Given) -> tuple[str, str]:
    if arm.scenes not in given.scenes:
        return f"no scenes named {arm.scenes} were given", f"--scenes {arm.scenes}=PATH"
    if arm.segmenter is None:
        return "", ""
    own = any(parse_named(path) is not None for path in given.scenes[arm.scenes])  # a named set brings its label maps
    takes_labels = segmenter_spec(study.segmenter(arm.segmenter).segmenter).takes_labels
    if takes_labels and arm.scenes not in given.labels and not own:
        return f"no label maps of {arm.scenes} were given", f"--labels {arm.scenes}=DIR"
    asked = any(matches(arm.name, pattern) for pattern in given.only)
    if arm.segmenter in study.on_request and not asked:
        return (
            f"{arm.segmenter} runs on request only: its weights are downloaded and it needs a GPU",
            f"--only '{arm.name}'",
        )
    return "", ""


def _measurements(study: Study, given: Given) -> list[Measurement]:
    found: dict[str, Measurement] = {}
    for evaluation in study.evaluations:
        paths = given.sets(evaluation.kind)
        for name in _sets(evaluation, paths):
            one = Measurement(set=name, kind=evaluation.kind, path=paths.get(name))
            found.setdefault(one.key, one)
    return list(found.values())


def _sets(evaluation: Evaluation, paths: dict[str, Path]) -> list[str]:
    if evaluation.set != ANY:
        return [evaluation.set]
    return list(paths) or (["SET"] if evaluation.kind == "labelled" else [])


def _with_titles(arms: list[Arm]) -> list[Arm]:
    """Titles say what tells arms apart, and nothing else."""
    segmenters = {arm.segmenter for arm in arms if arm.segmenter is not None}
    boxes = any(arm.strategy == "random-box" for arm in arms)
    paddings = {arm.padding for arm in arms if arm.padding is not None}
    titled = []
    for arm in arms:
        if arm.variant:
            titled.append(arm)
            continue
        alike = [a for a in arms if (a.method, a.strategy == "image") == (arm.method, arm.strategy == "image")]
        parts = []
        if arm.strategy == "random-box":
            parts.append(views_title(arm))
        elif arm.segmenter is not None and (len(segmenters) > 1 or boxes):
            parts.append(_regions_title(arm))
        if arm.temperature is not None and len({a.temperature for a in alike}) > 1:
            parts.append(f"temperature {arm.temperature:g}")
        if arm.padding is not None and len(paddings) > 1:
            parts.append(f"padding {arm.padding:g}")
        spec = METHODS[arm.method]
        base = spec.region_title if arm.strategy == "region" else spec.title
        titled.append(replace(arm, title=", ".join([base, *parts])))
    return titled


def views_title(arm: Arm) -> str:
    """What an arm's views are taken from, in words."""
    if arm.strategy == "image":
        return "whole images"
    regions = _regions_title(arm)
    return f"random boxes like {regions}" if arm.strategy == "random-box" else regions


def _regions_title(arm: Arm) -> str:
    name = str(arm.segmenter)
    return f"{(SEGMENTERS[name].region_title or name) if name in SEGMENTERS else name} regions"


def _untrained(arms: Sequence[Arm]) -> Arm:
    """The floor: what the first arm begins with, and those of equal backbones and weights."""
    first = arms[0]
    model = first.config.model
    title = "before any training" if model.pretrained is None else "the start"
    if any(arm.start != first.start for arm in arms):
        title += f" ({model.backbone})"
    config = replace(first.config, recipe=first.method, data=replace(first.config.data, scenes=(), regions=None))
    config = replace(config, views=replace(config.views, strategy="image"))
    return Arm(
        name=UNTRAINED,
        title=title,
        scenes="",
        method="",
        strategy="untrained",
        segmenter=None,
        temperature=None,
        padding=None,
        on=(ANY,),
        config=config,
    )
