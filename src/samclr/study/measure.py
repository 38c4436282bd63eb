"""What a study measures of a backbone, by the protocols of samclr.evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from samclr.config.evaluation import TargetConfig
from samclr.config.methods import Weights
from samclr.config.pretrain import PretrainConfig
from samclr.config.registry import PROTOCOLS
from samclr.evaluation.evaluate import evaluate, open_tasks
from samclr.evaluation.targets import open_target
from samclr.models.backbone import create_backbone
from samclr.models.devices import choose_device
from samclr.runs.directory import read_json
from samclr.runs.results import Result
from samclr.study.plan import Measurement, Plan


def check_measurements(config: PretrainConfig, measurements: Sequence[Measurement], plan: Plan) -> None:
    """See that sets and backbone suit what will be measured of a run, before it is trained.

    config: resolved, as the run is to have it.

    Raises:
        SamclrError: what measuring would end in: a set that cannot be opened, or that a protocol cannot take; a
            backbone without maps, or that takes no images of such a size.
    """
    if not measurements:
        return
    with torch.random.fork_rng(devices=[]):  # the run's own draws go on as if there had been none
        backbone = create_backbone(config.model, config.group.size_px).eval()
    sets: dict[str, list[Path]] = {}
    for one in measurements:
        assert one.path is not None
        sets.setdefault(one.kind, []).append(one.path)
    open_tasks(backbone, sets, plan.measuring, choose_device(config.runtime.device), tell=False)


def measure(run: Path, config: PretrainConfig, measurement: Measurement, plan: Plan, untrained: bool) -> dict[str, Any]:
    """Measure the backbone of a run directory on one set; the results also go into the run's results.json.

    Returns `results`, and `per_class`, the share of each class by the first protocol that has one.

    Raises:
        EvaluationError: the set cannot be opened.
    """
    device = choose_device(config.runtime.device)
    which: Weights | None = "start" if untrained and config.model.pretrained else None
    untrained = untrained and which is None
    target = open_target(str(run), TargetConfig(), untrained=untrained, seed=config.seed, which=which)
    assert measurement.path is not None
    results = evaluate(target, {measurement.kind: [measurement.path]}, plan.measuring, device)
    return {"results": [result.to_dict() for result in results], "per_class": _per_class(run, results)}


def _per_class(run: Path, results: list[Result]) -> dict[str, float]:
    named = [(result, name) for result in results if (name := PROTOCOLS[result.protocol].per_class)]
    if not named:
        return {}
    result, name = named[0]
    assert result.details is not None
    details = read_json(run / result.details, {})
    shares = details["protocols"][result.key][name]
    return {name: share for name, share in zip(details["classes"], shares, strict=True) if share is not None}
