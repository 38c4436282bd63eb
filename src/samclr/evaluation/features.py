"""Frozen features of a labelled split: computed once for each pair of backbone and images, then reused."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from samclr.evaluation.labelled import LabelledSplit, decode_square
from samclr.views.augment import normalise

BATCH = 256
DECODE_AT_ONCE = 4096


def split_features(
    backbone: nn.Module, split: LabelledSplit, image_px: int, device: torch.device, cache: Path
) -> Float[Tensor, "n d"]:
    """Features of a split in float32 on the CPU, read from `cache` if they were computed before."""
    key = f"{weights_fingerprint(backbone)}-{split.fingerprint}-{image_px}"
    path = cache / "features" / f"{key}.safetensors"
    if path.exists():
        return load_file(path)["features"]
    parts = []
    for first in range(0, len(split.refs), DECODE_AT_ONCE):
        pixels = decode_square(split.refs[first : first + DECODE_AT_ONCE], image_px, os.cpu_count() or 1)
        parts.append(pixel_features(backbone, pixels, device))
    features = torch.cat(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}-{os.getpid()}.tmp")
    save_file({"features": features}, beside)
    os.replace(beside, path)
    return features


@torch.inference_mode()
def pixel_features(
    backbone: nn.Module, pixels: UInt8[np.ndarray, "n 3 h w"], device: torch.device
) -> Float[Tensor, "n d"]:
    """Features of decoded images by a backbone in evaluation mode; its mode is put back afterwards."""
    was_training = backbone.training
    backbone.eval().to(device)
    parts = []
    for first in range(0, len(pixels), BATCH):
        batch = torch.from_numpy(pixels[first : first + BATCH]).to(device).float().div_(255.0)
        parts.append(backbone(normalise(batch)).float().cpu())
    backbone.train(was_training)
    return torch.cat(parts)


def weights_fingerprint(backbone: nn.Module) -> str:
    """Changes with any weight, norm statistics included."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
    return digest.hexdigest()[:16]
