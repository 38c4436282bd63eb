"""The job `samclr evaluate`: every protocol that is asked for, on every set."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from samclr.config.cache import cache_folder
from samclr.config.evaluation import EvaluationConfig
from samclr.config.kinds import KINDS, Kind
from samclr.config.registry import PROTOCOLS, resolve
from samclr.errors import UsageError
from samclr.evaluation.protocols.base import Outcome, Protocol, Task
from samclr.evaluation.sizes import fit_evaluation
from samclr.evaluation.targets import Target
from samclr.runs.results import Result, add_results, results_place


def evaluate(
    target: Target,
    sets: Mapping[Kind, Sequence[Any]],
    config: EvaluationConfig,
    device: torch.device,
    out: Path | None = None,
) -> list[Result]:
    """Measure on every set. See `evaluate_each`."""
    each = evaluate_each(target, sets, config, device, out)
    return [result for results in each for result in results]


def evaluate_each(
    target: Target,
    sets: Mapping[Kind, Sequence[Any]],
    config: EvaluationConfig,
    device: torch.device,
    out: Path | None = None,
) -> Iterator[list[Result]]:
    """Yield the results on each set when it is done. All sets, and the file of results, are opened before the first.

    sets: by kind (samclr.config.kinds), each a path or as the kind's opener gives it.
    Results are added to `out` (or the run's results.json) set by set, and where a protocol fails or is interrupted
    those of the protocols before it; one of the same `identity` is replaced. What is too long for a row (confusion,
    each class's accuracy, predictions) lies in the file that it names.

    Raises:
        UsageError: no protocol is asked for on a set.
        EvaluationError: a set cannot be opened, or has too few labels for a protocol; a backbone that gives no numbers.
        RunError, FilesError: the file of results cannot be added to.
    """
    place = results_place(out, target.run)
    tasks, protocols = open_tasks(target.backbone, sets, config, device)
    identity = target.identity() if tasks else {}
    for task in tasks:
        results, details, failed = [], task.details(), None
        try:
            for protocol in protocols[task.kind]:
                for outcome in protocol.measure(task):
                    result = _result(identity | {"source": str(target.source)}, task, protocol, outcome)
                    results.append(result)
                    details["protocols"][result.key] = outcome.details
        except BaseException as error:  # of whatever kind: what was measured before it is kept
            failed = error
        if place is not None and results:
            results = add_results(place, results, details, target.source, target.which)
        if results or failed is None:
            yield results
        if failed is not None:
            raise failed


def open_tasks(
    backbone: nn.Module,
    sets: Mapping[Kind, Sequence[Any]],
    config: EvaluationConfig,
    device: torch.device,
    tell: bool = True,
) -> tuple[list[Task], dict[Kind, list[Protocol[Any, Any]]]]:
    """Open all sets, given as `evaluate_each` takes them, and see that each suits its kind's protocols, as the backbone
    does, whatever its weights are. Nothing is measured.

    tell: say what was rounded.

    Raises:
        UsageError, EvaluationError: as `evaluate_each`. ConfigError: the backbone takes no images of such a size.
    """
    kinds = [kind for kind in KINDS if sets.get(kind)]
    config = fit_evaluation(getattr(backbone, "input_sizes", None), config, kinds, tell)
    given: dict[str, Any] = {"backbone": backbone, "config": config, "device": device, "cache": cache_folder()}
    tasks: list[Task] = [
        resolve(KINDS[kind].task).of(_opened(kind, one), **given) for kind in kinds for one in sets[kind]
    ]
    protocols: dict[Kind, list[Protocol[Any, Any]]] = {
        kind: [resolve(PROTOCOLS[one.name].build)(one) for one in config.asked(kind)] for kind in kinds
    }
    for task in tasks:
        if not protocols[task.kind]:
            raise UsageError(
                f"nothing is measured on {task.name}: every protocol for such sets is skipped; ask for one of them"
            )
        for protocol in protocols[task.kind]:
            protocol.check(task)
    return tasks, protocols


def _result(identity: dict[str, Any], task: Task, protocol: Protocol[Any, Any], outcome: Outcome) -> Result:
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


def _opened(kind: Kind, one: Any) -> Any:
    return resolve(KINDS[kind].opens)(one) if isinstance(one, Path) else one
