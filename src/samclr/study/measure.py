"""What a study measures of a backbone: one row for each set, by the protocols of samclr.evaluation."""

from pathlib import Path
from typing import Any

import torch

from samclr.cache import cache_folder
from samclr.config import KnnConfig, PretrainConfig, ProbeConfig
from samclr.errors import EvaluationError
from samclr.evaluation.evaluate import Target, evaluate, open_target
from samclr.evaluation.features import split_features
from samclr.evaluation.knn import knn_predict
from samclr.evaluation.labelled import open_labelled
from samclr.run_directory import read_json
from samclr.study.plan import Measurement

Row = dict[str, Any]


def measure(run: Path, config: PretrainConfig, measurement: Measurement, probe: ProbeConfig, untrained: bool) -> Row:
    """Measure the backbone of a run directory on one set; the row also goes into the run's results.json.

    `per_class` of the row holds kNN's accuracy (dense: the linear probe's IoU) of each class.

    Raises:
        EvaluationError: the set cannot be opened, or this version does not know the protocol.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and config.runtime.accelerator != "cpu" else "cpu")
    target = open_target(str(run), config.model, untrained=untrained, seed=config.seed)
    assert measurement.path is not None
    if measurement.protocol == "dense":
        row = _dense(target, measurement.path, device)
    else:
        (row,) = evaluate(target, [measurement.path], config.knn, probe, device, None)
    if "details" in row:  # kept beside results.json, as they are long
        return row | {"per_class": _from_details(run / row["details"])}
    return row | {"per_class": per_class(target, measurement.path, config.knn, device)}


def _dense(target: Target, path: Path, device: torch.device) -> Row:
    try:
        from samclr.evaluation.dense import evaluate_dense
        from samclr.evaluation_config import DenseConfig, IntervalConfig
    except ImportError:
        raise EvaluationError("this version of samclr has no dense evaluation; leave out --dense-on") from None
    row: Row
    (row,) = evaluate_dense(target, [path], DenseConfig(), IntervalConfig(), device, None)
    return row


def _from_details(path: Path) -> dict[str, float]:
    details = read_json(path, {})
    protocols = details.get("protocols", {})
    shares = protocols.get("knn", {}).get("per_class_accuracy") or protocols.get("dense_linear", {}).get(
        "per_class_iou"
    )
    return {n: s for n, s in zip(details.get("classes", ()), shares or (), strict=False) if s is not None}


def per_class(target: Target, path: Path, knn: KnnConfig, device: torch.device) -> dict[str, float]:
    """kNN accuracy of each class of the test split, by the features that `evaluate` has left in the cache."""
    labelled = open_labelled(path)
    train, test = labelled.train.subset(knn.num_train), labelled.test.subset(knn.num_test)
    features = [split_features(target.backbone, split, knn.image_px, device, cache_folder()) for split in (train, test)]
    labels = [torch.from_numpy(split.labels) for split in (train, test)]
    predicted = knn_predict(features[1], features[0], labels[0], len(labelled.classes), knn.knn_k, knn.knn_temperature)
    right = (predicted == labels[1]).double()
    return {
        name: float(right[labels[1] == number].mean())
        for number, name in enumerate(labelled.classes)
        if bool((labels[1] == number).any())
    }
