"""Where the bank is and what crops: the GPU from its own memory where the bank fits, else CPU threads from the map."""

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from samclr.bank.bank import SceneBank
from samclr.config.pretrain import BankPlace
from samclr.errors import RunError
from samclr.log import option_of, say
from samclr.views.crop import ViewCropper

if TYPE_CHECKING:
    from samclr.views.gpu import GpuCropper

DEVICE_SHARE = 0.5  # of the device's free memory that a bank may take; the rest is for training


def open_cropper(
    bank: SceneBank, device: torch.device, place: BankPlace, num_threads: int
) -> "tuple[ViewCropper | GpuCropper, str]":
    """The cropper for `place`, and on a GPU a line that says what was chosen and why.

    Raises:
        RunError: the place was asked for and is not available.
        PartsError: a file of the bank is damaged.
    """
    why_not = kernels_missing(device) or (None if bank.codec == "raw" else f"the CPU decodes a {bank.codec} bank")
    num_bytes = sum(len(part) for part in bank.parts)
    size = f"{num_bytes / 1e9:.2f} GB"
    if place in ("device", "pinned") and why_not:
        raise RunError(
            f"the bank cannot be put on {place}: {why_not}; "
            f"leave out {option_of('bank_on')}, or give {option_of('bank_on')} map"
        )
    if place == "auto":
        why_not = why_not or _too_large(num_bytes, device)
    if place in ("device", "pinned") or (place == "auto" and why_not is None):
        from samclr.views.gpu import GpuCropper

        try:
            cropper = GpuCropper(bank, device, pinned=place == "pinned")
        except RuntimeError as error:  # torch's word for memory that cannot be had, or not be pinned
            why_not = f"{size} cannot be allocated there, {str(error).splitlines()[0]}"
            if place != "auto":
                raise RunError(
                    f"the bank cannot be put on {place}: {why_not}; give {option_of('bank_on')} map"
                ) from None
        else:
            where = f"in pinned memory, read by {device}" if place == "pinned" else f"on {device}"
            return cropper, f"bank: {size} {where}"
    note = f"bank: {size}, cropped by {num_threads} CPU threads" + (f" ({why_not})" if why_not else "")
    return ViewCropper(bank, num_threads), note if device.type == "cuda" else ""


def _too_large(num_bytes: int, device: torch.device) -> str | None:
    free = torch.cuda.mem_get_info(device)[0]
    if num_bytes <= free * DEVICE_SHARE:
        return None
    return f"over {DEVICE_SHARE:.0%} of the device's free {free / 1e9:.1f} GB"


@lru_cache(maxsize=8)
def kernels_missing(device: torch.device) -> str | None:
    """Why our GPU kernels cannot be used on a device; None if they can. The first call compiles and runs them once."""
    if device.type != "cuda":
        return f"it needs a GPU, this is {device.type}"
    try:
        from samclr.views.gpu import try_kernels

        try_kernels(device)
    except Exception as error:  # no Triton, no C compiler, a card it does not know: training goes on without
        return f"samclr's GPU kernels fail here, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return None


@lru_cache(maxsize=32)
def kernels_agree(device: torch.device, height: int, width: int) -> bool:
    """Whether our kernels make the views that the CPU makes; said where they do not. Each size is tried once."""
    from samclr.views.gpu import VIEWS_DIFFER, views_differ

    difference = views_differ(device, height, width)
    if difference > VIEWS_DIFFER:
        say(
            f"views of {height}x{width} px made by samclr's kernels on {device} differ from the CPU's by up to "
            f"{difference:.2g}; they are made by torch instead, which is slower"
        )
    return difference <= VIEWS_DIFFER
