"""A run's start, steps and end on sets with labels: a validation part to choose by, the test part to compare on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from samclr.config.cache import cache_folder
from samclr.config.evaluation import EvaluationConfig, IntervalConfig
from samclr.config.pretrain import PretrainConfig
from samclr.config.registry import PROTOCOLS, resolve
from samclr.config.serialise import fingerprint, to_dict
from samclr.datasets.labelled import LabelledSet, open_labelled
from samclr.datasets.labelled_scenes import LabelledScenes, open_validation_scenes
from samclr.datasets.labelled_split import LabelledSplit
from samclr.draws import epoch_order
from samclr.errors import EvaluationError
from samclr.evaluation.dense_features import chosen_scenes, scenes_fingerprint
from samclr.evaluation.inputs import DenseSet, open_dense_set
from samclr.evaluation.intervals import bootstrap_intervals
from samclr.evaluation.protocols.base import DenseTask, LabelledTask, Outcome
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.segmentation import dense_counts, miou_and_accuracy
from samclr.runs.before_after import Compared, Measurement, Part
from samclr.storage.passing import passing_folder

VALIDATION_SHARE, VALIDATION_SEED = 5, 1  # a fifth of the training images
AGREEMENT = "region_agreement"
Measure = Callable[[Float[np.ndarray, "m"]], Float[np.ndarray, "1"]]


def _miou(sums: Float[np.ndarray, "m"]) -> Float[np.ndarray, "1"]:
    return miou_and_accuracy(sums)[:1]


def _ratio(sums: Float[np.ndarray, "2"]) -> Float[np.ndarray, "1"]:
    return sums[:1] / np.maximum(sums[1:], 1)


MEASURES: dict[str, Measure] = {"dense_linear": _miou, "dense_knn": _miou, AGREEMENT: _ratio}  # others: means


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A part of a set, and how it is measured. title: as a sentence calls the part."""

    part: Part
    title: str
    config: EvaluationConfig
    labelled: LabelledSet | None = None
    dense: DenseSet | None = None

    @property
    def on(self) -> str:
        """The set's name."""
        one = self.labelled or self.dense
        assert one is not None
        return one.name

    @property
    def figures(self) -> dict[str, str]:
        """Titles of the figures by their names, the one to choose by first."""
        if self.labelled is not None:
            return {"knn": "kNN"}
        return {"dense_linear": "mIoU, linear", "dense_knn": "mIoU, nearest patches"}

    @cached_property
    def images(self) -> str:
        """Changes with any image, label or setting."""
        if self.labelled is not None:
            prints = [self.labelled.train.fingerprint, self.labelled.test.fingerprint]
            settings = [to_dict(self.config.data), to_dict(self.config.of("knn"))]
            return fingerprint([prints, settings])
        assert self.dense is not None
        dense: Any = self.config.of("dense")
        sides = ((self.dense.train, dense.dense_num_train), (self.dense.test, dense.dense_num_test))
        prints = [scenes_fingerprint(one, chosen_scenes(one, num, dense.dense_seed)) for one, num in sides]
        return fingerprint([prints, to_dict(dense)])

    def check(self, backbone: nn.Module, device: torch.device) -> None:
        """Raise EvaluationError where the set or the backbone does not do."""
        protocol, task = self._task(backbone, device, cache_folder())
        protocol.check(task)

    def measure(self, backbone: nn.Module, step: int, device: torch.device) -> list[Measurement]:
        """All figures. What is computed for it is thrown away; the backbone's mode stays."""
        with passing_folder(cache_folder(), "measuring") as folder:
            protocol, task = self._task(backbone, device, folder)
            outcomes = {one.variant: one for one in protocol.measure(task)}
        names = {"knn": ("", "top1")} if self.labelled is not None else {
            "dense_linear": ("linear", "miou"), "dense_knn": ("knn", "miou"),
        }  # fmt: skip
        rows = []
        for figure, title in self.figures.items():
            variant, measure = names[figure]
            score = outcomes[variant].scores[measure]
            answers = self._answers(outcomes[variant]).tolist() if self.part == "test" else None
            where: dict[str, Any] = {"step": step, "part": self.part, "on": self.on, "images": self.images}
            row = Measurement(**where, figure=figure, title=title, value=score.value, n=score.n, answers=answers)
            rows.append(row)
        return rows

    def _task(self, backbone: nn.Module, device: torch.device, cache: Path) -> tuple[Any, Any]:
        given: dict[str, Any] = {"backbone": backbone, "config": self.config, "device": device, "cache": cache}
        name = "knn" if self.labelled is not None else "dense"
        protocol = resolve(PROTOCOLS[name].build)(self.config.of(name))
        if self.labelled is not None:
            return protocol, LabelledTask(labelled=self.labelled, **given)
        assert self.dense is not None
        return protocol, DenseTask(scenes=self.dense, **given)

    def _answers(self, outcome: Outcome) -> Float[np.ndarray, "n m"]:
        if self.labelled is not None:
            right = np.asarray(outcome.details["predicted"]) == self.labelled.test.labels
            return right[:, None].astype(np.float64)
        rows, num_classes = outcome.details["pixels_by_image"], len(outcome.details["per_class_iou"])
        return np.stack([dense_counts(image, num_classes) for image in rows])


