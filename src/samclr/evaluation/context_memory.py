"""The memory of in-context segmentation: patches of randomly cropped training images, equally many of each, those with
rare labels first (Balažević et al., "Towards in-context scene understanding", NeurIPS 2023)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float16, Int, UInt8
from torch import Tensor, nn

import samclr.draws as draws
from samclr.datasets.labelled_scenes import IGNORED, LabelledScenes
from samclr.evaluation.dense_features import check_room, part_title, scene_parts, scenes_fingerprint
from samclr.evaluation.mapped import is_sound, make_arrays, map_array
from samclr.evaluation.patches import RESIZED
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.segmentation import patch_shares
from samclr.evaluation.square_scenes import RandomSquares, stream_squares
from samclr.log import option_of
from samclr.models.fingerprints import cache_key

SCALE, JITTER = (0.5, 2.0), 0.1  # open-hummingbird's; a crop is never larger than its image
PARTS = ("features", "shares", "places")  # a file each
BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Patches with their labels, mapped from the cache.

    Attributes:
        features: of length 1.
        shares: of the labelled pixels of a patch that have each class.
        places: of each patch the turn of its crop, in a seeded order, and its rank in the crop.
        num_crops: that the patches are of.
    """

    features: Float16[Tensor, "m d"]
    shares: Float16[Tensor, "m c"]
    places: Int[Tensor, "m 2"]
    num_crops: int

    def rows(self, size: int) -> Bool[Tensor, "m"]:
        """Those of a memory of `size`: the same as if it had been made alone."""
        turn, rank = self.places.unbind(1)
        per_crop = size // self.num_crops
        return rank < per_crop if per_crop else (turn < size) & (rank == 0)


def rarest_first(shares: Float[np.ndarray, "p c"], lots: Float[np.ndarray, "p"]) -> Int[np.ndarray, "labelled"]:
    """The patches that have labels, in the order in which they are taken.

    The smallest score comes first: `lots`, uniform numbers, times the sum, over the classes that a patch shows, of how
    many patches of the image show the class.
    """
    shown = (shares > 0).astype(np.float64)
    order = np.argsort(shown @ shown.sum(0) * lots, kind="stable")
    return order[shown[order].any(1)]


def context_memory(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: InContextConfig,
    side_px: int,
    stage: int,
    device: torch.device,
    cache: Path,
) -> Memory:
    """The largest memory that is asked for, made once and kept in the cache; the smaller ones are part of it.

    Raises:
        EvaluationError: an image or label map is broken, the disk has too little room, or no pixel has a label.
    """
    num_crops = len(numbers) * config.in_context_epochs
    largest = max(config.in_context_memory)
    per_crop, used = max(largest // num_crops, 1), min(largest, num_crops)  # crops that give a patch
    void = void_class(config, scenes) or config.in_context_void
    draw = [config.in_context_epochs, void, config.in_context_seed, SCALE, JITTER, per_crop, used]
    key = cache_key(backbone, device, scenes_fingerprint(scenes, numbers), side_px, stage, RESIZED, "memory", *draw)
    paths = [cache / "memories" / f"{key}-{part}.npy" for part in PARTS]
    if not all(is_sound(path) for path in paths):
        _make(paths, backbone, scenes, numbers, config, side_px, stage, device, per_crop, used)
    features, shares, places = (map_array(path) for path in paths)
    return Memory(features=features, shares=shares, places=places, num_crops=num_crops)


def _make(
    paths: Sequence[Path],
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: InContextConfig,
    side_px: int,
    stage: int,
    device: torch.device,
    per_crop: int,
    used: int,
) -> None:
    seed = config.in_context_seed
    turns = np.empty((config.in_context_epochs, len(numbers)), np.int64)
    turns.flat[draws.epoch_order(seed, 0, turns.size)] = np.arange(turns.size)
    chosen = [np.flatnonzero(own_turns < used) for own_turns in turns]
    parts = [(epoch, part) for epoch, places in enumerate(chosen) for part in scene_parts(len(places))]
    copies = 1 if len(parts) == 1 else 2

    def rows(of: tuple[int, range]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        epoch, part = of
        places = chosen[epoch][part.start : part.stop].tolist()
        own = [numbers[place] for place in places]
        cut = cutter(scenes, own, config, side_px, epoch)
        title = part_title(f"memory, pass {epoch + 1} of {config.in_context_epochs}", part, len(chosen[epoch]))
        is_first = of == parts[0]
        for place, (maps, labels) in zip(
            places, stream_squares(backbone, scenes, own, cut, stage, device, title), strict=True
        ):
            found = patch_shares(labels, (maps.shape[1], maps.shape[2]), len(scenes.classes))
            found = found.reshape(-1, found.shape[-1])
            lots = draws.uniforms(seed, draws.STREAM_SELECT, epoch, numbers[place], len(found))[0]
            best = rarest_first(found, lots)[:per_crop]
            if is_first:
                num_patches = min(per_crop, len(found)) * used
                needed = copies * 2 * (maps.shape[0] + found.shape[1]) * num_patches
                smaller = f" or a smaller memory ({option_of('in_context_memory')})"
                check_room(needed, paths[0].parent.parent, "in_context_num_train", besides=smaller)
                is_first = False
            features = F.normalize(maps.flatten(1).T[torch.from_numpy(best).to(device)], dim=1).cpu().numpy()
            shares = found[best] / found[best].sum(1, keepdims=True)
            yield features, shares, np.stack([np.full(len(best), turns[epoch, place]), np.arange(len(best))], 1)

    none = f"none of the {len(numbers)} training label maps has a pixel that counts"
    make_arrays(paths, parts, rows, ("<f2", "<f2", "<i4"), none)


def void_class(config: InContextConfig, scenes: LabelledScenes) -> str | None:
    """The class that unlabelled pixels of the memory have, background in whatever case; None where they have none."""
    alike = [name for name in scenes.classes if name.casefold() == BACKGROUND]
    if config.in_context_void != BACKGROUND or not alike:
        return None
    return BACKGROUND if BACKGROUND in alike else alike[0]


def cutter(
    scenes: LabelledScenes, numbers: Sequence[int], config: InContextConfig, side_px: int, epoch: int
) -> Callable[[int, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What makes the squares of a pass over the training images: (place in `numbers`, pixels, labels) to both."""
    squares = RandomSquares(side_px=side_px, scale=SCALE, seed=config.in_context_seed, jitter=JITTER, corners=True)
    void = void_class(config, scenes)

    def cut(
        place: int, pixels: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
    ) -> tuple[UInt8[np.ndarray, "3 s s"], UInt8[np.ndarray, "s s"]]:
        square, own = squares.cut(epoch, numbers[place], pixels, labels)
        if void is not None:
            own = np.where(own == IGNORED, scenes.classes.index(void), own).astype(np.uint8)
        return square, own

    return cut
