"""The job `samclr evaluate`: measure a frozen backbone on labelled sets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from samclr import __version__
from samclr.cache import cache_folder
from samclr.checkpoint import load_backbone, load_config, load_exported
from samclr.config import KnnConfig, ModelConfig, ProbeConfig
from samclr.errors import EvaluationError
from samclr.evaluation.features import split_features, weights_fingerprint
from samclr.evaluation.knn import knn_predict, top1
from samclr.evaluation.labelled import open_labelled
from samclr.evaluation.linear import linear_probe
from samclr.models.backbone import SMALL_CNN, create_backbone
from samclr.run_directory import CONFIG_FILE, RESULTS_FILE, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Target:
    """A backbone to be measured: where it comes from, and the run it belongs to, if any."""

    name: str
    backbone: nn.Module
    run: Path | None


def open_target(name: str, model: ModelConfig, untrained: bool, seed: int) -> Target:
    """A run directory, a .safetensors file of `samclr export`, or the name of a timm model with its weights.

    `untrained` measures the same backbone before any training, as a floor.

    Raises:
        EvaluationError: the name is none of these, or timm's weights cannot be had.
    """
    path = Path(name)
    if (path / CONFIG_FILE).exists():
        config = load_config(path)
        if not untrained:
            return Target(name=name, backbone=load_backbone(path), run=path)
        torch.manual_seed(config.seed)
        return Target(name=f"{name} (untrained)", backbone=create_backbone(config.model).eval(), run=path)
    if path.suffix == ".safetensors" and path.exists():
        return Target(name=name, backbone=load_exported(path, model), run=None)
    if path.exists():
        raise EvaluationError(f"{name} is no run directory and no .safetensors file; name what --out or export made")
    if name == SMALL_CNN or (untrained and timm.is_model(name)):
        torch.manual_seed(seed)
        return Target(name=f"{name} (untrained)", backbone=create_backbone(ModelConfig(backbone=name)).eval(), run=None)
    if not timm.is_model(name):
        raise EvaluationError(f"{name} is no run directory, no .safetensors file and no timm model; check the spelling")
    try:
        backbone = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # no network: whatever the hub's client raises
        raise EvaluationError(
            f"the weights of {name} cannot be fetched ({type(error).__name__}); without a network, give a "
            f".safetensors file with --backbone {name}, or --untrained"
        ) from error
    return Target(name=name, backbone=backbone.eval(), run=None)


def evaluate(
    target: Target, sets: Sequence[Path], knn: KnnConfig, probe: ProbeConfig, device: torch.device, out: Path | None
) -> list[dict[str, Any]]:
    """Measure on every set; a result is one row with its settings, counts and fingerprints.

    Rows are added to `out` (or the run's results.json); a row of the same target, set and settings is replaced.
    """
    cache = cache_folder()
    rows = []
    for path in sets:
        labelled = open_labelled(path)
        train, test = labelled.train.subset(knn.num_train), labelled.test.subset(knn.num_test)
        features = [split_features(target.backbone, split, knn.image_px, device, cache) for split in (train, test)]
        labels = [torch.from_numpy(split.labels) for split in (train, test)]
        classes = len(labelled.classes)
        predicted = knn_predict(features[1], features[0], labels[0], classes, knn.knn_k, knn.knn_temperature)
        row: dict[str, Any] = {"target": target.name, "on": labelled.name}
        row |= {"knn_top1": top1(predicted, labels[1])}
        if not probe.skip_linear:
            curve = linear_probe(features[0], labels[0], features[1], labels[1], classes, probe)
            row |= {"linear_top1_last": curve[-1], "linear_top1_best": max(curve)}
        row |= {"num_train": len(train.refs), "num_test": len(test.refs), "num_classes": classes}
        row |= {"settings": asdict(knn) | asdict(probe)}
        row |= {"backbone_fingerprint": weights_fingerprint(target.backbone), "samclr": __version__}
        row |= {"train_fingerprint": train.fingerprint, "test_fingerprint": test.fingerprint}
        rows.append(row)
    place = out or (target.run / RESULTS_FILE if target.run is not None else None)
    if place is not None:
        _add_results(place, rows)
    return rows


def _add_results(place: Path, rows: list[dict[str, Any]]) -> None:
    identity = ("target", "on", "settings", "num_train", "num_test")
    kept = [
        old
        for old in read_json(place, {"results": []})["results"]
        if not any(all(old.get(key) == new[key] for key in identity) for new in rows)
    ]
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, {"results": kept + rows})
