"""From a scene and its regions to vectors: by pooling patch features, or crop by crop."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from samclr.config.embedding import EmbedConfig
from samclr.config.normalisation import normalisation_of
from samclr.config.views import FilterConfig
from samclr.embedding.windows import Window, windows_of
from samclr.errors import EvaluationError
from samclr.evaluation.features import pixel_features
from samclr.evaluation.patches import patch_features
from samclr.evaluation.sizes import check_maps
from samclr.log import option_of
from samclr.models.maps import lacks_maps, map_width, num_stages, patch_px, pool_regions
from samclr.models.sizes import InputSizes
from samclr.regions.coarsest import padded_box
from samclr.regions.records import ImageRegions
from samclr.scenes.decode import Scene

PIXELS_AT_ONCE = 1_000_000  # of windows, or crops, that go through the backbone together
Item = tuple[Scene, ImageRegions | None, Sequence[int]]  # numbers of the regions that get a vector


def fit_embedding(backbone: nn.Module, config: EmbedConfig, called: Mapping[str, str] | None = None) -> EmbedConfig:
    """The settings with a size that the backbone takes. called: names of settings for messages, where they differ.

    Raises:
        EvaluationError: it has no feature maps to pool. ConfigError: it takes no crops near this size.
    """
    names = dict(called or {})
    if config.regions_by == "crop":
        sizes: InputSizes | None = getattr(backbone, "input_sizes", None)
        if sizes is None:
            return config
        return replace(config, image_px=sizes.fit(config.image_px, names.get("image_px", "image_px")))
    otherwise = f"or give {option_of(names.get('regions_by', 'regions_by'))} crop"
    if reason := lacks_maps(backbone, "pooled vectors"):
        raise EvaluationError(f"{reason}, {otherwise}")
    try:
        check_maps(backbone, config.image_px, num_stages(backbone) - 1, "pooled vectors")
    except EvaluationError as error:
        raise EvaluationError(f"{error}, {otherwise}") from None
    return config


def pooled_vectors(
    backbone: nn.Module, items: Sequence[Item], config: EmbedConfig, device: torch.device
) -> list[Float[np.ndarray, "_ d"]]:
    """Of each scene its own vector, the mean of its patch features, and those of its regions; see windows.py.

    Windows of equal size go through the backbone together, also those of several scenes.

    Raises:
        EvaluationError: the backbone's patches do not tile its images.
        RegionError: a damaged mask.
    """
    patch, width, last = patch_px(backbone), map_width(backbone), num_stages(backbone) - 1
    sums = [torch.zeros(1 + len(numbers), width, dtype=torch.float64) for _, _, numbers in items]
    totals = [torch.zeros(1 + len(numbers), dtype=torch.float64) for _, _, numbers in items]
    for batch in _batches(items, config, patch):
        pixels = np.stack([pixels for _, _, pixels in batch])
        maps = patch_features(backbone, pixels, last, device)
        for (place, window, _), one in zip(batch, maps, strict=True):
            if tuple(one.shape[1:]) != window.size_hw:
                found, expected = ("x".join(map(str, shape)) for shape in (one.shape[1:], window.size_hw))
                raise EvaluationError(f"the backbone gives a map of {found} cells, expected {expected} of {patch} px")
            shares = torch.from_numpy(window.shares)
            weight = shares.double().sum((1, 2))
            sums[place][window.rows] += pool_regions(one[None], shares[None])[0].double() * weight[:, None]
            totals[place][window.rows] += weight
    return [(total_sum / total[:, None]).numpy() for total_sum, total in zip(sums, totals, strict=True)]


def _batches(items: Sequence[Item], config: EmbedConfig, patch: int) -> Iterator[list[tuple[int, Window, np.ndarray]]]:
    """(number of the scene, window, pixels), of equal size in a batch."""
    waiting: dict[tuple[int, int], list[tuple[int, Window, np.ndarray]]] = {}
    for place, (scene, found, numbers) in enumerate(items):
        image, (height, width) = Image.fromarray(scene.pixels), scene.pixels.shape[:2]
        for window in windows_of((height, width), found, numbers, config.image_px, patch, config.window_cells):
            batch = waiting.setdefault(window.size_hw, [])
            batch.append((place, window, window.pixels(image, patch)))
            if (1 + len(batch)) * batch[0][2].shape[1] * batch[0][2].shape[2] > PIXELS_AT_ONCE:
                yield waiting.pop(window.size_hw)
    yield from waiting.values()


def crop_vectors(
    backbone: nn.Module, items: Sequence[Item], config: EmbedConfig, filter_config: FilterConfig, device: torch.device
) -> list[Float[np.ndarray, "_ d"]]:
    """Of each scene the backbone's features of the whole image and of each region's padded box, made square."""
    normalisation = normalisation_of(backbone)
    crops = (crop for item in items for crop in _crops(item, filter_config.padding, config.image_px))
    parts: list[Tensor] = []
    at_once = max(PIXELS_AT_ONCE // config.image_px**2, 1)
    while batch := list(islice(crops, at_once)):
        parts.append(pixel_features(backbone, np.stack(batch), device, normalisation))
    vectors = torch.cat(parts).double().numpy()
    ends = np.cumsum([1 + len(numbers) for _, _, numbers in items])[:-1]
    return np.split(vectors, ends)


def _crops(item: Item, padding: float, image_px: int) -> Iterator[np.ndarray]:
    scene, found, numbers = item
    image = Image.fromarray(scene.pixels)
    boxes = [(0, 0, image.width, image.height)]
    if found is not None:
        boxes += [padded_box(found.regions[number].box_xyxy, padding, found.height, found.width) for number in numbers]
    for box in boxes:
        resized = image.resize((image_px, image_px), Image.Resampling.BILINEAR, box=box)
        yield np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
