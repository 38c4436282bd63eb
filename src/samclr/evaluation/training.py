"""What protocols that train on crops share: epochs, and a state in the cache. Killed and started again, they go on
after their last whole epoch; finished, they are read from the cache."""

import io
import time
from collections.abc import Callable
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
from samclr.storage.checksums import seal, without_seal
from samclr.storage.files import remove_leftovers, replacing_path

SAVE_EVERY_S = 60.0
SAY_EVERY_S = 30.0


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
    first, top1, top5, ranked = 0, [], [], None
    state = load_state(state_file)
    if state is not None:
        first, top1, top5, ranked = state["epochs"], state["top1"], state["top5"], state["ranked"]
        if first < epochs:
            trained.load_state_dict(state["trained"])
            optimizer.load_state_dict(state["optimizer"])
    start = last_said = last_saved = time.monotonic()
    for epoch in range(first, epochs):
        for number, (pixels, wanted) in enumerate(crops.epoch(epoch, device)):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = cosine(rate, 0, (epoch + number / crops.num_batches) / epochs)
            optimizer.zero_grad()
            loss = F.cross_entropy(logits(pixels), wanted)
            loss.backward()
            optimizer.step()
        if not bool(torch.isfinite(loss)):
            raise EvaluationError(f"{title}: the loss is not finite in epoch {epoch + 1}; lower its learning rate")
        with torch.no_grad():
            ranked = answer()
        top1.append(float(hits(ranked, labels, 1).mean()))
        top5.append(float(hits(ranked, labels, 5).mean()))
        now = time.monotonic()
        whole = epoch + 1 == epochs
        if whole or now - last_saved > SAVE_EVERY_S:
            _save(state_file, epoch + 1, top1, top5, ranked, None if whole else (trained, optimizer))
            last_saved = now
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


def _save(
    path: Path, epochs: int, top1: list[float], top5: list[float], ranked: Tensor,
    trained: tuple[nn.Module, torch.optim.Optimizer] | None,
) -> None:  # fmt: skip
    state: dict[str, Any] = {"epochs": epochs, "top1": top1, "top5": top5, "ranked": ranked}
    if trained is not None:  # a finished protocol needs its answers alone
        state |= {"trained": trained[0].state_dict(), "optimizer": trained[1].state_dict()}
    save_state(path, state)


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
