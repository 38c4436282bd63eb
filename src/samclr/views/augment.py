"""Augment a batch of views with their planned draws, with torchvision's arithmetic.

On the CPU a compiled kernel (samclr.views.augment_kernel) does one view after another, on GPUs Triton's kernels do
(samclr.views.gpu); elsewhere each transform works on all views that drew it. The order is SimCLR's: flip, colour jitter
(its four parts in a drawn order), greyscale, blur, solarise, normalise.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.views.colours import BLUR_RADIUS_SIGMAS, GREY_WEIGHTS, JITTER_ORDERS, JITTER_PARTS
from samclr.views.placement import kernels_agree, kernels_missing
from samclr.views.plan import AugmentDraws


def augment(
    pixels: UInt8[Tensor, "b v c h w"], drawn: AugmentDraws, normalisation: Normalisation = IMAGENET
) -> Float[Tensor, "b v c h w"]:
    """Apply every view's draws and normalise. A view does not depend on the others."""
    if pixels.device.type == "cpu":
        return augment_on_cpu(pixels, drawn, normalisation)
    if kernels_missing(pixels.device) is None and kernels_agree(pixels.device, *pixels.shape[-2:]):
        from samclr.views.gpu import augment_on_gpu

        return augment_on_gpu(pixels, drawn, normalisation)
    return augment_batched(pixels, drawn, normalisation)


def augment_on_cpu(
    pixels: UInt8[Tensor, "b v c h w"], drawn: AugmentDraws, normalisation: Normalisation = IMAGENET
) -> Float[Tensor, "b v c h w"]:
    """View by view, with as many threads as torch uses."""
    from samclr.views.augment_kernel import augment_views  # here, as numba takes a while to import

    num_threads = torch.get_num_threads()
    out = torch.empty(pixels.shape)
    source, target = (views.flatten(0, 1).numpy() for views in (pixels, out))
    factors = np.stack([getattr(drawn, name).reshape(-1) for name in JITTER_PARTS], 1).astype(np.float32)
    draws = [drawn.flip, drawn.jitter, drawn.grey, drawn.blur_sigma.astype(np.float32), drawn.solarise]
    flip, jitter, grey, sigma, solarise = (np.ascontiguousarray(values).reshape(-1) for values in draws)
    order = JITTER_ORDERS[drawn.jitter_order.reshape(-1)]
    mean, std = np.array(normalisation.mean, np.float32), np.array(normalisation.std, np.float32)

    def work(first: int) -> None:
        r = slice(first * len(source) // num_threads, (first + 1) * len(source) // num_threads)
        augment_views(
            source[r], flip[r], jitter[r], order[r], factors[r], grey[r], sigma[r], solarise[r], mean, std, target[r]
        )

    if num_threads == 1:
        work(0)
    else:
        list(_pool(num_threads).map(work, range(num_threads)))
    return out


@lru_cache(maxsize=1)
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="augment")


def augment_batched(
    pixels: UInt8[Tensor, "b v c h w"], drawn: AugmentDraws, normalisation: Normalisation = IMAGENET
) -> Float[Tensor, "b v c h w"]:
    """Transform by transform, on any device."""
    b, v = pixels.shape[:2]
    views = pixels.flatten(0, 1).float().div_(255.0)
    _flip(views, drawn.flip)
    _colour_jitter(views, drawn)
    _on_rows(views, drawn.grey, lambda chosen, _: _grey(chosen).expand_as(chosen))
    _blur(views, drawn.blur_sigma.reshape(-1))
    _on_rows(views, drawn.solarise, lambda chosen, _: torch.where(chosen >= 0.5, 1.0 - chosen, chosen))
    return normalise(views, normalisation).unflatten(0, (b, v))


def normalise(views: Float[Tensor, "n c h w"], normalisation: Normalisation = IMAGENET) -> Float[Tensor, "n c h w"]:
    """Subtract the mean and divide by the deviation, from values 0 to 1."""
    normalised: Tensor = normalisation(views)
    return normalised


def _on_rows(views: Tensor, chosen, change) -> None:  # type: ignore[no-untyped-def]
    """Replace the rows where `chosen` holds by change(those rows, their numbers)."""
    rows = np.flatnonzero(chosen)
    if len(rows):
        index = torch.from_numpy(rows).to(views.device)
        views[index] = change(views[index], rows)


def _flip(views: Float[Tensor, "n c h w"], flip: np.ndarray) -> None:
    _on_rows(views, flip, lambda chosen, _: chosen.flip(-1))


def _colour_jitter(views: Float[Tensor, "n c h w"], drawn: AugmentDraws) -> None:
    order = JITTER_ORDERS[drawn.jitter_order.reshape(-1)]
    applied = drawn.jitter.reshape(-1)
    for turn in range(4):
        for part, name in enumerate(JITTER_PARTS):
            factors = getattr(drawn, name).reshape(-1)
            change = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}[name]

            def apply(chosen: Tensor, rows: np.ndarray, factors=factors, change=change) -> Tensor:  # type: ignore[no-untyped-def]
                factor = torch.from_numpy(factors[rows]).to(chosen.device, torch.float32).view(-1, 1, 1, 1)
                return change(chosen, factor)

            _on_rows(views, applied & (order[:, turn] == part), apply)


def _grey(views: Tensor) -> Tensor:
    red, green, blue = views.unbind(1)
    return (GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue).unsqueeze(1)


def _brightness(views: Tensor, factor: Tensor) -> Tensor:
    return (views * factor).clamp_(0, 1)


def _contrast(views: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(views).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, views, factor).clamp_(0, 1)


def _saturation(views: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(views), views, factor).clamp_(0, 1)


def _hue(views: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the colour circle, in HSV: value and saturation stay."""
    value, strongest = views.max(1)
    chroma = value - views.amin(1)
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    red, green, blue = views.unbind(1)
    sixth = torch.where(
        strongest == 0,
        (green - blue) / safe,
        torch.where(strongest == 1, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    sixth = (sixth + turn.view(-1, 1, 1) * 6.0) % 6.0
    # Each channel is the value less the chroma times how far its corner of the circle is away.
    channels = [(corner + sixth) % 6.0 for corner in (5.0, 3.0, 1.0)]
    return torch.stack([value - chroma * torch.minimum(k, 4.0 - k).clamp(0, 1) for k in channels], 1)


def _blur(views: Float[Tensor, "n c h w"], sigma: np.ndarray) -> None:
    """Separable Gaussian, reflected edges; the kernel reaches three sigma, or as far as a reflection can."""
    rows = np.flatnonzero(sigma > 0)
    if len(rows) == 0:
        return
    radius = min(math.ceil(BLUR_RADIUS_SIGMAS * float(sigma.max())), min(views.shape[-2:]) - 1)
    index = torch.from_numpy(rows).to(views.device)
    widths = torch.from_numpy(sigma[rows]).to(views.device, torch.float32)
    offsets = torch.arange(-radius, radius + 1, device=views.device, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (offsets / widths[:, None]) ** 2)
    kernels *= offsets.abs() <= torch.ceil(BLUR_RADIUS_SIGMAS * widths)[:, None]
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(views.shape[1], 0)
    chosen = views[index].flatten(0, 1).unsqueeze(0)
    groups = chosen.shape[1]
    chosen = F.conv2d(F.pad(chosen, (radius, radius, 0, 0), mode="reflect"), kernels[:, None, None, :], groups=groups)
    chosen = F.conv2d(F.pad(chosen, (0, 0, radius, radius), mode="reflect"), kernels[:, None, :, None], groups=groups)
    views[index] = chosen.squeeze(0).unflatten(0, (len(rows), -1))
