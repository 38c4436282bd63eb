"""The demo: the main job on generated scenes, by the same functions as every other job.

Scenes hold several real handwritten digits (scikit-learn's load_digits) on smooth clutter, with known label maps.
Two crops of a whole scene rarely show the same digit, two crops of a region do: what the project is about, in
minutes on a CPU. Single digits that are in no scene are the labelled set.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from sklearn.datasets import load_digits

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
from samclr.draws import epoch_order
from samclr.errors import FilesError
from samclr.evaluation.evaluate import evaluate
from samclr.evaluation.targets import open_target
from samclr.pages.report import write_report
from samclr.processes.stopping import stopped
from samclr.regions.segment import segment_scenes
from samclr.runs.directory import read_json, write_json
from samclr.scenes.fill import FillOptions
from samclr.storage.files import room_for
from samclr.training.pretrain import pretrain
from samclr.views.data import num_workers

DemoSegmenter = Literal["sam-digits", "felzenszwalb", "labels"]
DATA_VERSION = 1
NUM_SCENES = {"sam-digits": 600, "felzenszwalb": 1500, "labels": 1500}  # a SAM costs more a scene than the others
SCENE_PX, DIGITS_PER_SCENE = 96, 5
SAM_POINTS_PER_SIDE = 8
SAM_MIN_PART_PX = 40  # islands and holes under this go; a stray island would stretch the box to the next digit
DIGIT_PX, SINGLE_PX, VIEW_PX, LOCAL_PX = 20, 22, 32, 20
NUM_IN_SCENES, NUM_TRAIN = 797, 600  # digits drawn into scenes, and of the rest those that the kNN looks among
DATA_SEED = 0


def run_demo(
    out: Path,
    seeds: Sequence[int],
    segmenter: DemoSegmenter,
    say: Callable[[str], None],
    steps: int = 360,
    num_scenes: int | None = None,
    recipes: Sequence[str] = ("simclr", "samclr"),
) -> list[dict[str, Any]]:
    """Scenes, regions, an arm for each recipe and seed, kNN, results.json and report.html in `out`; returns the arms.

    Each part is resumed or reused when it is there already.
    """
    start = time.monotonic()
    num_scenes = num_scenes or NUM_SCENES[segmenter]
    data = out / f"data-{num_scenes}"
    make_data(data, num_scenes)
    say(f"{num_scenes} scenes of {DIGITS_PER_SCENE} digits in {data}")
    store = out / f"regions-{segmenter}"
    configs = {name: demo_config(name, data, store, out / f"bank-{num_scenes}", steps) for name in recipes}
    settings = demo_segmenter(segmenter, data)
    refs = list_scenes([data / "scenes"])
    workers = num_workers(next(iter(configs.values())))
    _, report = segment_scenes(refs, settings, store, FillOptions(num_workers=workers))
    say(f"segmented with {segmenter} in {report.wall_s:.0f} s")
    arms: list[dict[str, Any]] = []
    runs = []
    for seed in seeds:
        for number, recipe in enumerate(recipes):
            config = replace(configs[recipe], seed=seed)
            region = config.views.strategy == "region"
            run = out / f"{f'{recipe}-{segmenter}' if region else recipe}-{num_scenes}-seed{seed}"
            runs.append(run)
            result = pretrain(config, run)
            if result.stopped:
                raise stopped(f"stopped at step {result.steps_done}; rerun the same command to resume")
            if number == 0:
                arms.append(_arm(run, data, config, "untrained", None))
            arms.append(_arm(run, data, config, config.views.strategy, segmenter if region else None))
            say(f"{recipe}, {config.views.strategy} views, seed {seed}: kNN top-1 {arms[-1]['top1']:.1%}")
    write_json(out / "results.json", {"arms": arms})
    write_report(runs, out / "report.html")
    say(f"all in {time.monotonic() - start:.0f} s")
    return arms


def demo_segmenter(segmenter: DemoSegmenter, data: Path) -> SegmenterConfig:
    """Settings that suit the demo's scenes."""
    if segmenter == "labels":
        return SegmenterConfig(segmenter="labels", labels=data / "labels", ignore_label=(0,))
    if segmenter == "felzenszwalb":
        return SegmenterConfig(segmenter="felzenszwalb", scale=3000.0, sigma=0.4, min_size=30)
    masks = MaskConfig(points_per_side=SAM_POINTS_PER_SIDE, min_mask_region_area=SAM_MIN_PART_PX)
    return SegmenterConfig(segmenter="sam-digits", masks=masks, compute=ComputeConfig(device="cpu"))


def demo_config(recipe: str, data: Path, store: Path, bank: Path, steps: int) -> PretrainConfig:
    """A recipe in the demo's size. Arms of one method differ in the strategy alone."""
    config = RECIPES[recipe].config
    spec = METHODS[config.method.name]
    return replace(
        config,
        method=spec.demo_config,
        data=DataConfig(scenes=((data / "scenes").absolute(),), regions=store.absolute(), bank=bank.absolute()),
        filter=FilterConfig(min_area_px=20, max_area_frac=0.1, padding=1.1),
        group=ViewGroup(size_px=VIEW_PX, crop_scale=(0.3, 1.0)),
        local=replace(config.local, local_size_px=LOCAL_PX, local_crop_scale=(0.2, 0.5)),
        augment=replace(config.augment, flip_prob=0.0, jitter_strength=0.6, blur_sigma=(0.1, 1.0)),
        model=replace(config.model, backbone="small-cnn"),
        optim=OptimConfig(global_batch_size=128, steps=steps, optimizer="adamw", lr=spec.demo_lr, warmup_steps=10),
        evaluation=EvaluationData(image_px=VIEW_PX),
        runtime=RuntimeConfig(device="cpu"),
    )


