"""The demo: the main job on generated scenes, by the same functions as every other job.

Scenes hold several real handwritten digits (scikit-learn's load_digits) on smooth clutter. Two crops of a whole scene
rarely show the same digit, two crops of a region do: what the project is about, in minutes on a CPU. How backbones are
measured is fixed in samclr.demo.data.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from samclr.config.evaluation import EvaluationConfig, TargetConfig
from samclr.config.pretrain import (
    DataConfig,
    EvaluationData,
    FilterConfig,
    OptimConfig,
    PretrainConfig,
    RuntimeConfig,
    ViewGroup,
)
from samclr.config.recipes import RECIPES
from samclr.config.registry import METHODS
from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.demo.ceiling import train_told
from samclr.demo.data import CONTEXT, VIEW_PX, make_data
from samclr.errors import ConfigError, RunError
from samclr.evaluation.evaluate import evaluate
from samclr.evaluation.targets import Target, open_target
from samclr.log import option_of
from samclr.models.resolve import resolve_config
from samclr.pages.report import write_report
from samclr.processes.stopping import stopped
from samclr.regions.segment import segment_scenes
from samclr.runs.directory import RESULTS_FILE, write_json
from samclr.runs.results import Result, Score, read_results
from samclr.scenes.fill import FillOptions
from samclr.training.pretrain import pretrain
from samclr.views.data import num_workers

NUM_SCENES, STEPS = 600, 180
SCENES_FOLDER = re.compile(r"\d+-scenes")  # in a demo's folder: its data, regions, bank and runs
SEGMENTER = SegmenterConfig(
    segmenter="sam-digits",
    # Islands and holes under 40 px go; a stray island would stretch the box to the next digit.
    masks=MaskConfig(points_per_side=8, min_mask_region_area=40),
    compute=ComputeConfig(device="cpu"),
)
LOCAL_PX = 20
UNTRAINED, TOLD = "untrained", "supervised ceiling"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What a backbone scores on the digits of held-out scenes.

    Attributes:
        arm: untrained, a strategy of views, or supervised ceiling.
        recipe: what its run began as; None of the untrained backbone.
        seed: of the run.
        steps: that it was trained for.
        knn_top1, linear_top1: shares of right answers with 95 % intervals over test images.
        run: name of the run directory that its results stand in.
    """

    arm: str
    recipe: str | None
    seed: int
    steps: int
    knn_top1: Score
    linear_top1: Score
    run: str


def run_demo(
    out: Path,
    seeds: Sequence[int],
    say: Callable[[str], None],
    steps: int = STEPS,
    num_scenes: int = NUM_SCENES,
    recipes: Sequence[str] = ("simclr", "samclr"),
) -> list[Arm]:
    """Scenes, regions, runs and their scores, results.json and report.html in `out`; returns the arms.

    For each seed: the untrained backbone, each recipe, and two controls of the first recipe with region views: its
    random boxes, and the supervised ceiling. Each part is resumed or reused when it is there already.

    Raises:
        RunError: `out` holds something else than a demo.
        ConfigError: a seed or recipe is named twice, or a recipe needs trained weights.
    """
    for name, values in (("seeds", seeds), ("recipes", recipes)):
        if len(set(values)) < len(values):
            raise ConfigError(f"{name} names one twice: {' '.join(map(str, values))}; expected each once", name)
    refuse_other_folders(out)
    start = time.monotonic()
    root = out / f"{num_scenes}-scenes"
    data, store, bank = root / "data", root / "regions", root / "bank"
    configs = {recipe: demo_config(recipe, data, store, bank, steps) for recipe in recipes}
    make_data(data, num_scenes)
    say(f"{num_scenes} scenes of several digits in {data}")
    with_regions = next((name for name, config in configs.items() if config.views.strategy == "region"), None)
    if with_regions is not None:
        configs[f"{with_regions}-random-box"] = with_random_boxes(configs[with_regions])
    workers = num_workers(next(iter(configs.values())))
    _, report = segment_scenes(list_scenes([data / "scenes"]), SEGMENTER, store, FillOptions(num_workers=workers))
    say(f"segmented with {SEGMENTER.segmenter} in {report.wall_s:.0f} s")
    arms: list[Arm] = []
    runs = []
    for seed in seeds:
        for name, config in configs.items():
            seeded, run = replace(config, seed=seed), root / f"{name}-seed{seed}"
            result = pretrain(seeded, run)
            if result.stopped:
                raise stopped(f"stopped at step {result.steps_done}; rerun the same command to resume")
            if name == recipes[0]:
                arms.append(_arm(UNTRAINED, seeded, run, _measure(run, data, seeded, untrained=True)))
            arms.append(_arm(config.views.strategy, seeded, run, _measure(run, data, seeded)))
            runs.append(run)
            say(f"{name}, seed {seed}: {_words(arms[-1])}")
        if with_regions is not None:
            seeded, run = replace(configs[with_regions], seed=seed), root / f"{with_regions}-seed{seed}"
            arms.append(_arm(TOLD, seeded, run, _ceiling(run, data, seeded)))
            say(f"{TOLD}, seed {seed}: {_words(arms[-1])}")
    write_json(out / "results.json", {"arms": [asdict(arm) for arm in arms]})
    write_report(runs, out / "report.html")
    say(f"all in {time.monotonic() - start:.0f} s")
    return arms


def refuse_other_folders(out: Path) -> None:
    """Raise RunError if something else than a demo stands where one is to be."""
    if not out.exists():
        return
    is_own = out.is_dir() and any(SCENES_FOLDER.fullmatch(one.name) for one in out.iterdir())
    if not is_own and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is not a demo; name a new or empty folder with {option_of('out')}")


