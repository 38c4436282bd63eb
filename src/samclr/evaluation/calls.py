"""The room's functions of the public API: evaluate, and the protocols over arrays of features."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from samclr.config.evaluation import EvaluationConfig, TargetConfig
from samclr.config.methods import Weights
from samclr.config.normalisation import Normalisation, normalisation_of
from samclr.datasets.class_labels import MAX_CLASSES
from samclr.datasets.labelled_scenes import IGNORED
from samclr.errors import EvaluationError
from samclr.evaluation.evaluate import evaluate_each
from samclr.evaluation.features import pixel_features
from samclr.evaluation.inputs import Inputs, open_inputs
from samclr.evaluation.linear import linear_probe as fit_linear
from samclr.evaluation.neighbours import knn_predict, top1
from samclr.evaluation.protocols.dense import train_probe
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.protocols.linear_spec import ProbeConfig
from samclr.evaluation.segmentation import confusion, enlarge_argmax, iou_counts, miou_and_accuracy, patch_shares
from samclr.evaluation.targets import open_target
from samclr.models.devices import choose_device
from samclr.runs.results import Result

Array = np.ndarray | Tensor


def evaluate(
    target: "str | os.PathLike[str]",
    *,
    on: "str | Path | Sequence[str | Path]" = (),
    dense_on: "str | Path | Sequence[str | Path]" = (),
    multilabel_on: "str | Path | Sequence[str | Path]" = (),
    objects_on: "str | Path | Sequence[str | Path]" = (),
    detect_on: "str | Path | Sequence[str | Path]" = (),
    config: EvaluationConfig | None = None,
    model: TargetConfig | None = None,
    untrained: bool = False,
    seed: int | None = None,
    device: str = "auto",
    image_column: str | None = None,
    download: bool = False,
    which: Weights | None = None,
    out: "str | os.PathLike[str] | None" = None,
) -> list[Result]:
    """Measure a frozen backbone on sets of several kinds: a result for each protocol and set.

        config = EvaluationConfig(data=EvaluationData(image_px=48), protocols=(KnnConfig(knn_k=200),))
        results = samclr.evaluate("runs/photos", on="cifar10", config=config)
        results[0].protocol, results[0].scores["top1"].value     # "knn", and a share; low and high: its 95 % interval

    Args:
        target: a run (or Run), a file or folder of weights, an ONNX file (no dense tasks, no fine-tuning), or the name
            of a timm model.
        on: labelled sets, each a folder with train/CLASS/* and test/CLASS/*, Parquet splits, or NAME@ROOT.
        dense_on: sets with label maps, for segmentation by patch features.
        multilabel_on: sets with several classes an image, for linear SVMs: VOC, or a folder with a labels.csv.
        objects_on: sets with label maps, for objects that find others of their class by their vectors; or bsds500.
        detect_on: sets of instances in COCO's JSON, for detection by fine-tuning, which takes hours or days.
        config: images, intervals, and settings of protocols. model: what a file of weights does not say of itself.
        untrained: measure the same backbone before any training, as a floor. seed: of its weights.
        device: auto, cpu, cuda or cuda:1 and so on.
        image_column: column of Parquet files that holds the images. download: fetch named sets that torchvision has.
        which: of a run, the weights that were trained (student), their running mean (teacher), those that it exports as
            they were at its best step (best), or those that it began with (start); by default those that it exports.
            The others' results stand beside the run's, as another target's; the report compares with the start.
        out: file that results are added to; by default the run's results.json, else none.

    Raises:
        UsageError: nothing to measure on, or no such device.
        EvaluationError: the target or a set cannot be measured. ConfigError: weights that cannot be had or do not fit.
        RunError, FilesError: the run has no checkpoint, or the file of results cannot be added to.
    """
    inputs = open_inputs(
        os.fspath(target),
        sets={
            "labelled": _paths(on),
            "dense": _paths(dense_on),
            "multilabel": _paths(multilabel_on),
            "objects": _paths(objects_on),
            "detection": _paths(detect_on),
        },
        untrained=untrained,
        download=download,
        image_column=image_column,
        which=which,
    )
    each = results_of_each(
        inputs,
        config=config or EvaluationConfig(),
        model=model or TargetConfig(),
        seed=seed,
        device=device,
        out=None if out is None else Path(out),
    )
    return [result for results in each for result in results]


def results_of_each(
    inputs: Inputs,
    *,
    config: EvaluationConfig,
    model: TargetConfig,
    seed: int | None,
    device: str,
    out: Path | None,
) -> Iterator[list[Result]]:
    """What `evaluate` gives, set by set, each when it is measured."""
    where = choose_device(device)
    opened = open_target(inputs.target, model, inputs.untrained, seed, config.data.image_px, inputs.which)
    yield from evaluate_each(opened, inputs.sets, config, where, out)


def extract_features(
    backbone: nn.Module,
    images: "UInt8[np.ndarray, 'n 3 h w'] | UInt8[Tensor, 'n 3 h w']",
    *,
    normalisation: Normalisation | None = None,
    device: str = "auto",
) -> Float[Tensor, "n d"]:
    """Features of images by a frozen backbone, in float32 on the CPU, some hundred images at a time.

    Args:
        backbone: any module from normalised [n 3 h w] to [n d]; in evaluation mode meanwhile.
        images: uint8 RGB [n 3 h w], all of one size.
        normalisation: mean and deviation of the input, samclr.config.IMAGENET for instance; by default the backbone's
            own (`backbone.normalisation`), which all backbones of samclr have.
        device: auto, cpu, cuda or cuda:1 and so on.

    Raises:
        EvaluationError: the images are of another shape or type, or the features are not finite or not [n d].
        ConfigError: no normalisation is given, and the backbone has none. UsageError: no such device.
    """
    pixels = images.cpu().numpy() if isinstance(images, Tensor) else images
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3 or len(pixels) == 0:
        raise EvaluationError(f"the images are {pixels.dtype} {list(pixels.shape)}; expected uint8 [n 3 h w], n over 0")
    features = pixel_features(backbone, pixels, choose_device(device), normalisation or normalisation_of(backbone))
    if features.ndim != 2 or not torch.isfinite(features).all():
        raise EvaluationError(f"the backbone gives {list(features.shape)}; expected finite features [n d]")
    return features


def knn(
    train: "Float[np.ndarray, 'n d'] | Float[Tensor, 'n d']",
    train_labels: "Int[np.ndarray, 'n'] | Int[Tensor, 'n']",
    test: "Float[np.ndarray, 'm d'] | Float[Tensor, 'm d']",
    test_labels: "Int[np.ndarray, 'm'] | Int[Tensor, 'm']",
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Top-1 accuracy, from 0 to 1, of weighted nearest neighbours by cosine similarity.

    Each of the k most similar training features votes for its class with exp(similarity / temperature); of fewer than
    k all vote. Labels are classes from 0.

    Source: Wu et al., Unsupervised feature learning via non-parametric instance discrimination, CVPR 2018.

    Raises:
        EvaluationError: features or labels cannot be, or do not fit each other, or k or temperature is not above 0.
    """
    if k < 1 or not temperature > 0:
        raise EvaluationError(f"k is {k} and temperature {temperature}; expected both above 0")
    bank, labels, queries, wanted = _split(train, train_labels, test, test_labels)
    predicted = knn_predict(queries, bank, labels, int(labels.max()) + 1, k, temperature)
    return top1(predicted, wanted)


def linear_probe(
    train: "Float[np.ndarray, 'n d'] | Float[Tensor, 'n d']",
    train_labels: "Int[np.ndarray, 'n'] | Int[Tensor, 'n']",
    test: "Float[np.ndarray, 'm d'] | Float[Tensor, 'm d']",
    test_labels: "Int[np.ndarray, 'm'] | Int[Tensor, 'm']",
    *,
    config: ProbeConfig | None = None,
) -> float:
    """Top-1 accuracy, from 0 to 1, of a softmax layer on frozen features after its last epoch.

    Features are standardised by the training split; SGD with momentum 0.9 and cosine to zero, as `config` says
    (90 epochs, batches of 256, learning rate 0.1, or the best of a sweep on held-out rows). Labels are classes from 0.

    Raises:
        EvaluationError: features and labels do not fit each other, or are too few for the sweep.
    """
    features, labels, queries, wanted = _split(train, train_labels, test, test_labels)
    classes = int(torch.cat([labels, wanted]).max()) + 1
    return fit_linear(features, labels, queries, wanted, classes, config or ProbeConfig()).top1[-1]


def segmentation_probe(
    train: "Float[np.ndarray, 'n d gh gw'] | Float[Tensor, 'n d gh gw']",
    train_labels: "UInt8[np.ndarray, 'n h w'] | Sequence[UInt8[np.ndarray, '_ _']]",
    test: "Float[np.ndarray, 'm d gh gw'] | Float[Tensor, 'm d gh gw']",
    test_labels: "UInt8[np.ndarray, 'm h w'] | Sequence[UInt8[np.ndarray, '_ _']]",
    *,
    config: DenseConfig | None = None,
    device: str = "auto",
) -> float:
    """Mean IoU, from 0 to 1, of a softmax layer on frozen patch features, over the classes in the test labels.

    The layer is trained on the share of each class in a patch (SGD with momentum 0.9 and cosine to zero, as `config`
    says); its scores are enlarged to each label map's own size and counted over all its pixels.

    Args:
        train: a feature map for each training image; patches tile the image.
        train_labels: for each of them a label map of any size, classes from 0; 255 is ignored.
        test: as `train`, of the test images.
        test_labels: as `train_labels`.
        config: dense_steps, dense_batch_size, dense_lr and dense_seed of it count.
        device: auto, cpu, cuda or cuda:1 and so on; where the layer is trained.

    Raises:
        EvaluationError: features and label maps do not fit each other, or all training pixels are ignored.
    """
    known, maps = (torch.as_tensor(one).detach().cpu().float() for one in (train, test))
    for name, some, those in (("train", known, train_labels), ("test", maps, test_labels)):
        if some.ndim != 4 or some.numel() == 0 or len(those) != len(some):
            raise EvaluationError(
                f"{name} has features {list(some.shape)} and {len(those)} label maps; "
                f"expected [n d gh gw] and n label maps [h w] of uint8, n over 0"
            )
        if odd := [one for one in those if one.dtype != np.uint8 or one.ndim != 2 or one.size == 0]:
            raise EvaluationError(
                f"{name} has a label map of {odd[0].dtype} {list(odd[0].shape)}; expected uint8 [h w], not empty"
            )
        _refuse_infinite(name, some)
    if known.shape[1] != maps.shape[1]:
        raise EvaluationError(f"train has features {list(known.shape)}, test {list(maps.shape)}; d must agree")
    present = np.unique(np.concatenate([np.unique(one) for one in (*train_labels, *test_labels)]))
    classes = int(present[present != IGNORED].max(initial=0)) + 1
    grid_hw = int(known.shape[2]), int(known.shape[3])
    shares = torch.from_numpy(np.stack([patch_shares(one, grid_hw, classes) for one in train_labels]))
    flat, wanted = known.permute(0, 2, 3, 1).flatten(0, 2), shares.flatten(0, 2)
    kept = wanted.sum(1) > 0
    if not kept.any():
        raise EvaluationError("no pixel of the training label maps has a class: all are 255, which is ignored")
    score = train_probe(flat[kept], wanted[kept], config or DenseConfig(), choose_device(device))
    counts = []
    for one, labels in zip(maps, test_labels, strict=True):
        scores = score(one.flatten(1).T).T.reshape(-1, *one.shape[1:])
        counts.append(iou_counts(confusion(labels, enlarge_argmax(scores, labels.shape), classes)))
    return float(miou_and_accuracy(np.sum(counts, 0))[0])


def _split(train: Array, train_labels: Array, test: Array, test_labels: Array) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tensors on the CPU: features in float32, labels as int64."""
    features, queries = (torch.as_tensor(one).detach().cpu().float() for one in (train, test))
    given = [torch.as_tensor(one).cpu() for one in (train_labels, test_labels)]
    if fractions := [one.dtype for one in given if one.is_floating_point() or one.is_complex()]:
        raise EvaluationError(f"the labels are {fractions[0]}; expected whole numbers")
    labels, wanted = (one.long() for one in given)
    for name, some, those in (("train", features, labels), ("test", queries, wanted)):
        if some.ndim != 2 or len(some) == 0 or those.shape != some.shape[:1]:
            raise EvaluationError(
                f"{name} has features {list(some.shape)} and labels {list(those.shape)}; "
                f"expected [n d] and [n], n over 0"
            )
        if those.min() < 0 or those.max() >= MAX_CLASSES:
            odd = int(those.min() if those.min() < 0 else those.max())
            raise EvaluationError(f"{name} has the label {odd}; expected classes from 0, under {MAX_CLASSES:,}")
        _refuse_infinite(name, some)
    if features.shape[1] != queries.shape[1]:
        raise EvaluationError(f"train has features {list(features.shape)}, test {list(queries.shape)}; d must agree")
    return features, labels, queries, wanted


def _refuse_infinite(name: str, features: Tensor) -> None:
    if not torch.isfinite(features).all():
        raise EvaluationError(f"{name} has features that are not finite; see to the backbone that gave them")


def _paths(named: "str | Path | Sequence[str | Path]") -> tuple[Path, ...]:
    return (Path(named),) if isinstance(named, str | Path) else tuple(Path(one) for one in named)
