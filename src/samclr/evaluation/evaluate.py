"""The job `samclr evaluate` on labelled sets: kNN, linear probes, few-shot, fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from samclr import __version__
from samclr.cache import cache_folder
from samclr.checkpoint import CONFIG_FILE, load_backbone, load_config, load_exported
from samclr.config import KnnConfig, ModelConfig, ProbeConfig
from samclr.errors import ConfigError, EvaluationError
from samclr.evaluation.features import split_features, weights_fingerprint
from samclr.evaluation.few_shot import few_rows, share_name
from samclr.evaluation.knn import USUAL_SETTINGS, KnnSetting, knn_ranked
from samclr.evaluation.labelled import LabelledSet, open_labelled
from samclr.evaluation.linear import linear_probe
from samclr.evaluation.results import Accuracies, add_results, results_place
from samclr.evaluation.sizes import fit_protocols
from samclr.evaluation.training import crop_probe, fine_tune
from samclr.evaluation_config import ProtocolsConfig
from samclr.models.backbone import SMALL_CNN, create_backbone
from samclr.models.sizes import DEFAULT_PX
from samclr.settings import to_dict


@dataclass(frozen=True, kw_only=True)
class Target:
    """A backbone to be measured: where it comes from, and the run it belongs to, if any."""

    name: str
    backbone: nn.Module
    run: Path | None


def open_target(name: str, model: ModelConfig, untrained: bool, seed: int, image_px: int = DEFAULT_PX) -> Target:
    """A run directory, a .safetensors file of `samclr export`, or the name of a timm model with its weights.

    `untrained` measures the same backbone before any training, as a floor. A timm model of one image size is built for
    `image_px`.

    Raises:
        ConfigError: the backbone takes no images of that size.
        EvaluationError: the name is none of these, or timm's weights cannot be had.
    """
    path = Path(name)
    if (path / CONFIG_FILE).exists():
        config = load_config(path)
        if not untrained:
            return Target(name=name, backbone=load_backbone(path), run=path)
        torch.manual_seed(config.seed)
        return Target(
            name=f"{name} (untrained)", backbone=create_backbone(config.model, config.group.size_px).eval(), run=path
        )
    if path.suffix == ".safetensors" and path.exists():
        return Target(name=name, backbone=load_exported(path, model), run=None)
    if path.exists():
        raise EvaluationError(f"{name} is no run directory and no .safetensors file; name what --out or export made")
    if name == SMALL_CNN or (untrained and timm.is_model(name)):
        torch.manual_seed(seed)
        backbone = create_backbone(ModelConfig(backbone=name, input_px=model.input_px), image_px)
        return Target(name=f"{name} (untrained)", backbone=backbone.eval(), run=None)
    if not timm.is_model(name):
        raise EvaluationError(f"{name} is no run directory, no .safetensors file and no timm model; check the spelling")
    try:
        backbone = create_backbone(ModelConfig(backbone=name, input_px=model.input_px), image_px, pretrained=True)
    except ConfigError:
        raise
    except Exception as error:  # no network: whatever the hub's client raises
        raise EvaluationError(
            f"the weights of {name} cannot be fetched ({type(error).__name__}); without a network, give a "
            f".safetensors file with --backbone {name}, or --untrained"
        ) from error
    return Target(name=name, backbone=backbone.eval(), run=None)


def evaluate(
    target: Target,
    sets: Sequence[Path],
    knn: KnnConfig,
    probe: ProbeConfig,
    device: torch.device,
    out: Path | None,
    protocols: ProtocolsConfig | None = None,
    download: bool = False,
    image_column: str | None = None,
) -> list[dict[str, Any]]:
    """Measure on every set; a result is one row with its settings, counts and fingerprints.

    Rows are added to `out` (or the run's results.json); a row of the same target, set and settings is replaced.
    What is too long for a row (confusion, each class's accuracy, predictions) lies in the file that it names.
    """
    protocols = protocols or ProtocolsConfig()
    if sets:
        knn, protocols = fit_protocols(getattr(target.backbone, "input_sizes", None), knn, protocols)
    place = results_place(out, target.run)
    rows = []
    for path in sets:
        labelled = open_labelled(path, download, image_column)
        labelled = replace(
            labelled, train=labelled.train.subset(knn.num_train), test=labelled.test.subset(knn.num_test)
        )
        accuracies = measure(target.backbone, labelled, knn, probe, protocols, device)
        row: dict[str, Any] = {"target": target.name, "on": labelled.name, "task": "classification"}
        row |= accuracies.finish()
        row |= {"num_train": len(labelled.train.refs), "num_test": len(labelled.test.refs)}
        row |= {"num_classes": len(labelled.classes)}
        row |= {"settings": to_dict(knn) | to_dict(probe) | protocols.settings()}
        row |= {"backbone_fingerprint": weights_fingerprint(target.backbone), "samclr": __version__}
        row |= {"train_fingerprint": labelled.train.fingerprint, "test_fingerprint": labelled.test.fingerprint}
        if place is not None:
            details = {"classes": labelled.classes, "labels": labelled.test.labels.tolist()}
            add_results(place, row, details | {"protocols": accuracies.details})
        rows.append(row)
    return rows


def measure(
    backbone: nn.Module,
    labelled: LabelledSet,
    knn: KnnConfig,
    probe: ProbeConfig,
    protocols: ProtocolsConfig,
    device: torch.device,
) -> Accuracies:
    """Run the protocols that are asked for on one set."""
    cache, classes = cache_folder(), len(labelled.classes)
    train, test = (
        split_features(backbone, split, knn.image_px, device, cache) for split in (labelled.train, labelled.test)
    )
    labels, test_labels = (torch.from_numpy(split.labels) for split in (labelled.train, labelled.test))
    found = Accuracies(labels=test_labels, classes=labelled.classes, interval=protocols.interval)
    asked = KnnSetting(k=knn.knn_k, temperature=knn.knn_temperature)
    settings = list(dict.fromkeys([asked, *USUAL_SETTINGS]))
    ranked = knn_ranked(test, train, labels, classes, settings, device)
    for name, answers in (("knn", ranked[0]), *zip((setting.name for setting in settings), ranked, strict=True)):
        found.add(name, answers)
    if not probe.skip_linear:
        result = linear_probe(train, labels, test, test_labels, classes, probe)
        found.add_trained("linear", result)
        found.row["linear_lr"] = result.lr
    for share in protocols.few_shot.few_shot:
        rows = few_rows(labelled.train.labels, classes, share, protocols.few_shot.few_shot_seed)
        result = linear_probe(train[rows], labels[rows], test, test_labels, classes, probe)
        found.add_trained(share_name(share), result)
        found.row[f"{share_name(share)}_num_train"] = len(rows)
    if protocols.crop_probe.crop_probe:
        found.add_trained("crop_probe", crop_probe(backbone, labelled, protocols.crop_probe, device, cache))
    if protocols.fine_tune.fine_tune:
        found.add_trained("fine_tune", fine_tune(backbone, labelled, protocols.fine_tune, device, cache))
    return found
