"""ViewBatch: what a method's loss gets."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from samclr.config import Role


@dataclass(frozen=True, kw_only=True)
class ViewGroupBatch:
    """Augmented views of one role."""

    role: Role
    pixels: Float[Tensor, "b v c h w"]
    boxes_xyxy: Int[np.ndarray, "b v 4"]


@dataclass(frozen=True, kw_only=True)
class ViewBatch:
    """One rank's share of a step. Rows with one image_index come from one image, -1 in region_index is all of it."""

    groups: tuple[ViewGroupBatch, ...]
    image_index: Int[np.ndarray, "b"]
    region_index: Int[np.ndarray, "b"]
