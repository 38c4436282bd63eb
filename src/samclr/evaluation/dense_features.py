"""Patch features of scenes with label maps: streamed image by image, or kept in the cache, mapped, for training."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from samclr.datasets.labelled_scenes import LabelledScenes
from samclr.draws import seeded_subset
from samclr.errors import EvaluationError
from samclr.evaluation.features import images_at_once
from samclr.evaluation.mapped import in_parts, is_sound, make_arrays, map_array
from samclr.evaluation.patches import RESIZED, input_size, patch_features, patch_px, resize, stage_number
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.segmentation import patch_shares
from samclr.log import option_of, say_once, tell
from samclr.models.fingerprints import cache_key
from samclr.scenes.decode import DecodeError, load_scene, pages_text, read_image
from samclr.scenes.reading import content_hash
from samclr.scenes.refs import SceneRef
from samclr.storage.files import amount_of

LOAD_AHEAD = 16
IMAGES_AT_ONCE = 8
PART_SCENES = 512  # whose features are kept when what comes after them is interrupted
SAY_EVERY_S = 30.0

Pair = tuple[UInt8[np.ndarray, "3 rows columns"], UInt8[np.ndarray, "h w"]]
MadeT = TypeVar("MadeT")


def chosen_scenes(scenes: LabelledScenes, num: int | None, seed: int) -> list[int]:
    """Numbers of a seeded random subset, the same in every run; all where `num` is None or larger."""
    return seeded_subset(seed, len(scenes), num)


def scenes_fingerprint(scenes: LabelledScenes, numbers: Sequence[int]) -> str:
    """Changes with any image, label map or class, or their order. Raises EvaluationError for a file that is broken."""
    digest = hashlib.sha256(repr((scenes.classes, scenes.lookup)).encode())
    for number in numbers:
        ref, path = scenes.refs[number], scenes.label_paths[number]
        for one in (ref, SceneRef(image_id=str(path), path=str(path))):
            try:
                digest.update(content_hash(read_image(one)).encode())
            except DecodeError as error:
                raise EvaluationError(f"{one.image_id} cannot be read ({error}); fix or remove it") from None
    return digest.hexdigest()[:16]


def stream_patches(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: DenseConfig,
    device: torch.device,
    title: str = "patch features",
) -> Iterator[tuple[Float[Tensor, "d gh gw"], UInt8[np.ndarray, "h w"]]]:
    """Patch features and label map of each scene, in order; says at the end how many have more pages.

    Neighbours of equal size go through the backbone at once.

    Raises:
        EvaluationError: an image is broken, or its label map has another size.
    """
    stage, multiple = stage_number(backbone, config.dense_stage), patch_px(backbone)

    def fitted(number: int, pixels: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]) -> Pair:
        return resize(pixels, input_size(labels.shape[0], labels.shape[1], config.dense_px, multiple)), labels

    for loaded in load_ahead(scenes, numbers, fitted, title):
        for batch in _equal_sizes(loaded):
            maps = patch_features(backbone, np.stack([pixels for pixels, _ in batch]), stage, device)
            yield from zip(maps, (labels for _, labels in batch), strict=True)


def load_ahead(
    scenes: LabelledScenes,
    numbers: Sequence[int],
    make: Callable[[int, UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]], MadeT],
    title: str,
) -> Iterator[list[MadeT]]:
    """What `make` makes of the place in `numbers`, the pixels and the label map of each scene, LOAD_AHEAD at a time.

    Made by threads, in order; how far it is is told now and then, and at the end how many have more pages.

    Raises:
        EvaluationError: an image is broken, or its label map has another size.
    """
    more_pages = np.zeros(len(scenes), bool)

    def load(place: int) -> MadeT:
        ref = scenes.refs[numbers[place]]
        try:
            scene = load_scene(ref)
            pixels, more_pages[numbers[place]] = scene.pixels, scene.has_more_pages
        except DecodeError as error:
            raise EvaluationError(f"{ref.image_id} cannot be read ({error}); fix or remove it") from None
        labels = scenes.label_map(numbers[place])
        if labels.shape != pixels.shape[:2]:
            raise EvaluationError(
                f"{ref.image_id} is {pixels.shape[1]}x{pixels.shape[0]} px, its label map "
                f"{scenes.label_paths[numbers[place]]} {labels.shape[1]}x{labels.shape[0]}; expected equal sizes"
            )
        return make(place, pixels, labels)

    start = last_said = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for first in range(0, len(numbers), LOAD_AHEAD):
            loaded = list(pool.map(load, range(first, min(first + LOAD_AHEAD, len(numbers)))))
            yield loaded
            now = time.monotonic()
            if now - last_said > SAY_EVERY_S:
                done = first + len(loaded)
                tell(f"{title}: {done} of {len(numbers)} images, {done / (now - start):.1f} images/s")
                last_said = now
    if more_pages.any():
        say_once(pages_text(int(more_pages.sum())))


def training_patches(
    backbone: nn.Module,
    scenes: LabelledScenes,
    numbers: Sequence[int],
    config: DenseConfig,
    device: torch.device,
    cache: Path,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n c"]]:
    """Features of all patches with any labelled pixel, and each class's share of their pixels, mapped from `cache`.

    Raises:
        EvaluationError: as stream_patches; or the disk has too little room, or no pixel has a label.
    """
    stage, images = stage_number(backbone, config.dense_stage), scenes_fingerprint(scenes, numbers)
    key = cache_key(backbone, device, images, config.dense_px, stage, RESIZED)
    paths = [cache / "patches" / f"{key}-{part}.npy" for part in ("shares", "features")]
    if not all(is_sound(path) for path in paths):
        parts = scene_parts(len(numbers))
        copies = 1 if len(parts) == 1 else 2

        def rows(part: range) -> Iterator[tuple[Float[np.ndarray, "b c"], Float[np.ndarray, "b d"]]]:
            title = part_title("patch features", part, len(numbers))
            found = stream_patches(backbone, scenes, numbers[part.start : part.stop], config, device, title)
            for place, (maps, labels) in enumerate(found):
                shares = patch_shares(labels, (maps.shape[1], maps.shape[2]), len(scenes.classes))
                if part.start + place == 0:
                    check_room(copies * 4 * (maps.numel() + shares.size) * len(numbers), cache, "dense_num_train")
                shares = shares.reshape(-1, shares.shape[-1])
                labelled = np.flatnonzero(shares.any(1))
                yield shares[labelled], maps.flatten(1).T.numpy()[labelled]

        none = f"none of the {len(numbers)} training label maps has a pixel that counts"
        make_arrays(paths, parts, rows, if_none=none)
    return map_array(paths[1]), map_array(paths[0])


def _equal_sizes(loaded: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    batch: list[tuple[np.ndarray, np.ndarray]] = []
    for item in loaded:
        most = images_at_once(item[0].shape, IMAGES_AT_ONCE)
        if batch and (len(batch) == most or batch[0][0].shape != item[0].shape):
            yield batch
            batch = []
        batch.append(item)
    yield batch


def scene_parts(num: int) -> list[range]:
    """So many scenes in parts, whose neighbours go through the backbone together as without parts."""
    return in_parts(num, PART_SCENES, LOAD_AHEAD)


def part_title(title: str, part: range, num: int) -> str:
    """`title`, and which of so many scenes a part has, where it is not all of them."""
    return title if len(part) == num else f"{title}, images {part.start + 1:,} to {part.stop:,} of {num:,}"


def check_room(needed: int, cache: Path, setting: str, whose: str = "training", besides: str = "") -> None:
    """See that the disk has room for patch features of so many bytes.

    Raises:
        EvaluationError: it has not; take fewer images by `setting`, or do what `besides` says.
    """
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise EvaluationError(
            f"no room for the {whose} images' patch features in {cache}: they need about {amount_of(needed)}, its "
            f"disk has {amount_of(free)} free; take fewer images ({option_of(setting)}){besides}, "
            f"or name another disk with $SAMCLR_CACHE"
        )