def with_random_boxes(config: PretrainConfig) -> PretrainConfig:
    """The control of a recipe with region views: boxes of the regions' sizes at random places, which have no masks."""
    return replace(config, views=replace(config.views, strategy="random-box", background_mix_prob=0.0))


def demo_config(recipe: str, data: Path, store: Path, bank: Path, steps: int) -> PretrainConfig:
    """A recipe in the demo's size. Arms of one method have one budget and one augmentation.

    Windows of regions are squares with as much context as the evaluation's crops. What lies around a region would give
    a pair away, so its mask is used: in 0.7 of the views another scene stands around it. Image views and random boxes
    have no masks; docs/log.md has region views without this. Settings were chosen on seed 10.

    Raises:
        ConfigError: the recipe needs trained weights, which the demo has none of.
    """
    if RECIPES[recipe].continues:
        raise ConfigError(
            f"recipe {recipe} begins with trained weights, and the demo has none; leave it out", "recipes"
        )
    config = RECIPES[recipe].config
    spec, views = METHODS[config.method.name], config.views
    if views.strategy != "image":  # masks that views carry would be cut out of what is mixed in
        views = replace(views, max_window_aspect=1.0, background_mix_prob=0.0 if views.carried_regions else 0.7)
    return replace(
        config,
        method=spec.demo_config,
        data=DataConfig(scenes=((data / "scenes").absolute(),), regions=store.absolute(), bank=bank.absolute()),
        filter=FilterConfig(min_area_px=20, max_area_frac=0.1, padding=CONTEXT),
        views=views,
        group=ViewGroup(size_px=VIEW_PX, crop_scale=(0.5, 1.0)),
        local=replace(config.local, local_size_px=LOCAL_PX, local_crop_scale=(0.2, 0.5)),
        augment=replace(
            config.augment, flip_prob=0.0, jitter_strength=1.0, grey_prob=0.5, blur_prob=0.2, blur_sigma=(0.1, 1.0)
        ),
        model=replace(config.model, backbone="small-cnn"),
        optim=OptimConfig(global_batch_size=128, steps=steps, optimizer="adamw", lr=spec.demo_lr, warmup_steps=10),
        evaluation=EvaluationData(image_px=VIEW_PX),
        runtime=RuntimeConfig(device="cpu"),
    )


def _measure(run: Path, data: Path, config: PretrainConfig, untrained: bool = False) -> list[Result]:
    target = open_target(str(run), TargetConfig(), untrained=untrained, seed=config.seed)
    return evaluate(target, {"labelled": [data / "digits"]}, _measuring(config), torch.device("cpu"))


def _measuring(config: PretrainConfig) -> EvaluationConfig:
    return EvaluationConfig(data=config.evaluation, protocols=(config.knn,))


def _ceiling(run: Path, data: Path, config: PretrainConfig) -> list[Result]:
    """Beside the results of the run whose views it sees; what stands there is not trained again."""
    found = [result for result in read_results(run / RESULTS_FILE) if result.target == TOLD]
    if found:
        return found
    model = resolve_config(config, tell=False).model
    target = Target(name=TOLD, backbone=train_told(config, data), model=model, source=TOLD)
    sets, place = {"labelled": [data / "digits"]}, run / RESULTS_FILE
    return evaluate(target, sets, _measuring(config), torch.device("cpu"), place)


def _arm(arm: str, config: PretrainConfig, run: Path, results: list[Result]) -> Arm:
    scores = {one.key: one.scores for one in results}
    trained = arm != UNTRAINED
    return Arm(
        arm=arm,
        recipe=config.recipe if trained else None,
        seed=config.seed,
        steps=config.optim.steps if trained else 0,
        knn_top1=scores["knn"]["top1"],
        linear_top1=scores["linear"]["top1_last"],
        run=run.name,
    )


def _words(arm: Arm) -> str:
    return f"kNN {arm.knn_top1.text}, linear probe {arm.linear_top1.text}"


def table_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """The arms as a table shows them."""
    return [
        {
            "backbone": arm.arm if arm.recipe is None or arm.arm == TOLD else f"{arm.recipe}, {arm.arm} views",
            "seed": arm.seed,
            "kNN": arm.knn_top1.text,
            "linear probe": arm.linear_top1.text,
        }
        for arm in arms
    ]


def verdict(arms: Sequence[Arm]) -> str:
    """What region views gain, as the mean over seeds: the first recipe with them against each arm without."""
    region = next((arm.recipe for arm in arms if arm.arm == "region"), None)
    ours = [arm for arm in arms if arm.recipe == region and arm.arm == "region"]
    method = None if region is None else RECIPES[region].config.method.name
    gains = []
    for kind, title in (
        ("image", "image views"),
        (UNTRAINED, "the untrained backbone"),
        ("random-box", "random boxes"),
    ):
        theirs = [arm for arm in arms if arm.arm == kind and (kind == UNTRAINED or _method(arm) == method)]
        if ours and theirs:
            knn = mean(one.knn_top1.value for one in ours) - mean(one.knn_top1.value for one in theirs)
            linear = mean(one.linear_top1.value for one in ours) - mean(one.linear_top1.value for one in theirs)
            gains.append(f"{100 * knn:+.1f} kNN and {100 * linear:+.1f} linear over {title}")
    return f"region views of {region}, in points: {'; '.join(gains)}" if gains else ""


def _method(arm: Arm) -> str:
    return RECIPES[arm.recipe].config.method.name if arm.recipe is not None else ""