def measured_parts(config: PretrainConfig) -> list[Measured]:
    """The validation and the test part of the sets that a run is measured on; none where none is given.

    The validation part is the set's own split of that name where it has one beside its test split; else a fifth of its
    training images, which then are not trained on. The test part is measured as `samclr evaluate` does it.

    Raises:
        EvaluationError: a set cannot be opened, or has too few training images to hold some out.
    """
    return [*_labelled_parts(config), *_dense_parts(config)]


def _labelled_parts(config: PretrainConfig) -> Iterator[Measured]:
    if config.runtime.knn_on is None:
        return
    data, settings = config.evaluation, EvaluationConfig(data=config.evaluation, protocols=(config.knn,))
    whole = open_labelled(config.runtime.knn_on)
    whole = replace(whole, train=whole.train.subset(data.num_train), test=whole.test.subset(data.num_test))
    kept, held = _halves(len(whole.train.refs), whole.name)
    train, validation = (_rows(whole.train, numbers) for numbers in (kept, held))
    part = replace(whole, train=train, test=validation.subset(data.num_test))
    title = f"a fifth of its training images ({len(part.test.refs):,})"
    yield Measured(part="validation", title=title, config=settings, labelled=part)
    yield Measured(part="test", title=f"{len(whole.test.refs):,} test images", config=settings, labelled=whole)


def _dense_parts(config: PretrainConfig) -> Iterator[Measured]:
    given = config.measuring
    if given.dense_on is None:
        return
    dense = DenseConfig(
        dense_px=given.dense_px, dense_num_train=given.dense_num_train, dense_num_test=given.dense_num_test
    )
    settings = EvaluationConfig(protocols=(dense,))
    whole = open_dense_set(given.dense_on)
    own = open_validation_scenes(given.dense_on)
    if own is not None:
        part, title = replace(whole, test=own), f"its split val ({len(own):,} images)"
    else:
        kept, held = _halves(len(whole.train), whole.name)
        part = replace(whole, train=_scenes(whole.train, kept), test=_scenes(whole.train, held))
        title = f"a fifth of its training images ({len(held):,})"
    yield Measured(part="validation", title=title, config=settings, dense=part)
    yield Measured(part="test", title=f"{len(whole.test):,} test images", config=settings, dense=whole)


def _halves(num: int, name: str) -> tuple[list[int], list[int]]:
    """Numbers that stay, and a seeded fifth that is held out."""
    if num < VALIDATION_SHARE:
        raise EvaluationError(
            f"{name} has {num} training images; expected {VALIDATION_SHARE} or more, as a fifth is held out to choose "
            f"the best step by"
        )
    order = epoch_order(VALIDATION_SEED, 0, num)
    held = num // VALIDATION_SHARE
    return sorted(int(one) for one in order[held:]), sorted(int(one) for one in order[:held])


def _rows(split: LabelledSplit, numbers: Sequence[int]) -> LabelledSplit:
    return LabelledSplit(refs=[split.refs[number] for number in numbers], labels=split.labels[numbers])


def _scenes(scenes: LabelledScenes, numbers: Sequence[int]) -> LabelledScenes:
    refs = [scenes.refs[number] for number in numbers]
    return replace(scenes, refs=refs, label_paths=[scenes.label_paths[number] for number in numbers])


def compared(start: Measurement, end: Measurement, best: Measurement | None) -> Compared:
    """A line of the table, its gains with 95 % intervals of the same resamples of images for both."""
    return Compared(
        on=start.on,
        title=start.title,
        n=start.n,
        is_share=start.is_share,
        start=start.value,
        end=end.value,
        best=None if best is None else best.value,
        end_gain=_gain(start, end),
        best_gain=None if best is None else _gain(start, best),
    )


def _gain(start: Measurement, other: Measurement) -> tuple[float, float | None, float | None]:
    gap = other.value - start.value
    if start.answers is None or other.answers is None:
        return gap, None, None
    before, after = np.asarray(start.answers), np.asarray(other.answers)
    measure, config = MEASURES.get(start.figure), IntervalConfig()
    if measure is None:
        ((low, high),) = bootstrap_intervals(after - before, config)
        return gap, float(low), float(high)

    def difference(sums: Float[np.ndarray, "m"]) -> Float[np.ndarray, "1"]:
        first, second = np.split(sums, 2)
        return measure(first) - measure(second)

    ((low, high),) = bootstrap_intervals(np.concatenate([after, before], 1), config, difference)
    return gap, float(low), float(high)
