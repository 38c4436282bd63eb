"""Linear probe on cached features: a softmax layer trained by SGD, the protocol of the paper's code without crops.

Features may lie in a memory map larger than memory: they are read batch by batch, and no part of them is copied whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.draws import epoch_order
from samclr.errors import EvaluationError
from samclr.evaluation.neighbours import rank
from samclr.evaluation.protocols.linear_spec import ProbeConfig
from samclr.evaluation.training import ProbeResult, train_epochs
from samclr.log import option_of

ROWS_AT_ONCE = 16_384
SCORES_AT_ONCE = 16_000_000  # numbers: images x classes
HELD_OUT_FRAC = 0.2


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Features with their labels, or some of their rows.

    rows: numbers of these; all where it is None.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, "n"]
    rows: Int[Tensor, "r"] | None = None

    def __len__(self) -> int:
        return len(self.features) if self.rows is None else len(self.rows)

    def some(self, places: Int[np.ndarray, "q"]) -> "Rows":
        """Some of these rows."""
        chosen = torch.from_numpy(places)
        return replace(self, rows=chosen if self.rows is None else self.rows[chosen])

    def take(self, places: Int[Tensor, "b"]) -> tuple[Float[Tensor, "b d"], Int[Tensor, "b"]]:
        """A batch, copied."""
        rows = places if self.rows is None else self.rows[places]
        return self.features[rows], self.labels[rows]

    def chunks(self, at_once: int) -> Iterator[Float[Tensor, "_ d"]]:
        """All features, in order."""
        if self.rows is None:
            yield from self.features.split(at_once)
        else:
            yield from (self.features[rows] for rows in self.rows.split(at_once))

    @property
    def own_labels(self) -> Int[Tensor, "r"]:
        """The labels of these rows."""
        return self.labels if self.rows is None else self.labels[self.rows]


class ShuffledRows:
    """Batches of rows, in a new order in each epoch, which is torch's with a generator of this seed."""

    def __init__(self, rows: Rows, batch_size: int, seed: int):
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self._generator, self._next = torch.Generator().manual_seed(seed), 0

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._rows) // self._batch_size)

    def epoch(
        self, number: int, device: torch.device, first: int = 0
    ) -> Iterator[tuple[Float[Tensor, "b d"], Int[Tensor, "b"]]]:
        """Features and labels; the last batch may have fewer."""
        if number < self._next:
            self._generator, self._next = torch.Generator().manual_seed(self._seed), 0
        for _ in range(number - self._next + 1):
            order = torch.randperm(len(self._rows), generator=self._generator)
        self._next = number + 1
        for places in order.split(self._batch_size)[first:]:
            features, labels = self._rows.take(places)
            yield features.to(device), labels.to(device)


@dataclass(frozen=True, kw_only=True)
class Standardiser:
    """Mean 0 and deviation 1 for each dimension of a training split, so that one learning rate fits any backbone."""

    mean: Float[Tensor, "d"]
    std: Float[Tensor, "d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "Standardiser":
        """Measured in double precision, chunk by chunk."""
        return cls.of_rows(Rows(features=features, labels=torch.zeros(len(features), dtype=torch.int64)))

    @classmethod
    def of_rows(cls, rows: Rows) -> "Standardiser":
        """As `of`."""
        total = torch.zeros(rows.features.shape[1], dtype=torch.float64)
        for chunk in rows.chunks(ROWS_AT_ONCE):
            total += chunk.double().sum(0)
        mean = total / len(rows)
        squares = torch.zeros_like(total)
        for chunk in rows.chunks(ROWS_AT_ONCE):
            squares += (chunk.double() - mean).square_().sum(0)
        std = (squares / max(len(rows) - 1, 1)).sqrt()
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
    rows: Int[np.ndarray, "r"] | None = None,
    state_file: Path | None = None,
) -> ProbeResult:
    """Train the probe on all of the training split, at the learning rate given or chosen by the sweep.

    Features are standardised by the training split. SGD with momentum 0.9, no weight decay, cosine to zero.

    Args:
        train: features, [n d]; train_labels: their classes.
        test: features of the test split; test_labels: their classes.
        num_classes: of both.
        config: of the probe.
        rows: of the training split that are all that there is.
        state_file: where it is kept how far this is, of each rate of the sweep in a file beside it; None keeps nothing.

    Raises:
        EvaluationError: the sweep has too few labels to hold some out.
        Stopped: by SIGTERM or Ctrl-C, where a state is kept; it is saved.
    """
    known, asked = Rows(features=train, labels=train_labels), Rows(features=test, labels=test_labels)
    known = known if rows is None else known.some(rows)
    lr = config.probe_lr
    if config.probe_sweep:
        kept, held = (known.some(part) for part in held_out(known.own_labels.numpy(), config.probe_seed))

        def accuracy(rate: float) -> float:
            path = None if state_file is None else state_file.with_stem(f"{state_file.stem}-{rate:g}")
            return _train(kept, held, num_classes, config, rate, path).top1[-1]

        lr = max(config.probe_sweep, key=accuracy)  # The first of equals: the sweep's order decides.
    return _train(known, asked, num_classes, config, lr, state_file)


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
    train: Rows, test: Rows, num_classes: int, config: ProbeConfig, lr: float, state_file: Path | None
) -> ProbeResult:
    standardise = Standardiser.of_rows(train)
    layer = zero_layer(train.features.shape[1], num_classes)
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr * config.probe_batch_size / 256, momentum=0.9)
    batches = ShuffledRows(train, config.probe_batch_size, config.probe_seed)
    result = train_epochs(
        "linear probe", layer, optimizer, lambda features: layer(standardise(features)),
        lambda: rank_rows(layer, standardise, test), test.own_labels, batches, config.probe_epochs, state_file,
        torch.device("cpu"), must_be_finite=False,
    )  # fmt: skip
    return replace(result, lr=lr)


@torch.no_grad()
def rank_rows(layer: nn.Linear, standardise: Standardiser, rows: Rows) -> Int[Tensor, "n r"]:
    """The layer's at most five best classes for all features, chunk by chunk."""
    at_once = min(ROWS_AT_ONCE, max(SCORES_AT_ONCE // layer.out_features, 1))
    return torch.cat([rank(layer(standardise(chunk))) for chunk in rows.chunks(at_once)])
