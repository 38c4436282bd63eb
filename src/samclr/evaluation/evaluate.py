"""The job `samclr evaluate`: every protocol that is asked for, on every set."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from samclr.config.cache import cache_folder
from samclr.config.evaluation import EvaluationConfig
from samclr.config.registry import PROTOCOLS, resolve
from samclr.datasets.labelled import LabelledSet, open_labelled
from samclr.errors import UsageError
from samclr.evaluation.inputs import DenseSet, open_dense_sets
from samclr.evaluation.protocols.base import DenseTask, LabelledTask, Outcome, Protocol
from samclr.evaluation.sizes import fit_evaluation, say_fewer
from samclr.evaluation.targets import Target
from samclr.runs.results import Result, add_results, results_place


def evaluate(
    target: Target,
    sets: Sequence[Path | LabelledSet],
    config: EvaluationConfig,
    device: torch.device,
    out: Path | None = None,
    dense_sets: Sequence[Path | DenseSet] = (),
) -> list[Result]:
    """Measure on every set. See `evaluate_each`."""
    each = evaluate_each(target, sets, config, device, out, dense_sets)
    return [result for results in each for result in results]


def evaluate_each(
    target: Target,
    sets: Sequence[Path | LabelledSet],
    config: EvaluationConfig,
    device: torch.device,
    out: Path | None = None,
    dense_sets: Sequence[Path | DenseSet] = (),
) -> Iterator[list[Result]]:
    """Yield the results on each set when it is done. All sets, and the file of results, are opened before the first.

    Results are added to `out` (or the run's results.json) set by set; one of the same `identity` is replaced. What is
    too long for a row (confusion, each class's accuracy, predictions) lies in the file that it names.

    Raises:
        UsageError: no protocol is asked for on a set.
        EvaluationError: a set cannot be opened, or has too few labels for a protocol; a backbone that gives no numbers.
        RunError, FilesError: the file of results cannot be added to.
    """
    if sets:
        config = fit_evaluation(getattr(target.backbone, "input_sizes", None), config)
    place = results_place(out, target.run)
    given: dict[str, Any] = {"backbone": target.backbone, "config": config, "device": device, "cache": cache_folder()}
    tasks: list[LabelledTask | DenseTask] = [LabelledTask(labelled=_subset(one, config), **given) for one in sets]
    tasks += [DenseTask(scenes=_scenes(one), **given) for one in dense_sets]
    protocols: dict[str, list[Protocol[Any, Any]]] = {
        kind: [resolve(PROTOCOLS[one.name].build)(one) for one in config.asked(kind)] for kind in ("labelled", "dense")
    }
    for task in tasks:
        if not protocols[task.kind]:
            raise UsageError(
                f"nothing is measured on {task.name}: every protocol for such sets is skipped; ask for one of them"
            )
        for protocol in protocols[task.kind]:
            protocol.check(task)
    identity = target.identity() if tasks else {}
    for task in tasks:
        results, details = [], task.details()
        for protocol in protocols[task.kind]:
            for outcome in protocol.measure(task):
                result = _result(identity | {"source": str(target.source)}, task, protocol, outcome)
                results.append(result)
                details["protocols"][result.key] = outcome.details
        if place is not None and results:
            results = add_results(place, results, details, target.source, target.which)
        yield results


def _result(
    identity: dict[str, Any], task: LabelledTask | DenseTask, protocol: Protocol[Any, Any], outcome: Outcome
) -> Result:
    own = protocol.config.settings() if outcome.settings is None else outcome.settings
    train, test = task.fingerprints
    return Result(
        **identity,
        protocol=protocol.config.name,
        variant=outcome.variant,
        kind=task.kind,
        on=task.name,
        scores=outcome.scores,
        settings=task.settings() | own,
        counts=task.counts() | outcome.counts,
        chosen=outcome.chosen,
        train_fingerprint=outcome.train_fingerprint or train,
        test_fingerprint=outcome.test_fingerprint or test,
    )


def _subset(one: Path | LabelledSet, config: EvaluationConfig) -> LabelledSet:
    labelled, data = one if isinstance(one, LabelledSet) else open_labelled(one), config.data
    say_fewer(labelled.name, "training images", data.num_train, len(labelled.train.refs))
    say_fewer(labelled.name, "test images", data.num_test, len(labelled.test.refs))
    return replace(labelled, train=labelled.train.subset(data.num_train), test=labelled.test.subset(data.num_test))


def _scenes(one: Path | DenseSet) -> DenseSet:
    return one if isinstance(one, DenseSet) else open_dense_sets([one])[0]
