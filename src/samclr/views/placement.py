"""Where the bank lies and who crops: the GPU from its own memory where the bank fits, else CPU threads from the map."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from samclr.config import BankPlace
from samclr.errors import RunError
from samclr.scenes.bank import SceneBank
from samclr.views.crop import ViewCropper
from samclr.views.plan import AugmentDraws

if TYPE_CHECKING:
    from samclr.views.gpu import GpuCropper

DEVICE_SHARE = 0.5  # of the device's free memory that a bank may take; the rest is for training


def open_cropper(
    bank: SceneBank, device: torch.device, place: BankPlace, num_threads: int
) -> "tuple[ViewCropper | GpuCropper, str]":
    """The cropper for `place`, and a line that tells what was chosen on a GPU and why.

    Raises:
        RunError: the place was asked for and cannot be had.
    """
    why_not = _why_not(bank, device)
    size = f"{sum(len(part) for part in bank.parts) / 1e9:.2f} GB"
    if place in ("device", "pinned") and why_not:
        raise RunError(f"the bank cannot be put on {place}: {why_not}; leave out --bank-on, or give --bank-on map")
    if place == "auto" and why_not is None:
        why_not = _too_large(bank, device)
    if place == "map" or (place == "auto" and why_not):
        note = f"bank: {size}, cropped by {num_threads} CPU threads" + (f" ({why_not})" if why_not else "")
        return ViewCropper(bank, num_threads), note if device.type == "cuda" else ""
    from samclr.views.gpu import GpuCropper

    try:
        cropper = GpuCropper(bank, device, pinned=place == "pinned")
    except (torch.OutOfMemoryError, RuntimeError) as error:
        raise RunError(
            f"the bank of {size} does not fit ({str(error).splitlines()[0]}); give --bank-on map or auto, or a smaller "
            f"--max-side"
        ) from None
    where = f"in pinned memory, read by {device}" if place == "pinned" else f"on {device}"
    return cropper, f"bank: {size} {where}"


def _why_not(bank: SceneBank, device: torch.device) -> str | None:
    """Why the GPU cannot crop at all; None if it can."""
    if bank.codec != "raw":
        return f"a {bank.codec} bank is decoded by the CPU"
    return kernels_missing(device)


def _too_large(bank: SceneBank, device: torch.device) -> str | None:
    size, free = sum(len(part) for part in bank.parts), torch.cuda.mem_get_info(device)[0]
    if size <= free * DEVICE_SHARE:
        return None
    return f"over {DEVICE_SHARE:.0%} of the device's free {free / 1e9:.1f} GB"


@lru_cache(maxsize=8)
def kernels_missing(device: torch.device) -> str | None:
    """Why our GPU kernels cannot be used on a device; None if they can. They are compiled by a trial."""
    if device.type != "cuda":
        return f"it needs a GPU, this is {device.type}"
    one = (1, 1)
    drawn = AugmentDraws(
        flip=np.zeros(one, bool),
        jitter=np.ones(one, bool),
        jitter_order=np.zeros(one, np.int64),
        brightness=np.ones(one),
        contrast=np.ones(one),
        saturation=np.ones(one),
        hue=np.zeros(one),
        grey=np.zeros(one, bool),
        blur_sigma=np.ones(one),
        solarise=np.zeros(one, bool),
    )
    try:
        from samclr.views.gpu import augment_on_gpu

        augment_on_gpu(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8, device=device), drawn)
        torch.cuda.synchronize(device)
    except Exception as error:  # no Triton, no C compiler, a card it does not know: training goes on without
        return f"its kernels do not compile here, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return None
