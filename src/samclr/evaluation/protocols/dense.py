"""Dense tasks on frozen patch features: a linear segmentation probe, and labels taken over from the nearest patches
(Balažević et al., "Towards in-context scene understanding", NeurIPS 2023). Counted at the label maps' own size."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.datasets.labelled_scenes import LabelledScenes
from samclr.draws import epoch_order
from samclr.evaluation.dense_features import scenes_fingerprint, stream_patches, training_patches
from samclr.evaluation.linear import Standardiser, zero_layer
from samclr.evaluation.neighbours import nearest_shares
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.protocols.on_scenes import chosen_parts
from samclr.evaluation.protocols.pixels import pixel_details, pixel_scores
from samclr.evaluation.segmentation import confusion, enlarge_argmax, iou_counts
from samclr.evaluation.sizes import check_dense
from samclr.log import say
from samclr.models.schedules import cosine

Scorer = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n c"]]


class Dense(DenseProtocol[DenseConfig]):
    """A linear probe and nearest patches, by one pass over the test images."""

    def check(self, task: DenseTask) -> None:
        """The backbone has feature maps."""
        check_dense(task.backbone, self.config)

    def measure(self, task: DenseTask) -> list[Outcome]:
        """`linear` and `knn`: miou (over the classes that occur in the test labels) and pixel_accuracy."""
        config, one = self.config, task.scenes
        train, test = one.train, one.test
        numbers, test_numbers = chosen_parts(one, config.dense_num_train, config.dense_num_test, config.dense_seed)
        features, shares = training_patches(task.backbone, train, numbers, config, task.device, task.cache)
        voters = min(config.dense_k, config.dense_memory, len(features))
        if voters < config.dense_k:
            say(f"{one.name} has {voters} training patches to look among: all of them vote, not {config.dense_k}")
        scorers = {
            "linear": train_probe(features, shares, config, task.device),
            "knn": retrieval(features, shares, config, task.device),
        }
        found = segment_scenes(task.backbone, test, test_numbers, scorers, config, task.device)
        sizes = {"num_train": len(numbers), "num_test": len(test_numbers), "num_patches": len(features)}
        counted = {variant: np.stack([iou_counts(image) for image in confused]) for variant, confused in found.items()}
        return [
            Outcome(
                variant=variant,
                scores=pixel_scores(counted[variant], task.config.interval),
                counts=sizes | ({"voters": voters} if variant == "knn" else {}),
                details={"confusion": np.sum(confused, 0).tolist()} | pixel_details(counted[variant]),
                train_fingerprint=scenes_fingerprint(train, numbers),
                test_fingerprint=scenes_fingerprint(test, test_numbers),
            )
            for variant, confused in found.items()
        ]


def build(config: DenseConfig) -> Dense:
    """See ProtocolSpec.build."""
    return Dense(config)


def train_probe(
    features: Float[Tensor, "n d"], shares: Float[Tensor, "n c"], config: DenseConfig, device: torch.device
) -> Scorer:
    """A softmax layer on standardised features whose target is the class shares of a patch.

    That is the cross-entropy of all labelled pixels, each scored by the patch it lies in.
    """
    standardise = Standardiser.of(features)
    layer = zero_layer(features.shape[1], shares.shape[1]).to(device)
    optimizer = torch.optim.SGD(layer.parameters(), lr=config.dense_lr, momentum=0.9)
    generator = torch.Generator().manual_seed(config.dense_seed)
    batches: list[Tensor] = []
    for step in range(config.dense_steps):
        if not batches:
            batches = list(torch.randperm(len(features), generator=generator).split(config.dense_batch_size))
        rows = batches.pop(0)
        wanted = shares[rows].to(device)
        optimizer.param_groups[0]["lr"] = cosine(config.dense_lr, 0, step / config.dense_steps)
        optimizer.zero_grad()
        log_shares = layer(standardise(features[rows]).to(device)).log_softmax(1)
        (-(wanted * log_shares).sum() / wanted.sum()).backward()
        optimizer.step()

    @torch.no_grad()
    def score(patches: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return layer(standardise(patches).to(device)).cpu()

    return score


def retrieval(
    features: Float[Tensor, "n d"], shares: Float[Tensor, "n c"], config: DenseConfig, device: torch.device
) -> Scorer:
    """Class shares of the k nearest of a seeded part of the training patches, weighted by their similarity."""
    rows = np.sort(epoch_order(config.dense_seed, 0, len(features))[: config.dense_memory])
    memory, classes = features[rows], shares[rows] / shares[rows].sum(1, keepdim=True)

    def score(patches: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return nearest_shares(patches, memory, classes, config.dense_k, config.dense_temperature, device)

    return score


def segment_scenes(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    scorers: dict[str, Scorer],
    config: DenseConfig,
    device: torch.device,
) -> dict[str, list[np.ndarray]]:
    """For each scorer the confusion [c c] of every scene; features are made once for all of them, none are kept."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    for maps, labels in stream_patches(backbone, scenes, numbers, config, device):
        patches = maps.flatten(1).T
        for name, score in scorers.items():
            scores = score(patches).T.reshape(-1, *maps.shape[1:])
            predicted = enlarge_argmax(scores, labels.shape)
            found[name].append(confusion(labels, predicted, len(scenes.classes)))
    return found
