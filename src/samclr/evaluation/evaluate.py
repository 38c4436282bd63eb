"""The job `samclr evaluate` on labelled sets: kNN, linear probes, few-shot, fine-tuning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from samclr._version import __version__
from samclr.config.cache import cache_folder
from samclr.config.evaluation import ProtocolsConfig, TargetConfig
from samclr.config.pretrain import KnnConfig, ModelConfig, ProbeConfig
from samclr.config.serialise import to_dict
from samclr.datasets.labelled import LabelledSet, open_labelled
from samclr.errors import EvaluationError, name_some
from samclr.evaluation.features import split_features
from samclr.evaluation.few_shot import few_rows, share_name
from samclr.evaluation.linear import linear_probe
from samclr.evaluation.neighbours import USUAL_SETTINGS, KnnSetting, knn_ranked
from samclr.evaluation.results import Accuracies
from samclr.evaluation.sizes import fit_protocols
from samclr.evaluation.training import crop_probe, fine_tune
from samclr.log import say
from samclr.models.backbone import SMALL_CNN, create_backbone, load_pretrained
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.sizes import DEFAULT_PX
from samclr.models.weights import architecture, is_weights_folder, read_facts, with_normalisation
from samclr.runs.checkpoint import CONFIG_FILE, load_backbone, load_config, newest_step
from samclr.runs.results import UNTRAINED, add_results, results_place


@dataclass(frozen=True, kw_only=True)
class Target:
    """A backbone to be measured.

    Attributes:
        name: as given, and whether it is untrained.
        backbone: in evaluation mode.
        model: its backbone, stem, mean and std, all stated.
        run: the run it belongs to, if any.
        seed: of an untrained backbone's weights; None for a trained one.
        source: the folder or file it comes from, or a model's name.
    """

    name: str
    backbone: nn.Module
    model: ModelConfig
    source: Path | str
    run: Path | None = None
    seed: int | None = None

    def facts(self) -> dict[str, Any]:
        """What a row says of the backbone: architecture, stem and the normalisation of its input."""
        return {key: value for key, value in to_dict(self.model).items() if key in ("backbone", "stem", "mean", "std")}

    def identity(self) -> dict[str, Any]:
        """What every row says of its backbone: weights and where they come from, beside `facts`."""
        trained_run = self.run if self.seed is None else None
        return {
            "target": self.name,
            "untrained": self.seed is not None,
            "seed": self.seed,
            "step": None if trained_run is None else newest_step(trained_run),
            "backbone_fingerprint": weights_fingerprint(self.backbone),
            "model": self.facts(),
            "samclr": __version__,
        }


def open_target(
    name: str, given: TargetConfig, untrained: bool, seed: int | None, image_px: int = DEFAULT_PX
) -> Target:
    """A run directory, a file or folder of weights (of `samclr export`, of timm), or a timm model by its name.

    `untrained` measures the same backbone before any training, as a floor. `given` tells what the target itself does
    not say, and may not contradict it. `seed` is that of an untrained backbone: by default the run's, else 0.
    A backbone of one image size is built for what the target or `given` says, else for `image_px`.

    Raises:
        EvaluationError: the name is none of these, or `given` contradicts it.
        ConfigError: the weights cannot be had or read, or do not fit, or the backbone takes no images of that size.
        RunError: the run has no checkpoint, or cannot be read.
    """
    path = Path(name)
    if (path / CONFIG_FILE).exists() and not is_weights_folder(path):
        config = load_config(path)
        model = _agreed(name, given, config.model)
        if not untrained:
            return Target(name=name, backbone=load_backbone(path), model=model, source=path, run=path)
        return _untrained(name, model, config.group.size_px, config.seed if seed is None else seed, path, path)
    if path.exists():
        model = _model_of_weights(name, given)
        if untrained:
            return _untrained(name, model, image_px, seed or 0, path)
        return Target(name=name, backbone=_trained(model, image_px), model=model, source=path)
    if name != SMALL_CNN and not timm.is_model(name):
        raise EvaluationError(f"{name} is no run directory, no file of weights and no timm model; check the spelling")
    if untrained or name == SMALL_CNN:
        model = ModelConfig(backbone=name, stem=given.stem or "standard", mean=given.mean, std=given.std)
        model = replace(with_normalisation(_agreed(name, given, model))[0], input_px=given.input_px)
        return _untrained(name, model, image_px, seed or 0, name)
    model, _ = with_normalisation(ModelConfig(backbone=name, pretrained="timm", input_px=given.input_px))
    return Target(name=name, backbone=_trained(_agreed(name, given, model), image_px), model=model, source=name)


def _agreed(name: str, given: TargetConfig, model: ModelConfig) -> ModelConfig:
    """The target's own settings, if what is given agrees with them."""
    backbone = given.backbone is None or architecture(given.backbone) == architecture(model.backbone)
    agreed = {"backbone": backbone, "stem": given.stem in (None, model.stem)}
    agreed |= {key: getattr(given, key) in (None, getattr(model, key)) for key in ("mean", "std")}
    agreed["input_px"] = given.input_px in (None, model.input_px)
    for key, fits in agreed.items():
        if not fits:
            own, asked = (_shown(getattr(of, key)) for of in (model, given))
            trained = (
                "; an untrained one (--untrained) may have it" if key == "stem" and model.pretrained == "timm" else ""
            )
            option = key.replace("_", "-")
            raise EvaluationError(
                f"{name} has the {key} {own}, which --{option} {asked} contradicts; leave it out{trained}"
            )
    return model