def _arm(run: Path, data: Path, config: PretrainConfig, strategy: str, segmenter: str | None) -> dict[str, Any]:
    target = open_target(str(run), TargetConfig(), untrained=strategy == "untrained", seed=config.seed)
    measuring = EvaluationConfig(data=config.evaluation, protocols=(config.knn,))
    found = {one.key: one for one in evaluate(target, [data / "digits"], measuring, torch.device("cpu"))}
    return {
        "recipe": None if strategy == "untrained" else config.recipe,
        "strategy": strategy,
        "segmenter": segmenter,
        "seed": config.seed,
        "top1": found["knn"].scores["top1"].value,
        "linear_top1": found["linear"].scores["top1_last"].value,
        "steps": 0 if strategy == "untrained" else config.optim.steps,
        "run": run.name,
    }


# ---- the generated data ----


def make_data(data: Path, num_scenes: int) -> None:
    """Write scenes/, labels/ and digits/{train,test}/CLASS/ as PNG files, the same bytes everywhere."""
    marker = data / "made.json"
    made = {"version": DATA_VERSION, "num_scenes": num_scenes}
    with suppress(FilesError):  # of a damaged marker: all is written again
        if read_json(marker, {}) == made:
            return
    digits = load_digits()
    order = epoch_order(DATA_SEED, 0, len(digits.images))
    strokes = [digits.images[number] / 16.0 for number in order]
    for name in ("scenes", "labels"):
        (data / name).mkdir(parents=True, exist_ok=True)
    with room_for(data):
        _write_scenes(data, num_scenes, strokes)
        _write_digits(data, strokes, digits.target[order])
    write_json(marker, made)


def _write_scenes(data: Path, num_scenes: int, strokes: list[np.ndarray]) -> None:
    for number in range(num_scenes):
        random = np.random.Generator(np.random.PCG64([DATA_SEED, number]))
        scene, labels = compose_scene(strokes[:NUM_IN_SCENES], random)
        Image.fromarray(scene).save(data / "scenes" / f"{number:05d}.png")
        Image.fromarray(labels).save(data / "labels" / f"{number:05d}.png")


def _write_digits(data: Path, strokes: list[np.ndarray], classes: np.ndarray) -> None:
    for position in range(NUM_IN_SCENES, len(strokes)):
        split = "train" if position < NUM_IN_SCENES + NUM_TRAIN else "test"
        folder = data / "digits" / split / str(classes[position])
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.Generator(np.random.PCG64([DATA_SEED, 1_000_000 + position]))
        canvas = clutter(SINGLE_PX, random)
        place = (SINGLE_PX - DIGIT_PX) // 2
        draw_digit(canvas, strokes[position], (place, place), random)
        Image.fromarray(_to_uint8(canvas)).save(folder / f"{position:04d}.png")


def compose_scene(
    strokes: Sequence[Float[np.ndarray, "8 8"]], random: np.random.Generator
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
    """One scene and its label map: 0 for clutter, k for the ink of the k-th digit. Digits do not overlap."""
    canvas = clutter(SCENE_PX, random)
    labels = np.zeros((SCENE_PX, SCENE_PX), np.uint8)
    places: list[tuple[int, int]] = []
    while len(places) < DIGITS_PER_SCENE:
        top, left = (int(v) for v in random.integers(0, SCENE_PX - DIGIT_PX + 1, 2))
        if all(max(abs(top - t), abs(left - x)) >= DIGIT_PX for t, x in places):
            places.append((top, left))
        elif random.random() < 0.02:  # a layout without room for the rest: begin again
            places.clear()
    for number, place in enumerate(places, start=1):
        ink = draw_digit(canvas, strokes[int(random.integers(len(strokes)))], place, random)
        window = labels[place[0] : place[0] + DIGIT_PX, place[1] : place[1] + DIGIT_PX]
        window[ink > 0.5] = number
    return _to_uint8(canvas), labels


def clutter(side_px: int, random: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """A smooth pattern of a few colours, [h w 3] from 0 to 1: what image views learn to tell scenes apart by."""
    coarse = 0.3 + random.uniform(-0.08, 0.08, (3, 3, 1)) + random.uniform(-0.25, 0.25, (3, 3, 3))
    channels = [
        np.asarray(
            Image.fromarray(coarse[..., c].astype(np.float32)).resize((side_px, side_px), Image.Resampling.BICUBIC)
        )
        for c in range(3)
    ]
    return np.stack(channels, -1).astype(np.float64)


def draw_digit(
    canvas: Float[np.ndarray, "h w 3"],
    strokes: Float[np.ndarray, "8 8"],
    place: tuple[int, int],
    random: np.random.Generator,
) -> Float[np.ndarray, "p p"]:
    """Blend one digit into the canvas in a light tone; returns its ink, 0 to 1."""
    ink = digit_ink(strokes, DIGIT_PX)
    window = canvas[place[0] : place[0] + DIGIT_PX, place[1] : place[1] + DIGIT_PX]
    window[:] = (1 - ink[..., None]) * window + ink[..., None] * random.uniform(0.75, 1.0)
    return ink


def digit_ink(strokes: Float[np.ndarray, "8 8"], side_px: int) -> Float[np.ndarray, "p p"]:
    """A digit's strokes at another size, from 0 (clutter shows) to 1 (ink alone)."""
    image = Image.fromarray(strokes.astype(np.float32))
    smooth = np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC))
    return np.clip((smooth - 0.15) / 0.6, 0, 1).astype(np.float64)


def _to_uint8(canvas: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
