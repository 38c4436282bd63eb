"""Tensors as safetensors writes them. Nothing here imports torch."""

from collections.abc import Mapping
from typing import Any


def apart(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors on the CPU, contiguous, each in memory of its own: layers may share a parameter, files do not."""
    taken: set[int] = set()
    found = {}
    for name, tensor in weights.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in taken else tensor
        taken.add(place)
    return found
