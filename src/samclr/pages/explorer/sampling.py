"""The views that training makes of one scene: its rows of the plan, and their pixels, by training's own code."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

import samclr.draws as draws
from samclr.config.normalisation import Normalisation
from samclr.config.views import FilterConfig
from samclr.pages.explorer.asked import Sampling
from samclr.regions.coarsest import coarsest, padded_boxes
from samclr.regions.index import GRID, RegionIndex, occupancy_grid
from samclr.regions.records import ImageRegions
from samclr.views.plan import WHOLE_IMAGE, AugmentDraws, GroupPlan, ViewPlan, ViewPlanner

if TYPE_CHECKING:
    from samclr.views.crop import CropSource

AS_IT_IS = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SHARES_OVER = 12  # visits of a scene


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A step that shows the scene: epoch, step and the images of the step that are the scene."""

    epoch: int
    step: int
    slots: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Counts of views and of rows of the plan (pairs): how many views are enlarged, fall back to the central crop, or
    keep less of the mask than asked for (None where nothing was asked for); how many rows show identical boxes, or the
    whole image."""

    views: int = 0
    pairs: int = 0
    enlarged: int = 0
    identical: int = 0
    crop_fallback: int = 0
    whole_image: int = 0
    under_coverage: int | None = None

    def __add__(self, other: "Shares") -> "Shares":
        """Of both together."""
        counts = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        added = {name: own if more is None else more + (own or 0) for name, (own, more) in counts.items()}
        return Shares(**added)


class SceneSampler:
    """Rows of the plan that show one image of n.

    A row depends on its place in the batch and on the regions of its own image alone, so the planner is given no
    others; each row is to the bit that of the plan over all regions.
    """

    def __init__(
        self,
        *,
        image: int,
        image_hw: Int[np.ndarray, "n 2"],
        bank_hw: Int[np.ndarray, "n 2"],
        found: ImageRegions | None,
        sampling: Sampling,
    ):
        """image_hw, bank_hw: native sizes, and those in the bank, which decide what counts as enlarged."""
        views = replace(sampling.views, carried_regions=0)  # which decides nothing that is shown
        self.image, self.num_images, self.sampling = image, len(image_hw), sampling
        kept = [] if found is None else coarsest(found, sampling.filter)
        self.kept = kept
        regions = None
        if found is not None:
            looks_at_masks = views.strategy == "region"
            regions = one_image_index(image, len(image_hw), found, kept, sampling.filter, looks_at_masks)
        self.planner = ViewPlanner(
            image_hw=image_hw,
            bank_hw=bank_hw,
            regions=regions,
            seed=sampling.seed,
            images_per_step=sampling.global_batch_size,
            views=views,
            groups=sampling.groups,
            augment=sampling.augment,
        )

    def visit(self, step: int) -> Visit:
        """The first step from `step` on that shows the image."""
        batch, num_images = self.sampling.global_batch_size, self.num_images
        epoch = step * batch // num_images
        while True:
            position = epoch * num_images + position_of(self.sampling.seed, epoch, num_images, self.image)
            if position // batch >= step:
                shown = position // batch
                slots = np.flatnonzero(self.planner.images_of(shown) == self.image)
                return Visit(epoch=epoch, step=shown, slots=tuple(slots.tolist()))
            epoch += 1

    def visit_before(self, step: int) -> Visit | None:
        """The last step before `step` that shows the image; None if there is none."""
        epoch = step * self.sampling.global_batch_size // self.num_images
        for earlier in (epoch, epoch - 1, epoch - 2):
            if earlier >= 0:
                position = position_of(self.sampling.seed, earlier, self.num_images, self.image)
                shown = (earlier * self.num_images + position) // self.sampling.global_batch_size
                if shown < step:
                    return self.visit(shown)
        return None

    def rows(self, visit: Visit) -> tuple[ViewPlan, Int[np.ndarray, "rows"]]:
        """The image's rows of a step's plan, and their numbers in the batch."""
        per_image = self.sampling.views.regions_per_image
        numbers = np.array([slot * per_image + k for slot in visit.slots for k in range(per_image)], np.int64)
        return self.planner.plan(visit.step).chosen(numbers), numbers

    def shares(self, visit: Visit, num_visits: int = SHARES_OVER) -> "Shares":
        """Of the views of this and the following visits: how many are enlarged, identical, or fall back."""
        views = pairs = enlarged = identical = fallback = whole = uncovered = 0
        needs = self.sampling.views.min_coverage
        for number in range(num_visits):
            visit = visit if number == 0 else self.visit(visit.step + 1)
            plan, _ = self.rows(visit)
            rows = len(plan.region_index)
            whole += int((plan.region_index == WHOLE_IMAGE).sum())
            pairs += rows
            for group in plan.groups:
                views += group.boxes_xyxy[..., 0].size
                enlarged += int(self.planner.is_enlarged(plan.image_index, group.boxes_xyxy, group.size_px).sum())
                fallback += int(group.crop_fallback.sum())
                if needs > 0:
                    uncovered += sum(share is not None and share < needs for share in self.covers(plan, group))
            first = plan.groups[0].boxes_xyxy
            identical += int((first == first[:, :1]).all((1, 2)).sum())
        return Shares(
            views=views,
            pairs=pairs,
            enlarged=enlarged,
            identical=identical,
            crop_fallback=fallback,
            whole_image=whole,
            under_coverage=uncovered if needs > 0 else None,
        )

    def covers(self, plan: ViewPlan, group: GroupPlan) -> list[float | None]:
        """The share of each view that its region's mask covers, row by row; None of whole images and random boxes."""
        rows, views = group.boxes_xyxy.shape[:2]
        regions, found = self.planner.regions, list[float | None]([None] * (rows * views))
        if regions is None or self.sampling.views.strategy != "region":
            return found
        numbers = np.repeat(plan.region_index, views)
        chosen = np.flatnonzero(numbers != WHOLE_IMAGE)
        if len(chosen):
            shares = regions.coverage(numbers[chosen], group.boxes_xyxy.reshape(-1, 4)[chosen])
            for place, share in zip(chosen.tolist(), shares.tolist(), strict=True):
                found[place] = share
        return found

    def pixels(self, plan: ViewPlan, source: "CropSource") -> list[UInt8[np.ndarray, "b v s s 3"]]:
        """What training shows of each group of rows, before normalisation. source: the bank, or what stands for it."""
        import torch  # here, as it takes seconds to import

        from samclr.views.augment import augment
        from samclr.views.backgrounds import mix_backgrounds
        from samclr.views.crop import ViewCropper

        cropper, found = ViewCropper(source), []
        image_hw = self.planner.image_hw[plan.image_index]
        for group in plan.groups:
            views = torch.as_tensor(cropper.crop(plan.image_index, group.boxes_xyxy, group.size_px))
            mix_backgrounds(views, group, plan.region_index, image_hw, self.planner.regions, cropper)
            shown = augment(views, group.augment, AS_IT_IS)
            found.append((shown * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2).numpy())
        return found


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_images: int) -> Int[np.ndarray, "n"]:
    return draws.epoch_order(seed, epoch, num_images)


