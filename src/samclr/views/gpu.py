"""Views made on a GPU: the tables of its kernels (samclr.views.gpu_kernels), and where the bank lies.

A bank on the device serves crops at the speed of its memory; nothing but a few numbers a view crosses the bus, and the
masks' shares where backgrounds are mixed.
"""

import weakref
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from samclr.bank.bank import SceneBank
from samclr.bank.rows import NUM_LEVELS
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.errors import RunError
from samclr.log import option_of
from samclr.models.devices import upload
from samclr.views import gpu_kernels
from samclr.views.colours import BLUR_RADIUS_SIGMAS, JITTER_ORDERS, JITTER_PARTS
from samclr.views.crop import ViewCropper, levels_for
from samclr.views.plan import AugmentDraws
from samclr.views.resample import AVERAGED, MIN_RADIUS

BLOCK = 256  # pixels that a program makes at a time
COLOUR_BLOCK = 1024
CHECKED, CROPS_DIFFER, VIEWS_DIFFER = 8, 2, 1e-3  # images; levels of 255, and of normalised views, that rounding moves
TILE = {"ROWS": 8, "COLUMNS": 32}
CONTRAST = JITTER_PARTS.index("contrast")


class GpuCropper:
    """Serves crops of a raw bank that is all in the device's memory, or in pinned memory that the device reads."""

    def __init__(self, bank: SceneBank, device: torch.device, *, pinned: bool = False):
        """Copy the bank there.

        Raises:
            PartsError: a file of the bank is too short.
            torch.OutOfMemoryError, RuntimeError: there is no room.
        """
        self.bank, self.device = bank, device
        lengths = np.array([len(part) for part in bank.parts])
        ends = bank.offset + (_level_shapes(bank.bank_hw).prod(2) * 3).sum(1)
        if (short := np.flatnonzero(ends > lengths[bank.part_of])).size:
            raise bank.damaged(int(short[0]), "the file is too short")
        starts = np.cumsum([0, *lengths])
        self._pixels = torch.empty(int(starts[-1]), dtype=torch.uint8, device="cpu" if pinned else device)
        if pinned:  # not pin_memory=True, which rounds up to a power of two
            cudart = torch.cuda.cudart()
            torch.cuda.check_error(cudart.cudaHostRegister(self._pixels.data_ptr(), self._pixels.numel(), 0))
            # memory that is given back while registered could not be pinned again by its next owner
            weakref.finalize(self._pixels, unregister, self._pixels.data_ptr()).atexit = False
        for start, part in zip(starts, bank.parts, strict=False):
            self._pixels[start : start + len(part)].copy_(torch.from_numpy(np.array(part)))
        self._first_byte = starts[bank.part_of] + bank.offset
        self._checked: set[int] = set()

    def crop(
        self, image_index: Int[np.ndarray, "b"], boxes_xyxy: Int[np.ndarray, "b v 4"], size_px: int
    ) -> UInt8[Tensor, "b v 3 s s"]:
        """Crop native-pixel boxes and resize them to `size_px` square.

        Raises:
            RunError: the first crops of this size are not those of the CPU.
        """
        b, v = boxes_xyxy.shape[:2]
        tables = self._tables(np.repeat(image_index, v), boxes_xyxy.reshape(-1, 4), size_px)
        views = torch.empty(b, v, 3, size_px, size_px, dtype=torch.uint8, device=self.device)
        with _on(self.device):
            grid = b * v, -(-size_px * size_px // BLOCK)
            gpu_kernels.crop_views[grid](
                self._pixels, *(upload(table, self.device) for table in tables), views, SIZE=size_px, BLOCK=BLOCK
            )
        if size_px not in self._checked:
            self._check(image_index[:CHECKED], boxes_xyxy[:CHECKED], views[:CHECKED])
            self._checked.add(size_px)
        return views

    def _check(
        self, image_index: Int[np.ndarray, "b"], boxes_xyxy: Int[np.ndarray, "b v 4"], views: UInt8[Tensor, "b v 3 s s"]
    ) -> None:
        """Compilers of GPUs have made wrong code of right kernels; of such crops a run would learn without a word."""
        expected = torch.from_numpy(ViewCropper(self.bank).crop(image_index, boxes_xyxy, views.shape[-1]))
        difference = int((views.cpu().int() - expected.int()).abs().max())
        if difference > CROPS_DIFFER:
            raise RunError(
                f"crops of {views.shape[-1]} px made on {self.device} differ from the CPU's by {difference} of 255; "
                f"give {option_of('bank_on')} map, with which the CPU crops"
            )

    def _tables(
        self, image: Int[np.ndarray, "n"], box: Int[np.ndarray, "n 4"], size_px: int
    ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n 5"], Float[np.ndarray, "n 6"]]:
        """What the kernel reads of each view, see there."""
        hw = self.bank.bank_hw[image].astype(np.int64)
        scale = hw / self.bank.native_hw[image]
        low, high = box[:, 1::-1] * scale, box[:, :1:-1] * scale  # [n 2], y before x from here on
        level = levels_for((high - low).min(1) / size_px)
        low, high = (side * 0.5 ** level[:, None] for side in (low, high))
        shapes = _level_shapes(hw)
        ends = np.cumsum(shapes.prod(2) * 3, 1)
        own = np.arange(len(image))
        columns = shapes[own, level, 1]
        first = np.floor(low).astype(np.int64)
        extent = np.minimum(np.ceil(high).astype(np.int64), shapes[own, level]) - first
        steps = (high - low) / size_px
        radius = np.maximum(steps, 1.0)
        narrowed = np.maximum(np.sqrt(np.maximum(radius**2 - AVERAGED, 0.0)), MIN_RADIUS)
        radius = np.where(level[:, None] > 0, narrowed, radius)
        taps = np.ceil(2 * radius).astype(np.int64) + 1
        start = self._first_byte[image] + np.where(level > 0, ends[own, level - 1], 0)
        start += (first[:, 0] * columns + first[:, 1]) * 3
        whole = np.stack([columns * 3, extent[:, 0], taps[:, 0], extent[:, 1], taps[:, 1]], 1)
        real = np.stack([low - first, steps, radius], 1)  # [n 3 2]
        return start, whole.astype(np.int32), real.transpose(0, 2, 1).reshape(-1, 6).astype(np.float32)


def unregister(address: int) -> None:
    """Give pinned memory back, once the device has done what is in flight."""
    torch.cuda.synchronize()
    torch.cuda.check_error(torch.cuda.cudart().cudaHostUnregister(address))


def _level_shapes(bank_hw: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, "n levels 2"]:
    return -(-bank_hw.astype(np.int64)[:, None] // 2 ** np.arange(NUM_LEVELS)[:, None])


def try_kernels(device: torch.device) -> None:
    """Compile and run every kernel once, on next to nothing. Raises whatever goes wrong."""
    views = torch.empty(1, 1, 3, 8, 8, dtype=torch.uint8, device=device)
    one_pixel = np.zeros(1, np.int64), np.array([[3, 1, 3, 1, 3]], np.int32), np.array([[0, 0.125, 1] * 2], np.float32)
    with _on(device):
        tables = [upload(table, device) for table in one_pixel]
        pixel = torch.zeros(3, dtype=torch.uint8, device=device)
        gpu_kernels.crop_views[(1, 1)](pixel, *tables, views, SIZE=8, BLOCK=BLOCK)
    off, on, zero = np.zeros((1, 1), bool), np.ones((1, 1), bool), np.zeros((1, 1))
    drawn = AugmentDraws(
        flip=off, jitter=on, jitter_order=zero.astype(np.int64), brightness=zero + 1, contrast=zero + 1,
        saturation=zero + 1, hue=zero, grey=off, blur_sigma=zero + 1, solarise=off,
    )  # fmt: skip
    augment_on_gpu(views, drawn).sum().item()


def augment_on_gpu(
    pixels: UInt8[Tensor, "b v c h w"], drawn: AugmentDraws, normalisation: Normalisation = IMAGENET
) -> Float[Tensor, "b v c h w"]:
    """All views at once, by the kernels."""
    height, width = pixels.shape[-2:]
    out = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
    order = JITTER_ORDERS[drawn.jitter_order.reshape(-1)]
    jitter, sigma = drawn.jitter.reshape(-1), drawn.blur_sigma.reshape(-1).astype(np.float32)
    factors = np.stack([getattr(drawn, name).reshape(-1) for name in JITTER_PARTS], 1).astype(np.float32)
    contrast = np.where(jitter, np.argmax(order == CONTRAST, 1), -1)
    flags = [drawn.flip.reshape(-1), drawn.grey.reshape(-1), sigma > 0, drawn.solarise.reshape(-1)]
    whole = np.concatenate([np.where(jitter[:, None], order, -1), np.stack([contrast, *flags], 1)], 1)
    real = np.take_along_axis(factors, order, 1)
    tables = [upload(table, pixels.device) for table in (whole.astype(np.int32), real)]
    rows = np.flatnonzero(sigma > 0)
    size = {"HEIGHT": height, "WIDTH": width}
    norm = _norm(pixels.device, normalisation)
    with _on(pixels.device):
        gpu_kernels.colour_views[(len(whole),)](
            pixels.contiguous(), *tables, norm, out, **size, BLOCK=COLOUR_BLOCK, num_warps=8
        )
        if len(rows):
            between = torch.empty(len(rows), 3, height, width, device=pixels.device)
            radii = np.minimum(np.ceil(BLUR_RADIUS_SIGMAS * sigma[rows]), min(height, width) - 1)
            blurs = [rows.astype(np.int32), sigma[rows], radii.astype(np.int32), flags[3][rows].astype(np.int32)]
            blurs = [upload(table, pixels.device) for table in blurs]
            grid = len(rows) * 3, -(-height // TILE["ROWS"]), -(-width // TILE["COLUMNS"])
            gpu_kernels.blur_views[grid](out, between, *blurs, norm, **size, ACROSS=True, **TILE)
            gpu_kernels.blur_views[grid](between, out, *blurs, norm, **size, ACROSS=False, **TILE)
    return out


def views_differ(device: torch.device, height: int, width: int) -> float:
    """The largest difference between the kernels' views of a size and the CPU's, over all transforms and blurs."""
    from samclr.views.augment import augment_on_cpu  # which imports this module

    shape = len(JITTER_ORDERS), 1
    steps = np.linspace(0, 1, len(JITTER_ORDERS)).reshape(shape)
    odd = np.arange(len(JITTER_ORDERS)).reshape(shape) % 2 == 1
    drawn = AugmentDraws(
        flip=odd, jitter=np.ones(shape, bool), jitter_order=np.arange(len(JITTER_ORDERS)).reshape(shape),
        brightness=0.6 + 0.8 * steps, contrast=1.4 - 0.8 * steps, saturation=0.6 + 0.8 * steps, hue=0.2 - 0.4 * steps,
        grey=steps > 0.9, blur_sigma=0.1 + 1.9 * steps, solarise=np.roll(odd, 1),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (*shape, 3, height, width), dtype=torch.uint8, generator=generator)
    found = augment_on_gpu(pixels.to(device), drawn)
    return float((found.cpu() - augment_on_cpu(pixels, drawn)).abs().max())


@lru_cache(maxsize=8)
def _norm(device: torch.device, normalisation: Normalisation) -> Float[Tensor, "6"]:
    return torch.tensor([*normalisation.mean, *normalisation.std], device=device)


def _on(device: torch.device) -> torch.cuda.device:
    """Threads other than the first begin on the first GPU; on a CPU (the kernels' interpreter) this does nothing."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
