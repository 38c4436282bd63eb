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
from torch import Tensor, nn

from samclr.methods.base import Embeddings, Pixels, StepOutput
from samclr.views.batch import ViewBatch


def backward(fabric: Fabric, method: Any, batch: ViewBatch, micro_batch_size: int | None) -> StepOutput:
    """Add the gradient of the batch's loss to the parameters, in one piece or in micro-batches of rows."""
    rows = len(batch.image_index)
    size = min(micro_batch_size or rows, rows)
    pixels = fabric.strategy.precision.convert_input(batch.pixels)
    parts = [tuple(group[first : first + size] for group in pixels) for first in range(0, rows, size)]
    with torch.no_grad(), fabric.autocast():  # not through the wrapper: it would change buffers under embed's graph
        targets = _joined([method.module.targets(part, batch.step) for part in parts])
    if size == rows:
        output: StepOutput = method.module.contrast(embed(fabric, method, pixels, batch.step), targets, batch)
        fabric.backward(output.loss)
        return output
    with torch.no_grad(), _unchanged_statistics(method):
        states = []
        embedded = []
        for part in parts:
            states.append(_random_state(fabric.device))
            embedded.append(embed(fabric, method, part, batch.step))
    leaves = tuple(_at_least_float32(tensor).requires_grad_() for tensor in _joined(embedded))
    output = method.module.contrast(leaves, targets, batch)
    gradients = torch.autograd.grad(output.loss, leaves)
    for number, part in enumerate(parts):
        first = number * size
        last = number == len(parts) - 1
        with fabric.no_backward_sync(method, enabled=not last), _replayed(states[number], fabric.device):
            again = embed(fabric, method, part, batch.step)
            share = [
                (tensor * gradient[first : first + len(tensor)]).sum()
                for tensor, gradient in zip(again, gradients, strict=True)
            ]
            fabric.backward(torch.stack(share).sum())
    return output


def embed(fabric: Fabric, method: Any, pixels: Pixels, step: int) -> Embeddings:
    """In the run's precision: Fabric's wrapper sets it on several ranks alone."""
    with fabric.autocast():
        embeddings: Embeddings = method.embed(pixels, step)
    return embeddings


def _joined(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(group) for group in zip(*parts, strict=True))


def _at_least_float32(tensor: Tensor) -> Tensor:
    """So that small gradients survive half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@contextmanager
def _unchanged_statistics(method: nn.Module) -> Iterator[None]:
    """Batch norms of the trained encoder normalise by the batch but remember nothing of it."""
    norms = [m for m in method.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = [None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)


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
