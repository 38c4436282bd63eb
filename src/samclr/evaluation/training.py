"""What protocols that train share: a state in the cache, and, of those that train on crops, their epochs. Killed and
started again, they go on after the last step that was saved; finished, they are read from the cache."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from samclr.datasets.labelled import LabelledSet
from samclr.errors import EvaluationError
from samclr.evaluation.crops import BANK_CROPS, CROP_RATIO, LabelledCrops
from samclr.evaluation.linear import ProbeResult
from samclr.evaluation.neighbours import hits
from samclr.evaluation.squares import SQUARE
from samclr.log import say, tell
from samclr.models.fingerprints import cache_key
from samclr.models.schedules import cosine
from samclr.processes.stopping import stop_requested, stop_signals, stopped
from samclr.storage.checksums import seal, without_seal
from samclr.storage.files import remove_leftovers, replacing_path

SAVE_EVERY_S = 60.0
SAY_EVERY_S = 30.0
STOPPED = "stopped; rerun the same command to resume"


class Keeper:
    """Keeps where a training stands: now and then, at its end, and when it is told to stop. See `kept`."""

    def __init__(self, path: Path):
        self._path, self._last_saved = path, time.monotonic()

    def keep(self, state: Callable[[], dict[str, Any] | None], *, is_whole: bool = False) -> None:
        """Call it after each step, and as often as one likes between two. state: as of now; None saves nothing.

        Raises:
            Stopped: by SIGTERM or Ctrl-C; the state is saved.
        """
        is_told = stop_requested()
        if is_whole or is_told or time.monotonic() - self._last_saved > SAVE_EVERY_S:
            found = state()
            if found is not None:
                save_state(self._path, found)
            self._last_saved = time.monotonic()
        if is_told:
            raise stopped(STOPPED)


@contextmanager
def kept(path: Path) -> Iterator[Keeper]:
    """A training whose state is kept in a file; meanwhile signals wait for its keeper, and end no step in between."""
    with stop_signals():
        yield Keeper(path)


def train_on_crops(
    title: str,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    logits: Callable[[Tensor], Tensor],
    answer: Callable[[], Tensor],
    labels: Int[Tensor, "m"],
    crops: LabelledCrops,
    epochs: int,
    state_file: Path,
    device: torch.device,
) -> ProbeResult:
    """SGD with cosine to zero; what the test images are taken for after every epoch."""
    rates = [group["lr"] for group in optimizer.param_groups]
    first, begun, top1, top5, ranked = 0, 0, [], [], None
    state = load_state(state_file)
    if state is not None:
        first, top1, top5, ranked = state["epochs"], state["top1"], state["top5"], state["ranked"]
        begun = state.get("batches", 0)
        if first < epochs:
            trained.load_state_dict(state["trained"])
            optimizer.load_state_dict(state["optimizer"])
    start = last_said = time.monotonic()
    with kept(state_file) as keeper:
        for epoch in range(first, epochs):
            for number, (pixels, wanted) in enumerate(crops.epoch(epoch, device, begun), begun):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = cosine(rate, 0, (epoch + number / crops.num_batches) / epochs)
                optimizer.zero_grad()
                loss = F.cross_entropy(logits(pixels), wanted)
                loss.backward()
                optimizer.step()
                done = number + 1
                if done == crops.num_batches and not bool(torch.isfinite(loss)):
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


def state_path(
    kind: str, backbone: nn.Module, labelled: LabelledSet, settings: dict[str, Any], device: torch.device, cache: Path
) -> Path:
    images = [labelled.train.fingerprint, labelled.test.fingerprint, len(labelled.classes), CROP_RATIO, BANK_CROPS]
    return cache / "probes" / f"{kind}-{cache_key(backbone, device, kind, *images, SQUARE, settings)}.pt"


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


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of a protocol that trains in one move: a kill leaves the old one or the new one."""
    with replacing_path(path) as beside:
        content = io.BytesIO()
        torch.save(state, content)  # which says nothing of a full disk
        beside.write_bytes(content.getbuffer())
        seal(beside)


def load_state(path: Path) -> dict[str, Any] | None:
    """What was saved; None if there is nothing, or something damaged: that is reported, and the protocol runs again."""
    remove_leftovers(path.parent)
    if not path.exists():
        return None
    content = without_seal(path.read_bytes())
    if content is None:
        say(f"{path} in the cache is damaged; the protocol runs again")
        return None
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