def position_of(seed: int, epoch: int, num_images: int, image: int) -> int:
    """The place of an image in an epoch's order."""
    return int(np.flatnonzero(_order(seed, epoch, num_images) == image)[0])


def one_image_index(
    image: int, num_images: int, found: ImageRegions, kept: list[int], config: FilterConfig, with_grids: bool
) -> RegionIndex:
    """The region index of a set in which one image alone has regions. Raises RegionError for a mask that is damaged."""
    boxes = found.boxes_xyxy[kept]
    start = np.zeros(num_images + 1, np.int64)
    start[image + 1 :] = len(kept)
    grids = np.zeros((len(kept), GRID, GRID), np.uint8)
    if with_grids:
        for place, number in enumerate(kept):
            grids[place] = occupancy_grid(found, number)
    return RegionIndex(
        start=start,
        box_xyxy=padded_boxes(boxes, config.padding, found.height, found.width).astype(np.int32),
        mask_box_xyxy=boxes.astype(np.int32),
        area_px=np.array([found.regions[number].area_px for number in kept], np.int64),
        grid=grids,
        segment_errors=0,
    )


def colours_of(drawn: AugmentDraws, row: int, view: int) -> dict[str, Any]:
    """One view's draws, as JSON takes them."""
    return {one.name: getattr(drawn, one.name)[row, view].item() for one in fields(drawn)}
