"""Linear SVMs on frozen features of sets with several classes an image, with all labels and with few.

Source: Goyal et al., Scaling and benchmarking self-supervised visual representation learning, ICCV 2019, and its code,
fair_self_supervision_benchmark, tools/svm. As there, an image that does not count for a class is a negative of the full
training set, but in neither the few-shot samples nor the test set; and few-shot figures are those of the cost that is
best on the test images, so they are optimistic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from samclr.datasets.multilabel import HAS, LACKS, MultilabelSplit
from samclr.draws import shuffled
from samclr.errors import EvaluationError, name_some
from samclr.evaluation.average_precision import Ranking, mean_average_precisions
from samclr.evaluation.features import split_features
from samclr.evaluation.intervals import interval_ends, resampled_details, score_of
from samclr.evaluation.linear_svm import FOLDS, cross_validated, few_scores, in_processes, svm_scores, unit_features
from samclr.evaluation.multilabel_task import MultilabelProtocol, MultilabelTask
from samclr.evaluation.protocols.base import Outcome
from samclr.evaluation.protocols.multilabel_spec import MultilabelConfig
from samclr.evaluation.sizes import say_fewer
from samclr.log import say
from samclr.runs.results import Score

MEASURES = ("map", "map_eleven")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Features of unit length and marks of both splits. kept: numbers of the classes that are measured."""

    train: Float[np.ndarray, "n d"]
    test: Float[np.ndarray, "m d"]
    train_marks: Int[np.ndarray, "n c"]
    test_marks: Int[np.ndarray, "m c"]
    kept: list[int]


class Multilabel(MultilabelProtocol[MultilabelConfig]):
    """An SVM for each class, its cost chosen by cross-validation; then with few labels."""

    def check(self, task: MultilabelTask) -> None:
        """Some class has enough images, for each number of shots."""
        train, test = self._splits(task)
        for shots in (0, *self.config.multilabel_shots):
            if not self._measured(train, test, shots):
                raise EvaluationError(
                    f"{task.name} has no class that can be measured: {shots or self._least} training images must have "
                    f"it, {1 if shots else self._least} lack it, and a test image have it"
                )

    def measure(self, task: MultilabelTask) -> list[Outcome]:
        """`` with all labels, then `k1`, `k2` and so on with few: map and map_eleven."""
        config, (train, test) = self.config, self._splits(task)
        say_fewer(task.name, "training images", config.multilabel_num_train, len(task.multilabel.train.refs))
        say_fewer(task.name, "test images", config.multilabel_num_test, len(task.multilabel.test.refs))
        features = [
            unit_features(split_features(task.backbone, one, config.multilabel_px, task.device, task.cache).numpy())
            for one in (train, test)
        ]
        every_shots = (0, *config.multilabel_shots)  # 0: all labels
        kept = [self._measured(train, test, shots) for shots in every_shots]
        self._say_left_out(task, every_shots, kept)
        data = Data(train=features[0], test=features[1], train_marks=train.labels, test_marks=test.labels, kept=kept[0])
        prints = {"train_fingerprint": train.fingerprint, "test_fingerprint": test.fingerprint}
        found = [self._full(data, task)]
        for shots, own in zip(config.multilabel_shots, kept[1:], strict=True):
            found.append(self._few(replace(data, kept=own), task, shots))
        counts = {"num_train": len(train.refs), "num_test": len(test.refs)}
        settings = config.settings()
        few = ("multilabel_shots", "multilabel_samples", "multilabel_seed")
        full_settings = {name: value for name, value in settings.items() if name not in few}
        return [
            Outcome(
                variant=variant,
                scores=scores,
                settings=settings | {"multilabel_shots": [shots]} if shots else full_settings,
                counts=counts | {"num_measured_classes": len(own)} | ({"num_shots": shots} if shots else {}),
                chosen=chosen,
                details=details,
                **prints,
            )
            for (variant, scores, chosen, details), shots, own in zip(found, every_shots, kept, strict=True)
        ]

    def _splits(self, task: MultilabelTask) -> tuple[MultilabelSplit, MultilabelSplit]:
        config, one = self.config, task.multilabel
        return one.train.subset(config.multilabel_num_train), one.test.subset(config.multilabel_num_test)

    @property
    def _least(self) -> int:
        """Training images that must have a class, and that must lack it, for it to be in every fold."""
        return FOLDS if len(self.config.multilabel_costs) > 1 else 1

    def _measured(self, train: MultilabelSplit, test: MultilabelSplit, shots: int) -> list[int]:
        """Numbers of the classes that have enough images for so many shots, 0 for all labels: what other shots are
        asked for makes no difference."""
        positives = (train.labels == HAS).sum(0)
        enough = positives >= (shots or self._least)
        if shots:
            enough &= (train.labels == LACKS).any(0)
        else:
            enough &= len(train.labels) - positives >= self._least  # as the full training set has it
        return np.flatnonzero(enough & (test.labels == HAS).any(0)).tolist()

    def _say_left_out(self, task: MultilabelTask, every_shots: Sequence[int], kept: Sequence[list[int]]) -> None:
        names, marks = task.multilabel.classes, self._splits(task)[0].labels
        for shots, own in zip(every_shots, kept, strict=True):
            whose = f"{task.name}, {shots} images a class" if shots else task.name
            if left := [name for k, name in enumerate(names) if k not in own]:
                say(
                    f"{whose}: {len(left)} of {len(names)} classes are left out of the mean, as fewer than "
                    f"{shots or self._least} training images have them, fewer than {1 if shots else self._least} lack "
                    f"them, or no test image has them: {name_some(left)}"
                )
            without = (len(names) - 1) * shots
            if short := [names[k] for k in own if (marks[:, k] == LACKS).sum() < without]:
                say(
                    f"{whose}: fewer than {without:,} training images are known to lack {name_some(short)}; all of "
                    f"them are taken"
                )

    def _full(self, data: Data, task: MultilabelTask) -> tuple[str, dict[str, Score], dict[str, Any], dict[str, Any]]:
        marks = np.where(data.train_marks == HAS, HAS, LACKS)
        costs = self._chosen(data, marks)
        scores = in_processes(
            svm_scores, ((data.train, marks[:, k], data.test, cost) for k, cost in zip(data.kept, costs, strict=True))
        )
        rankings = _rankings(data, scores)
        by_class = _by_class(len(task.multilabel.classes), data.kept, [rankings])
        named = {task.multilabel.classes[k]: cost for k, cost in zip(data.kept, costs, strict=True)}
        found, resampled = _scores([rankings], data, task)
        return "", found, {"costs": named}, {"per_class_ap": by_class} | resampled

    def _chosen(self, data: Data, marks: Int[np.ndarray, "n c"]) -> list[float]:
        """The cost of each class that is measured; the first of the best."""
        costs = self.config.multilabel_costs
        if len(costs) == 1:
            return [costs[0]] * len(data.kept)
        pairs = [(data.train, marks[:, k], cost) for k in data.kept for cost in costs]
        found = np.array(in_processes(cross_validated, pairs)).reshape(len(data.kept), len(costs))
        return [costs[place] for place in found.argmax(1)]

    def _few(
        self, data: Data, task: MultilabelTask, shots: int
    ) -> tuple[str, dict[str, Score], dict[str, Any], dict[str, Any]]:
        """The cost is one for all classes and samples: that of the best mean on the test images."""
        config, best = self.config, None
        drawn = list(few_images(data, shots, config.multilabel_samples, config.multilabel_seed))
        for cost in config.multilabel_costs:
            calls = [
                (data.train, data.train_marks[:, k], data.test, rows, cost)
                for of_class in drawn
                for k, rows in of_class
            ]
            scores = in_processes(few_scores, calls)
            samples = [
                _rankings(data, scores[first : first + len(data.kept)])
                for first in range(0, len(scores), len(data.kept))
            ]
            mean = np.mean([one.average_precision()[0] for sample in samples for one in sample])
            if best is None or mean > best[0]:
                best = mean, cost, samples
        assert best is not None
        _, cost, samples = best
        by_class = _by_class(len(task.multilabel.classes), data.kept, samples)
        by_sample = [float(np.mean([one.average_precision()[0] for one in sample])) for sample in samples]
        found, resampled = _scores(samples, data, task)
        return f"k{shots}", found, {"cost": cost}, {"per_class_ap": by_class, "by_sample": by_sample} | resampled


