"""Where the generator looks: grids of points, overlapping crops, and masks that a crop has cut off."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EDGE_TOLERANCE_PX = 20.0
CropBox = tuple[int, int, int, int]


def point_grid(num_per_side: int) -> Float[np.ndarray, "p 2"]:
    """Centres of num_per_side^2 equal cells of the unit square, row by row, as (x, y)."""
    centres = (np.arange(num_per_side) + 0.5) / num_per_side
    x, y = np.meshgrid(centres, centres)
    return np.stack([x, y], -1).reshape(-1, 2)


def crop_boxes(size: tuple[int, int], num_layers: int, overlap_ratio: float) -> list[tuple[CropBox, int]]:
    """The image (layer 0), then for each layer i its 2^i x 2^i overlapping crops, as (box, layer).

    Crops are rounded up, so that the last of a thin or small image may begin at its edge or beyond: those are left out.
    """
    height, width = size
    boxes: list[tuple[CropBox, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, num_layers + 1):
        number = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / number))
        crop_w, crop_h = (math.ceil((overlap * (number - 1) + side) / number) for side in (width, height))
        for column in range(number):
            for row in range(number):
                x0, y0 = (crop_w - overlap) * column, (crop_h - overlap) * row
                if x0 < width and y0 < height:
                    boxes.append(((x0, y0, min(x0 + crop_w, width), min(y0 + crop_h, height)), layer))
    return boxes


def near_crop_edge(boxes: Int[Tensor, "s 4"], crop: CropBox, size: tuple[int, int]) -> Bool[Tensor, " s"]:
    """Boxes that touch an edge of the crop that is not an edge of the image: their masks are cut off."""
    offset = torch.tensor([crop[0], crop[1], crop[0], crop[1]], device=boxes.device)
    edges = torch.tensor(crop, device=boxes.device)
    image = torch.tensor([0, 0, size[1], size[0]], device=boxes.device)
    placed = boxes + offset
    at_crop = (placed - edges).abs() <= EDGE_TOLERANCE_PX
    at_image = (placed - image).abs() <= EDGE_TOLERANCE_PX
    return (at_crop & ~at_image).any(1)
