"""What a study measures of a backbone: one row for each set, by the protocols of samclr.evaluation."""

from pathlib import Path
from typing import Any

from samclr.config.evaluation import TargetConfig
from samclr.config.pretrain import PretrainConfig
from samclr.evaluation.dense import evaluate_dense
from samclr.evaluation.evaluate import evaluate, open_target
from samclr.models.devices import choose_device
from samclr.runs.directory import read_json
from samclr.study.plan import Measurement, Plan

Row = dict[str, Any]
PER_CLASS = (("knn", "per_class_accuracy"), ("dense_linear", "per_class_iou"))


def measure(run: Path, config: PretrainConfig, measurement: Measurement, plan: Plan, untrained: bool) -> Row:
    """Measure the backbone of a run directory on one set; the row also goes into the run's results.json.

    `per_class` of the row holds kNN's accuracy (dense: the linear probe's IoU) of each class.

    Raises:
        EvaluationError: the set cannot be opened.
    """
    device = choose_device(config.runtime.device)
    target = open_target(str(run), TargetConfig(), untrained=untrained, seed=config.seed)
    assert measurement.path is not None
    if measurement.protocol == "dense":
        (row,) = evaluate_dense(target, [measurement.path], plan.dense, plan.protocols.interval, device, None)
    else:
        (row,) = evaluate(target, [measurement.path], config.knn, plan.probe, device, None, plan.protocols)
    return row | {"per_class": _per_class(run / row["details"])}


def _per_class(path: Path) -> dict[str, float]:
    details = read_json(path, {})
    shares = next(details["protocols"][name][key] for name, key in PER_CLASS if name in details["protocols"])
    return {name: share for name, share in zip(details["classes"], shares, strict=True) if share is not None}