def few_images(
    data: Data, shots: int, num_samples: int, seed: int
) -> Iterator[list[tuple[int, Int[np.ndarray, "few"]]]]:
    """For each sample the training rows of each class: so many with it, and for each other class as many without it."""
    num_classes = data.train_marks.shape[1]
    for sample in range(num_samples):
        found = []
        for k in data.kept:
            rows = []
            for place, (mark, num) in enumerate(((HAS, shots), (LACKS, (num_classes - 1) * shots))):
                known = np.flatnonzero(data.train_marks[:, k] == mark)
                step = (sample * num_classes + k) * 2 + place
                rows.append(known[shuffled(seed, step, len(known))[: max(num, 1)]])
            found.append((k, np.sort(np.concatenate(rows))))
        yield found


def _rankings(data: Data, scores: Sequence[Float[np.ndarray, "m"]]) -> list[Ranking]:
    return [Ranking.of(one, data.test_marks[:, k]) for k, one in zip(data.kept, scores, strict=True)]


def _scores(
    samples: Sequence[Sequence[Ranking]], data: Data, task: MultilabelTask
) -> tuple[dict[str, Score], dict[str, Any]]:
    num = len(data.test)
    values, drawn = mean_average_precisions(samples, num, task.config.interval)
    found = {
        measure: score_of(value, ends, num)
        for measure, value, ends in zip(MEASURES, values, interval_ends(drawn), strict=True)
    }
    return found, resampled_details(MEASURES, drawn)


def _by_class(num_classes: int, kept: list[int], samples: Sequence[Sequence[Ranking]]) -> list[float | None]:
    """By area, the mean over samples; None of a class that is not measured."""
    found: list[float | None] = [None] * num_classes
    for place, k in enumerate(kept):
        found[k] = float(np.mean([sample[place].average_precision()[0] for sample in samples]))
    return found


def build(config: MultilabelConfig) -> Multilabel:
    """See ProtocolSpec.build."""
    return Multilabel(config)