def _shown(value: Any) -> str:
    return " ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)


def _model_of_weights(name: str, given: TargetConfig) -> ModelConfig:
    """What a file says of its weights, and what is given where it is silent."""
    facts = read_facts(Path(name))
    backbone = facts.backbone or given.backbone
    if backbone is None:
        raise EvaluationError(f"{name} does not say which backbone its weights are of; name it with --backbone")
    own = facts.normalisation or given.normalisation
    model = ModelConfig(backbone=backbone, stem=facts.stem or given.stem or "standard", pretrained=name)
    model = replace(model, input_px=facts.input_px or given.input_px)
    if own is not None:
        model = replace(model, mean=own.mean, std=own.std)
    model, assumed = with_normalisation(model)
    if assumed:
        say(assumed)
    return _agreed(name, given, model)


def _trained(model: ModelConfig, image_px: int) -> nn.Module:
    backbone = create_backbone(model, image_px)
    load_pretrained(backbone, model)
    return backbone.eval()


def _untrained(
    name: str, model: ModelConfig, image_px: int, seed: int, source: Path | str, run: Path | None = None
) -> Target:
    """The same backbone with random weights, also where a run began with trained ones."""
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if there had been none
        torch.default_generator.manual_seed(seed)
        backbone = create_backbone(model, image_px).eval()
    stem = "" if run is not None or model.stem == "standard" else f", stem {model.stem}"
    return Target(name=f"{name}{stem}{UNTRAINED}", backbone=backbone, model=model, source=source, run=run, seed=seed)


def open_sets(sets: Sequence[Path], download: bool = False, image_column: str | None = None) -> list[LabelledSet]:
    """Open labelled sets, so that a wrong one is said before any is measured. Raises EvaluationError."""
    return [open_labelled(path, download, image_column) for path in sets]


def evaluate(
    target: Target,
    sets: Sequence[Path | LabelledSet],
    knn: KnnConfig,
    probe: ProbeConfig,
    device: torch.device,
    out: Path | None,
    protocols: ProtocolsConfig | None = None,
) -> list[dict[str, Any]]:
    """Measure on every set; a result is one row with its settings, counts and fingerprints. See `evaluate_each`."""
    return list(evaluate_each(target, sets, knn, probe, device, out, protocols))


def evaluate_each(
    target: Target,
    sets: Sequence[Path | LabelledSet],
    knn: KnnConfig,
    probe: ProbeConfig,
    device: torch.device,
    out: Path | None,
    protocols: ProtocolsConfig | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the row of each set when it is done. All sets, and the file of results, are opened before the first.

    Rows are added to `out` (or the run's results.json) one by one; a row of the same identity (`rows.IDENTITY`) is
    replaced. What is too long for a row (confusion, each class's accuracy, predictions) lies in the file it names.

    Raises:
        EvaluationError: a set cannot be opened, or has too few labels for a protocol; a backbone that gives no numbers.
        RunError, FilesError: the file of results cannot be added to.
    """
    protocols = protocols or ProtocolsConfig()
    if sets:
        knn, protocols = fit_protocols(getattr(target.backbone, "input_sizes", None), knn, protocols)
    place = results_place(out, target.run)
    opened = [_subset(one if isinstance(one, LabelledSet) else open_labelled(one), knn) for one in sets]
    for labelled in opened:
        for share in protocols.few_shot.few_shot:  # raises for too few labels
            few_rows(labelled.train.labels, len(labelled.classes), share, protocols.few_shot.few_shot_seed)
    identity = target.identity()
    for labelled in opened:
        _say_few(labelled, knn)
        accuracies = measure(target.backbone, labelled, knn, probe, protocols, device)
        row: dict[str, Any] = identity | {"on": labelled.name, "task": "classification"} | accuracies.finish()
        row |= {"num_train": len(labelled.train.refs), "num_test": len(labelled.test.refs)}
        row |= {"num_classes": len(labelled.classes), "knn_voters": min(knn.knn_k, len(labelled.train.refs))}
        row |= {"settings": to_dict(knn) | to_dict(probe) | protocols.settings()}
        row |= {"train_fingerprint": labelled.train.fingerprint, "test_fingerprint": labelled.test.fingerprint}
        if place is not None:
            details = {"classes": labelled.classes, "labels": labelled.test.labels.tolist()}
            add_results(place, row, details | {"protocols": accuracies.details}, target.source)
        yield row


def _subset(labelled: LabelledSet, knn: KnnConfig) -> LabelledSet:
    say_fewer(labelled.name, "training images", knn.num_train, len(labelled.train.refs))
    say_fewer(labelled.name, "test images", knn.num_test, len(labelled.test.refs))
    return replace(labelled, train=labelled.train.subset(knn.num_train), test=labelled.test.subset(knn.num_test))


def say_fewer(name: str, what: str, asked: int | None, there: int) -> None:
    """Say it where a set has fewer images than are asked for: all of them are taken."""
    if asked is not None and asked > there:
        say(f"{name} has {there} {what}, of which {asked} are asked for: all are taken")


def _say_few(labelled: LabelledSet, knn: KnnConfig) -> None:
    """Say it where kNN has fewer images to look among than shall vote."""
    num = len(labelled.train.refs)
    too_large = sorted(k for k in {knn.knn_k, *(setting.k for setting in USUAL_SETTINGS)} if k > num)
    if too_large:
        asked = name_some([*map(str, too_large)])
        say(f"{labelled.name} has {num} training images: all of them vote where kNN's k is {asked}")


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
