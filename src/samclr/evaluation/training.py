"""Protocols that train on crops: the paper's linear probe, and fine-tuning. Killed and started again, they go on
after their last whole epoch; finished, they are read from the cache."""

import copy
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.config.evaluation import CropProbeConfig, FineTuneConfig
from samclr.config.normalisation import normalisation_of
from samclr.config.serialise import to_dict
from samclr.datasets.labelled import LabelledSet
from samclr.errors import EvaluationError
from samclr.evaluation.crops import BANK_CROPS, CROP_RATIO, LabelledCrops
from samclr.evaluation.features import SQUARE, pixel_features, split_features
from samclr.evaluation.linear import ROWS_AT_ONCE, ProbeResult, cosine_lr, zero_layer
from samclr.evaluation.neighbours import hits, rank
from samclr.evaluation.squares import decode_square
from samclr.log import say
from samclr.models.backbone import feature_width
from samclr.models.fingerprints import cache_key
from samclr.storage.checksums import seal, without_seal
from samclr.storage.files import replacing_path

SAVE_EVERY_S = 60.0
SAY_EVERY_S = 30.0
DECODE_AT_ONCE = 1024


def crop_probe(
    backbone: nn.Module, labelled: LabelledSet, config: CropProbeConfig, device: torch.device, cache: Path
) -> ProbeResult:
    """The paper's linear probe: frozen backbone in evaluation mode, a softmax layer on features as they are."""
    crops = LabelledCrops(
        labelled.train, size_px=config.crop_px, min_scale=config.crop_min_scale,
        batch_size=config.crop_batch_size, seed=config.crop_seed, cache=cache,
    )  # fmt: skip
    test = split_features(backbone, labelled.test, config.crop_px, device, cache)
    backbone.eval().to(device)
    layer = zero_layer(feature_width(backbone), len(labelled.classes)).to(device)
    normalisation = normalisation_of(backbone)
    rate = config.crop_lr * config.crop_batch_size / 256
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9)

    def logits(pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        with torch.no_grad():
            features = backbone(normalisation(pixels)).float()
        return layer(features)

    def answer() -> Int[Tensor, "n r"]:
        return torch.cat([rank(layer(chunk.to(device)).cpu()) for chunk in test.split(ROWS_AT_ONCE)])

    state = _state_path("crop-probe", backbone, labelled, to_dict(config), device, cache)
    labels = torch.from_numpy(labelled.test.labels)
    return _train(
        "linear probe on crops", layer, optimizer, logits, answer, labels, crops, config.crop_epochs, state, device
    )


def fine_tune(
    backbone: nn.Module, labelled: LabelledSet, config: FineTuneConfig, device: torch.device, cache: Path
) -> ProbeResult:
    """Train all weights of a copy of the backbone, and a softmax layer on it with a learning rate of its own."""
    crops = LabelledCrops(
        labelled.train, size_px=config.tune_px, min_scale=config.tune_min_scale,
        batch_size=config.tune_batch_size, seed=config.tune_seed, cache=cache,
    )  # fmt: skip
    normalisation = normalisation_of(backbone)
    state = _state_path("fine-tune", backbone, labelled, to_dict(config), device, cache)
    body = copy.deepcopy(backbone).requires_grad_(True)
    model = nn.Sequential(body, zero_layer(feature_width(backbone), len(labelled.classes))).to(device)
    scale = config.tune_batch_size / 256
    rates = (config.tune_backbone_lr * scale, config.tune_head_lr * scale)
    groups = [{"params": part.parameters(), "lr": rate} for part, rate in zip(model, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=config.tune_weight_decay)
    test = labelled.test

    def logits(pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        model.train()
        return model(normalisation(pixels))

    def answer() -> Int[Tensor, "n r"]:
        ranked = []
        for first in range(0, len(test.refs), DECODE_AT_ONCE):
            pixels = decode_square(test.refs[first : first + DECODE_AT_ONCE], config.tune_px, os.cpu_count() or 1)
            ranked.append(rank(pixel_features(model, pixels, device, normalisation)))
        return torch.cat(ranked)

    labels = torch.from_numpy(test.labels)
    return _train("fine-tuning", model, optimizer, logits, answer, labels, crops, config.tune_epochs, state, device)


def _train(
    title: str,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    logits: Callable[[Tensor], Tensor],
    answer: Callable[[], Tensor],
    labels: Int[Tensor, "m"],
    crops: LabelledCrops,
    epochs: int,
    state_path: Path,
    device: torch.device,
) -> ProbeResult:
    """SGD with cosine to zero; what the test images are taken for after every epoch."""
    rates = [group["lr"] for group in optimizer.param_groups]
    first, top1, top5, ranked = 0, [], [], None
    state = _load(state_path)
    if state is not None:
        first, top1, top5, ranked = state["epochs"], state["top1"], state["top5"], state["ranked"]
        if first < epochs:
            trained.load_state_dict(state["trained"])
            optimizer.load_state_dict(state["optimizer"])
    start = last_said = last_saved = time.monotonic()
    for epoch in range(first, epochs):
        for number, (pixels, wanted) in enumerate(crops.epoch(epoch, device)):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = cosine_lr(rate, (epoch + number / crops.num_batches) / epochs)
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
            _save(state_path, epoch + 1, top1, top5, ranked, None if whole else (trained, optimizer))
            last_saved = now
        if now - last_said > SAY_EVERY_S:
            left = (now - start) / (epoch + 1 - first) * (epochs - epoch - 1)
            say(f"{title}: epoch {epoch + 1} of {epochs}, top-1 {top1[-1]:.1%}, about {left / 60:.0f} min to go")
            last_said = now
    assert ranked is not None
    return ProbeResult(top1=top1, top5=top5, ranked=ranked, lr=rates[-1])


def _state_path(
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
    with replacing_path(path) as beside:
        content = io.BytesIO()
        torch.save(state, content)  # which says nothing of a full disk
        beside.write_bytes(content.getbuffer())
        seal(beside)


def _load(path: Path) -> dict[str, Any] | None:
    """What was saved; None if there is nothing, or something damaged: the protocol is run anew then, which is said."""
    if not path.exists():
        return None
    content = without_seal(path.read_bytes())
    if content is None:
        say(f"{path} in the cache is damaged; the protocol is run anew")
        return None
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
