"""What protocols with epochs share. Killed and started again, they go on after the last step that was saved; finished,
they are read from the cache."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from samclr.draws import layers_seed
from samclr.errors import EvaluationError
from samclr.evaluation.neighbours import hits
from samclr.evaluation.states import kept, load_state
from samclr.log import tell
from samclr.models.devices import own_draws
from samclr.models.schedules import cosine

SAY_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Test accuracies after each epoch; the last is the result, the best stands beside it and is optimistic.

    `ranked`: the at most five best classes of every test image after the last epoch.
    """

    top1: list[float]
    top5: list[float]
    ranked: Int[Tensor, "m r"]
    lr: float


class EpochBatches(Protocol):
    """What is trained on, epoch by epoch."""

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""

    def epoch(self, number: int, device: torch.device, first: int = 0) -> Iterator[tuple[Tensor, Int[Tensor, "b"]]]:
        """Inputs and labels on the device, from batch `first` on; the same whichever batches were taken before."""


def train_epochs(
    title: str,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    logits: Callable[[Tensor], Tensor],
    answer: Callable[[], Tensor],
    labels: Int[Tensor, "m"],
    batches: EpochBatches,
    epochs: int,
    state_file: Path | None,
    device: torch.device,
    must_be_finite: bool = True,
    layers_of: int | None = None,
) -> ProbeResult:
    """SGD with cosine to zero; what the test images are taken for after every epoch.

    Args:
        title: of what is trained, for messages.
        trained: the module that learns; its state, and that of the optimiser, are kept.
        logits: of a batch of inputs.
        answer: the at most five best classes of each test image, best first.
        labels: of the test images.
        batches: what is trained on.
        epochs: in all.
        state_file: where the state is kept; None keeps none.
        device: of the batches.
        must_be_finite: whether a loss that is not ends the training.
        layers_of: the seed by which each step seeds random layers, such as drop path; None where there are none.

    Raises:
        EvaluationError: the loss is not finite.
        Stopped: by SIGTERM or Ctrl-C, where a state is kept; it is saved.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    first, begun, top1, top5, ranked = 0, 0, [], [], None
    state = None if state_file is None else load_state(state_file)
    if state is not None:
        first, top1, top5, ranked = state["epochs"], state["top1"], state["top5"], state["ranked"]
        begun = state.get("batches", 0)
        if first < epochs:
            trained.load_state_dict(state["trained"])
            optimizer.load_state_dict(state["optimizer"])
    start = last_said = time.monotonic()
    with kept(state_file) as keeper, own_draws(device):
        for epoch in range(first, epochs):
            for number, (pixels, wanted) in enumerate(batches.epoch(epoch, device, begun), begun):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = cosine(rate, 0, (epoch + number / batches.num_batches) / epochs)
                optimizer.zero_grad()
                if layers_of is not None:
                    torch.manual_seed(layers_seed(layers_of, epoch * batches.num_batches + number, 0))
                loss = F.cross_entropy(logits(pixels), wanted)
                loss.backward()
                optimizer.step()
                done = number + 1
                if must_be_finite and done == batches.num_batches and not bool(torch.isfinite(loss)):
                    raise EvaluationError(
                        f"{title}: the loss is not finite in epoch {epoch + 1}; lower its learning rate"
                    )
                keeper.keep(partial(_state, epoch, done, top1, top5, ranked, (trained, optimizer)))
            begun = 0
            with torch.no_grad():
                ranked = answer()
            top1.append(float(hits(ranked, labels, 1).mean()))
            top5.append(float(hits(ranked, labels, 5).mean()))
            is_whole = epoch + 1 == epochs
            training = None if is_whole else (trained, optimizer)
            keeper.keep(partial(_state, epoch + 1, 0, top1, top5, ranked, training), is_whole=is_whole)
            now = time.monotonic()
            if now - last_said > SAY_EVERY_S:
                left = (now - start) / (epoch + 1 - first) * (epochs - epoch - 1)
                tell(f"{title}: epoch {epoch + 1} of {epochs}, top-1 {top1[-1]:.1%}, about {left / 60:.0f} min to go")
                last_said = now
    assert ranked is not None
    return ProbeResult(top1=top1, top5=top5, ranked=ranked, lr=rates[-1])


def _state(
    epochs: int, batches: int, top1: list[float], top5: list[float], ranked: Tensor | None,
    trained: tuple[nn.Module, torch.optim.Optimizer] | None,
) -> dict[str, Any]:  # fmt: skip
    """After whole epochs, whose answers are there, and batches of the next."""
    state: dict[str, Any] = {"epochs": epochs, "top1": top1, "top5": top5, "ranked": ranked}
    if trained is not None:  # a finished protocol needs its answers alone
        own = {"trained": trained[0].state_dict(), "optimizer": trained[1].state_dict()}
        state |= {"batches": batches} | own
    return state
