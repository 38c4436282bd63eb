"""A study of seconds for the tests: tiny scenes, their label maps, a labelled set, and the file that a user writes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from samclr.runs.results import Result, Score
from samclr.study.load import load_study
from samclr.study.plan import Given
from samclr.study.recipe import Study
from support.scenes import write_scenes

FILE = """
from samclr.config import EvaluationConfig, EvaluationData, FilterConfig, OptimConfig, ProbeConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.study import Evaluation, Grid, Reference, Study

STUDY = Study(
    name="tiny",
    summary="Boxes on grey.",
    grids=(
        Grid(strategies=("image",), temperatures=(0.2,)),
        Grid(strategies=("region",), segmenters=("labels", "sam-hq-vit-h"), temperatures=(0.2,)),
    ),
    seeds=(0, 1),
    optim=OptimConfig(global_batch_size=8, steps=4, lr=0.05),
    measuring=EvaluationConfig(data=EvaluationData(image_px=24), protocols=(ProbeConfig(probe_epochs=3),)),
    segmenters=(("labels", SegmenterConfig(segmenter="labels", ignore_label=(0,))),),
    filter=FilterConfig(min_area_px=20),
    backbone="small-cnn",
    projector_hidden=None,
    size_px=24,
    references=(Reference(arm="*.image.*", set="tones", key="knn_top1", value=0.5),),
    quoted="a paper",
    headline="*.region.labels.*",
    on_request=("sam-hq-vit-h",),
    device="cpu",
)
"""
IMAGE, LABELS, SAM = (
    "boxes.simclr.image.t0.2",
    "boxes.simclr.region.labels.t0.2.c1.3",
    "boxes.simclr.region.sam-hq-vit-h.t0.2.c1.3",
)


@dataclass(frozen=True, kw_only=True)
class StudyFiles:
    """Where everything lies."""

    file: Path
    scenes: Path
    labels: Path
    tones: Path

    @property
    def study(self) -> Study:
        return load_study(str(self.file))

    def given(self, **changes: object) -> Given:
        paths = {"scenes": {"boxes": (self.scenes,)}, "on": {"tones": self.tones}, "labels": {"boxes": self.labels}}
        return Given(**(paths | changes))

    def flags(self) -> list[str]:
        named = ["--scenes", f"boxes={self.scenes}", "--on", f"tones={self.tones}", "--labels", f"boxes={self.labels}"]
        return [*named, "--parallel", "2"]


def result(protocol, on, variant="", kind="labelled", **scores):
    """A result as the state of a run has it; scores are shares."""
    found = {name: Score(value=value, n=10) for name, value in scores.items()}
    whose = {"target": "run", "source": ".", "untrained": False}
    return Result(
        protocol=protocol, variant=variant, kind=kind, on=on, scores=found, settings={}, counts={}, **whose
    ).to_dict()


def write_study_files(folder: Path) -> StudyFiles:
    """Twelve scenes with labels, a labelled set of two classes, and FILE."""
    file = folder / "tiny.py"
    file.write_text(FILE)
    scenes = write_scenes(folder / "scenes", 12, folder / "labels")
    tones = folder / "tones"
    for number in range(48):  # noise: results lie about a half and differ between arms and seeds
        path = tones / ("train", "test")[number % 2] / ("dark", "light")[number // 2 % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = 100 + 12 * (number // 2 % 2)
        pixels = np.random.default_rng(number).normal(level, 60, (6, 6, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC).save(path)
    return StudyFiles(file=file, scenes=scenes, labels=folder / "labels", tones=tones)
