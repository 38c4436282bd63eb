"""Training of a 1x1 convolution on the feature maps of a frozen backbone, as Leopart's code has it (Ziegler and Asano,
CVPR 2022). Safe to interrupt: rerun to resume; the numbers are those of one run."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

import samclr.draws as draws
from samclr.datasets.labelled_scenes import IGNORED, LabelledScenes
from samclr.errors import EvaluationError
from samclr.evaluation.dense_features import LOAD_AHEAD, scenes_fingerprint
from samclr.evaluation.patches import RESIZED
from samclr.evaluation.protocols.segment_linear_spec import SegmentLinearConfig
from samclr.evaluation.square_scenes import RandomSquares, resize_labels, stream_squares
from samclr.evaluation.states import kept, load_state
from samclr.log import option_of
from samclr.models.fingerprints import cache_key

KIND, FORMAT = "segment-linear", 1  # of the states in the cache
DROP, MOMENTUM = 0.1, 0.9


def head_of(width: int, num_classes: int, seed: int) -> nn.Conv2d:
    """A 1x1 convolution with the weights that torch draws by default, from a generator of its own."""
    head = nn.utils.skip_init(nn.Conv2d, width, num_classes, 1)
    generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(width)
    for weights in head.parameters():
        nn.init.uniform_(weights, -bound, bound, generator=generator)
    return head


def pixel_loss(
    head: nn.Module, maps: Float[Tensor, "b d gh gw"], labels: Int[Tensor, "b s t"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Mean cross-entropy of the pixels that count, and how many do; 0 where none does.

    Scores are enlarged, not features as in the papers' code: the same, as both steps are linear and bilinear weights
    sum to one.
    """
    scores = F.interpolate(head(maps), labels.shape[1:], mode="bilinear")
    counted = (labels != IGNORED).sum()
    return F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="sum") / counted.clamp(min=1), counted


class HeadTraining:
    """The head, its optimiser, and how far they are; there is no head before the first step, which says how wide."""

    def __init__(
        self, config: SegmentLinearConfig, num_classes: int, device: torch.device, saved: dict[str, Any] | None
    ):
        """saved: what `state` gave."""
        self._config, self._num_classes, self._device = config, num_classes, device
        self.head: nn.Conv2d | None = None
        self.steps = self.num_pixels = 0
        if saved is not None:
            head, optimizer = self._begin(saved["head"]["weight"].shape[1])
            head.load_state_dict(saved["head"])
            optimizer.load_state_dict(saved["optimizer"])
            self.steps, self.num_pixels = saved["steps"], saved["num_pixels"]

    def step(self, maps: Float[Tensor, "b d gh gw"], labels: Int[Tensor, "b s t"], rate: float) -> float:
        """One step; returns the loss."""
        if self.head is None:
            self._begin(maps.shape[1])
        assert self.head is not None
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        loss, counted = pixel_loss(self.head, maps, labels)
        loss.backward()
        self._optimizer.step()
        self.steps, self.num_pixels = self.steps + 1, self.num_pixels + int(counted)
        return float(loss.detach())

    def state(self) -> dict[str, Any] | None:
        """All that the next step needs; None before the first."""
        if self.head is None:
            return None
        own = {"head": self.head.state_dict(), "optimizer": self._optimizer.state_dict()}
        return {"steps": self.steps, "num_pixels": self.num_pixels} | own

    def _begin(self, width: int) -> tuple[nn.Conv2d, torch.optim.SGD]:
        config = self._config
        self.head = head_of(width, self._num_classes, config.segment_seed).to(self._device)
        self._optimizer = torch.optim.SGD(
            self.head.parameters(), lr=config.segment_lr, momentum=MOMENTUM, weight_decay=config.segment_weight_decay
        )
        return self.head, self._optimizer


def train_head(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: SegmentLinearConfig,
    side_px: int,
    stage: int,
    device: torch.device,
    cache: Path,
) -> nn.Module:
    """SGD over newly cropped images in every epoch; the head after the last step.

    Where it stands is kept in `cache` every minute, and when a signal stops it; a head that is trained is taken from
    there.

    Raises:
        EvaluationError: an image or label map is broken, no pixel has a label, or the loss is not finite.
        Stopped: by SIGTERM or Ctrl-C; the state is saved.
    """
    batch_size = min(config.segment_batch_size, len(numbers))
    num_batches = len(numbers) // batch_size
    num_steps = config.segment_epochs * num_batches
    of_images = [scenes_fingerprint(scenes, numbers), side_px, stage, RESIZED]
    own = {name: value for name, value in config.settings().items() if name != "segment_num_test"}
    path = cache / "probes" / f"{KIND}-{cache_key(backbone, device, KIND, FORMAT, *of_images, own)}.pt"
    training = HeadTraining(config, len(scenes.classes), device, load_state(path))
    with kept(path) as keeper:

        def between() -> None:
            keeper.keep(training.state)

        while training.steps < num_steps:
            epoch, first = divmod(training.steps, num_batches)
            rate = config.segment_lr * DROP ** (epoch // config.segment_drop_epochs)
            cut = _batches(backbone, scenes, numbers, config, side_px, stage, device, epoch, batch_size, first, between)
            for maps, labels in cut:
                loss = training.step(maps, labels, rate)
                if training.steps % num_batches == 0:
                    _check_epoch(loss, training.num_pixels, epoch, len(numbers))
                keeper.keep(training.state, is_whole=training.steps == num_steps)
    assert training.head is not None
    return training.head.eval()


def _check_epoch(loss: float, num_pixels: int, epoch: int, num_images: int) -> None:
    if num_pixels == 0:
        raise EvaluationError(f"none of the {num_images} training label maps has a pixel that counts")
    if not math.isfinite(loss):
        raise EvaluationError(f"the loss is not finite in epoch {epoch + 1}; lower {option_of('segment_lr')}")


def _batches(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: SegmentLinearConfig,
    side_px: int,
    stage: int,
    device: torch.device,
    epoch: int,
    batch_size: int,
    first: int,
    between: Callable[[], None],
) -> Iterator[tuple[Float[Tensor, "b d gh gw"], Int[Tensor, "b s t"]]]:
    """Feature maps and label maps of an epoch from batch `first` on, a last batch of fewer left out.

    between: called after each image.
    """
    order = [numbers[int(place)] for place in draws.epoch_order(config.segment_seed, epoch, len(numbers))]
    begin = first * batch_size // LOAD_AHEAD * LOAD_AHEAD  # the same images go through the backbone together, always
    left_out = first * batch_size - begin
    order = order[begin : len(order) // batch_size * batch_size]
    squares = RandomSquares(side_px=side_px, scale=(config.segment_min_scale, 1.0), seed=config.segment_seed, flip=True)
    mask_hw = (config.segment_mask_px, config.segment_mask_px)

    def cut(
        place: int, pixels: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
    ) -> tuple[UInt8[np.ndarray, "3 s s"], UInt8[np.ndarray, "t t"]]:
        square, own = squares.cut(epoch, order[place], pixels, labels)
        return square, resize_labels(own, mask_hw, corners=True)

    maps, masks = [], []
    title = f"1x1 convolution, epoch {epoch + 1} of {config.segment_epochs}"
    for place, (one, labels) in enumerate(stream_squares(backbone, scenes, order, cut, stage, device, title)):
        between()
        if place < left_out:
            continue
        maps.append(one)
        masks.append(torch.from_numpy(labels.astype(np.int64)))
        if len(maps) == batch_size:
            yield torch.stack(maps), torch.stack(masks).to(device)
            maps, masks = [], []
