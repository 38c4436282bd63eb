"""ViewBatch: what a method's loss gets."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from samclr.config.pretrain import Role

AnyPart = TypeVar("AnyPart", "ViewGroupBatch", "ViewBatch")


@dataclass(frozen=True, kw_only=True)
class ViewGroupBatch:
    """Augmented views of one role.

    Attributes:
        region_shares: of each cell of a view's g x g feature map the share that the mask of each of the row's r
            carried regions covers, 0 to 1; all 0 for a place without a region. None where views carry none.
        region_shown: whether the view shows the region: by enough of the region's area, and by enough cells
            (ViewsConfig.shown_frac, shown_cells).
    """

    role: Role
    pixels: Float[Tensor, "b v c h w"]
    boxes_xyxy: Int64[Tensor, "b v 4"]
    region_shares: Float[Tensor, "b v r g g"] | None = None
    region_shown: Bool[Tensor, "b v r"] | None = None


@dataclass(frozen=True, kw_only=True)
class ViewBatch:
    """One rank's share of a step. Rows with one image_index come from one image, -1 in region_index is all of it.

    Attributes:
        carried: the regions that a row carries, the same in all its views: rows of the region index, which no two
            images share, or -1 where an image has no more to show. None where views carry none.
    """

    step: int
    groups: tuple[ViewGroupBatch, ...]
    image_index: Int64[Tensor, "b"]
    region_index: Int64[Tensor, "b"]
    carried: Int64[Tensor, "b r"] | None = None

    @property
    def pixels(self) -> tuple[Float[Tensor, "b _ c _ _"], ...]:
        """Of each group."""
        return tuple(group.pixels for group in self.groups)

    @property
    def shown_shares(self) -> tuple[Float[Tensor, "b _ r _ _"], ...]:
        """Of each group the shares of what is shown: 0 throughout for a region that its view does not show.

        Raises:
            ValueError: the views carry no regions.
        """
        shares = []
        for group in self.groups:
            if group.region_shares is None or group.region_shown is None:
                raise ValueError("the views of this batch carry no regions; give ViewsConfig carried_regions")
            shares.append(group.region_shares * group.region_shown[..., None, None])
        return tuple(shares)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ViewBatch":
        """All tensors on another device; what is there already stays."""
        return _changed(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def rows(self, start: int, stop: int) -> "ViewBatch":
        """A contiguous part."""
        return _changed(self, lambda tensor: tensor[start:stop])


def _changed(part: AnyPart, change: Callable[[Tensor], Tensor]) -> AnyPart:
    """The same with all tensors changed, those of its groups among them."""
    values = {one.name: getattr(part, one.name) for one in fields(part)}
    changed = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
    if isinstance(part, ViewBatch):
        changed["groups"] = tuple(_changed(group, change) for group in part.groups)  # type: ignore[assignment]
    return replace(part, **changed)  # type: ignore[arg-type]
