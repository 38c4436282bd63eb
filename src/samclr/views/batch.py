"""ViewBatch: what a method's loss gets."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from samclr.config.pretrain import Role


@dataclass(frozen=True, kw_only=True)
class ViewGroupBatch:
    """Augmented views of one role."""

    role: Role
    pixels: Float[Tensor, "b v c h w"]
    boxes_xyxy: Int64[Tensor, "b v 4"]


@dataclass(frozen=True, kw_only=True)
class ViewBatch:
    """One rank's share of a step. Rows with one image_index come from one image, -1 in region_index is all of it."""

    step: int
    groups: tuple[ViewGroupBatch, ...]
    image_index: Int64[Tensor, "b"]
    region_index: Int64[Tensor, "b"]

    @property
    def pixels(self) -> tuple[Float[Tensor, "b _ c _ _"], ...]:
        """Of each group."""
        return tuple(group.pixels for group in self.groups)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ViewBatch":
        """All tensors on another device; what is there already stays."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        groups = tuple(
            replace(group, pixels=moved(group.pixels), boxes_xyxy=moved(group.boxes_xyxy)) for group in self.groups
        )
        return replace(self, groups=groups, image_index=moved(self.image_index), region_index=moved(self.region_index))

    def rows(self, start: int, stop: int) -> "ViewBatch":
        """A contiguous part."""
        groups = tuple(
            replace(group, pixels=group.pixels[start:stop], boxes_xyxy=group.boxes_xyxy[start:stop])
            for group in self.groups
        )
        return replace(
            self,
            groups=groups,
            image_index=self.image_index[start:stop],
            region_index=self.region_index[start:stop],
        )
