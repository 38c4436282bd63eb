"""Fingerprints of backbones, and names of what is kept in the cache: they change with all that decides its content."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import PIL
import timm
import torch
from torch import Tensor, nn

from samclr._version import __version__
from samclr.config.normalisation import normalisation_of
from samclr.config.serialise import to_dict
from samclr.models.weights import COUNTERS

KEY_FORMAT = 2  # of the names, and of what samclr itself does to pixels between two versions
PASSING = ("training", "_is_full_backward_hook", "grad_checkpointing")  # attributes of modules that change no features


def cache_key(backbone: nn.Module, device: torch.device, *parts: Any) -> str:
    """32 hex digits that change with what a backbone makes of pixels, and with `parts` (plain JSON values).

    That is its architecture and weights, the normalisation of its input, the kind of device, and the versions of the
    libraries that compute; images and their size belong into `parts`.
    """
    versions = [KEY_FORMAT, __version__, torch.__version__, timm.__version__, PIL.__version__]
    own = [structure_fingerprint(backbone), weights_fingerprint(backbone), to_dict(normalisation_of(backbone))]
    text = json.dumps([*versions, *own, device.type, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def weights_fingerprint(backbone: nn.Module) -> str:
    """Changes with any weight, norm statistics included; not with the counters of batch norms."""
    return _fingerprint(backbone.state_dict().items())


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Changes with any tensor by its name, whatever their order; not with the counters of batch norms."""
    return _fingerprint(sorted(tensors.items()))


def _fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(name.encode())
        if not name.endswith(COUNTERS):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def structure_fingerprint(module: nn.Module) -> str:
    """Changes with any layer, its kind and its settings, shapes included; not with the weights.

    Two networks of equal weights may differ in strides, pooling or the order of their layers.
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        settings = {key: value for key, value in vars(part).items() if key not in PASSING}
        plain = sorted((key, text) for key, value in settings.items() if (text := _plain(value)) is not None)
        digest.update(repr((name, type(part).__module__, type(part).__qualname__, plain)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
    return digest.hexdigest()


def _plain(value: Any) -> str | None:
    """A setting as text that is the same in every process; None for what is not a setting."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, list | tuple):
        texts = [_plain(item) for item in value]
        return None if None in texts else repr(texts)
    return getattr(value, "__qualname__", None)  # functions, such as activations
