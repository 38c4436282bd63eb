"""Gradient caching: the exact gradient of a large batch's loss in the memory of a small one (Gao et al., 2021).

First all micro-batches are encoded without a graph and contrasted as a whole, which gives the gradient of the loss in
each embedding; then each is encoded again with its graph, into which that gradient is fed. Random layers (dropout,
drop path) draw the same numbers both times. Batch norm sees one micro-batch at a time, and counts each once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from samclr.methods.base import Embeddings, StepOutput
from samclr.models.freeze import statistics_kept
from samclr.views.batch import ViewBatch


def backward(fabric: Fabric, method: Any, batch: ViewBatch, micro_batch_size: int | None) -> StepOutput:
    """Add the gradient of the batch's loss to the parameters, in one piece or in micro-batches of rows."""
    rows = len(batch.image_index)
    size = min(micro_batch_size or rows, rows)
    whole = fabric.strategy.precision.convert_input((batch.pixels, *method.module.regions_of(batch)))
    parts = [
        tuple(tuple(group[first : first + size] for group in groups) for groups in whole)
        for first in range(0, rows, size)
    ]
    with torch.no_grad(), fabric.autocast():  # not through the wrapper: it would change buffers under embed's graph
        targets = _joined([method.module.targets(pixels, batch.step, *regions) for pixels, *regions in parts])
    if size == rows:
        output: StepOutput = method.module.contrast(embed(fabric, method, whole, batch.step), targets, batch)
        fabric.backward(output.loss)
        return output
    with torch.no_grad(), statistics_kept([method]):
        states = []
        embedded = []
        for part in parts:
            states.append(_random_state(fabric.device))
            embedded.append(embed(fabric, method, part, batch.step))
    leaves = tuple(_at_least_float32(tensor).requires_grad_() for tensor in _joined(embedded))
    output = method.module.contrast(leaves, targets, batch)
    gradients = torch.autograd.grad(output.loss, leaves)
    pieces = [
        gradient.split([len(tensor) for tensor in tensors])
        for gradient, tensors in zip(gradients, zip(*embedded, strict=True), strict=True)
    ]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        with fabric.no_backward_sync(method, enabled=not last), _replayed(states[number], fabric.device):
            again = embed(fabric, method, part, batch.step)
            share = [(tensor * piece[number]).sum() for tensor, piece in zip(again, pieces, strict=True)]
            fabric.backward(torch.stack(share).sum())
    return output


def embed(fabric: Fabric, method: Any, part: tuple[tuple[Tensor, ...], ...], step: int) -> Embeddings:
    """Of pixels, and what else the method looks at, in the run's precision: Fabric's wrapper sets it on several ranks
    alone.
    """
    pixels, *regions = part
    with fabric.autocast():
        embeddings: Embeddings = method.embed(pixels, step, *regions)
    return embeddings


def _joined(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(group) for group in zip(*parts, strict=True))


def _at_least_float32(tensor: Tensor) -> Tensor:
    """So that small gradients survive half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw what was drawn before, then continue from where the generators stood."""
    now = _random_state(device)
    _set_random_state(state, device)
    try:
        yield
    finally:
        _set_random_state(now, device)


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
