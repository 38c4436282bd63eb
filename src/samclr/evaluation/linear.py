"""Linear probe on cached features: a softmax layer trained by SGD, the protocol of the paper's code without crops.

Features may lie in a memory map larger than memory: they are read batch by batch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.draws import epoch_order
from samclr.errors import EvaluationError
from samclr.evaluation.neighbours import hits, rank
from samclr.evaluation.protocols.linear_spec import ProbeConfig
from samclr.log import option_of
from samclr.models.schedules import cosine

ROWS_AT_ONCE = 16_384
SCORES_AT_ONCE = 16_000_000  # numbers: images x classes
HELD_OUT_FRAC = 0.2


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Test accuracies after each epoch; the last is the result, the best stands beside it and is optimistic.

    `ranked`: the at most five best classes of every test image after the last epoch.
    """

    top1: list[float]
    top5: list[float]
    ranked: Int[Tensor, "m r"]
    lr: float


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Mean 0 and deviation 1 for each dimension of a training split, so that one learning rate fits any backbone."""

    mean: Float[Tensor, "d"]
    std: Float[Tensor, "d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "Standardiser":
        """Measured in double precision, chunk by chunk."""
        total = torch.zeros(features.shape[1], dtype=torch.float64)
        for chunk in features.split(ROWS_AT_ONCE):
            total += chunk.double().sum(0)
        mean = total / len(features)
        squares = torch.zeros_like(total)
        for chunk in features.split(ROWS_AT_ONCE):
            squares += (chunk.double() - mean).square_().sum(0)
        std = (squares / max(len(features) - 1, 1)).sqrt()
        return cls(mean=mean.float(), std=std.float().clamp_min(1e-6))

    def __call__(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Standardise a batch."""
        return (features - self.mean) / self.std


def linear_probe(
    train: Float[Tensor, "n d"],
    train_labels: Int[Tensor, "n"],
    test: Float[Tensor, "m d"],
    test_labels: Int[Tensor, "m"],
    num_classes: int,
    config: ProbeConfig,
) -> ProbeResult:
    """Train the probe on all of the training split, at the learning rate given or chosen by the sweep.

    Features are standardised by the training split. SGD with momentum 0.9, no weight decay, cosine to zero.

    Raises:
        EvaluationError: the sweep has too few labels to hold some out.
    """
    lr = config.probe_lr
    if config.probe_sweep:
        kept, held = held_out(train_labels.numpy(), config.probe_seed)
        fitted = train[kept], train_labels[kept], train[held], train_labels[held]
        # The first of equals: the sweep's order decides.
        lr = max(config.probe_sweep, key=lambda rate: _train(*fitted, num_classes, config, rate).top1[-1])
    return _train(train, train_labels, test, test_labels, num_classes, config, lr)


def held_out(labels: Int[np.ndarray, "n"], seed: int) -> tuple[Int[np.ndarray, "kept"], Int[np.ndarray, "held"]]:
    """Rows to train on and rows held out, a fifth of each class, seeded; a class of one keeps its row.

    Raises:
        EvaluationError: no class has two rows.
    """
    held = []
    for number in np.unique(labels):
        rows = np.flatnonzero(labels == number)
        count = min(max(round(HELD_OUT_FRAC * len(rows)), 1), len(rows) - 1)
        held.append(rows[epoch_order(seed, int(number), len(rows))[:count]])
    chosen = np.sort(np.concatenate(held))
    if len(chosen) == 0:
        raise EvaluationError(
            f"no learning rate can be chosen from {len(labels)} labels, one per class: "
            f"leave out {option_of('probe_sweep')} and name one rate with {option_of('probe_lr')}"
        )
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def zero_layer(width: int, num_classes: int) -> nn.Linear:
    """A softmax layer that says nothing yet. Draws nothing from torch's own generator."""
    layer = nn.utils.skip_init(nn.Linear, width, num_classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _train(
    train: Float[Tensor, "n d"],
    train_labels: Int[Tensor, "n"],
    test: Float[Tensor, "m d"],
    test_labels: Int[Tensor, "m"],
    num_classes: int,
    config: ProbeConfig,
    lr: float,
) -> ProbeResult:
    standardise = Standardiser.of(train)
    generator = torch.Generator().manual_seed(config.probe_seed)
    layer = zero_layer(train.shape[1], num_classes)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
    batches = math.ceil(len(train) / config.probe_batch_size)
    rate = lr * config.probe_batch_size / 256
    top1, top5 = [], []
    for epoch in range(config.probe_epochs):
        for number, rows in enumerate(torch.randperm(len(train), generator=generator).split(config.probe_batch_size)):
            optimizer.param_groups[0]["lr"] = cosine(rate, 0, (epoch + number / batches) / config.probe_epochs)
            optimizer.zero_grad()
            F.cross_entropy(layer(standardise(train[rows])), train_labels[rows]).backward()
            optimizer.step()
        ranked = rank_all(layer, standardise, test)
        top1.append(float(hits(ranked, test_labels, 1).mean()))
        top5.append(float(hits(ranked, test_labels, 5).mean()))
    return ProbeResult(top1=top1, top5=top5, ranked=ranked, lr=lr)


@torch.no_grad()
def rank_all(layer: nn.Linear, standardise: Standardiser, features: Float[Tensor, "n d"]) -> Int[Tensor, "n r"]:
    """The layer's at most five best classes for all features, chunk by chunk."""
    at_once = min(ROWS_AT_ONCE, max(SCORES_AT_ONCE // layer.out_features, 1))
    return torch.cat([rank(layer(standardise(chunk))) for chunk in features.split(at_once)])
