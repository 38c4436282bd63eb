"""The view plan of a step: a pure function of (seed, step) that says which pixels each view shows and how.

Made for the global batch; ranks take slices of it. Image order and colour draws do not depend on the
strategy, so the arms of an experiment differ in their boxes alone.
"""

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

import samclr.draws as draws
from samclr.config.pretrain import AugmentConfig, Role, ViewGroup, ViewsConfig
from samclr.regions.index import RegionIndex
from samclr.views.carried import NO_REGION, draw_carried
from samclr.views.random_crop import NUM_CROP_COLUMNS, random_resized_crops
from samclr.views.windows import widened, with_margin

WHOLE_IMAGE = NO_BACKGROUND = -1
NUM_COLOUR_COLUMNS = 11
BLUR_PROBS, SOLARISE_PROBS = (1.0, 0.1), (0.0, 0.2)  # of the first global view and of the others (Grill et al., BYOL)
CROP_BLOCKS = -(-NUM_CROP_COLUMNS // 4)


@dataclass(frozen=True, kw_only=True)
class AugmentDraws:
    """Drawn parameters of every view, [b v]; factor 1, hue 0, sigma 0 where a transform is not applied."""

    flip: Bool[np.ndarray, "b v"]
    jitter: Bool[np.ndarray, "b v"]
    jitter_order: Int[np.ndarray, "b v"]  # which of the 24 orders of brightness, contrast, saturation, hue
    brightness: Float[np.ndarray, "b v"]
    contrast: Float[np.ndarray, "b v"]
    saturation: Float[np.ndarray, "b v"]
    hue: Float[np.ndarray, "b v"]
    grey: Bool[np.ndarray, "b v"]
    blur_sigma: Float[np.ndarray, "b v"]
    solarise: Bool[np.ndarray, "b v"]


@dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """One view group: boxes are half-open, in native pixels.

    `background_image` and `background_xyxy` say what is shown outside a region's mask; -1 where it stays as it is.
    `crop_fallback` says where torchvision's ten tries found no crop and the central one was taken.

    Where rows carry regions, `map_side` is the number of cells along a view's feature map, `region_shown` says which
    of the regions a view shows, and `region_shares` (samclr.views.shares) which cells their masks cover.
    """

    role: Role
    size_px: int
    boxes_xyxy: Int[np.ndarray, "b v 4"]
    background_image: Int[np.ndarray, "b v"]
    background_xyxy: Int[np.ndarray, "b v 4"]
    augment: AugmentDraws
    crop_fallback: Bool[np.ndarray, "b v"]
    map_side: int | None = None
    region_shown: Bool[np.ndarray, "b v r"] | None = None
    region_shares: Float[np.ndarray, "b v r g g"] | None = None


@dataclass(frozen=True, kw_only=True)
class ViewPlan:
    """All of a step's views. `region_index` is a row of the region index, or -1 for the whole image.

    `carried` are the regions that a row carries into its views: rows of the region index, and then -1 (NO_REGION) where
    there are fewer.
    `window_xyxy` is the box that the crops were drawn in. `counts` says how often something happened that a
    user should know of; keys as in ViewPlanner.plan.
    """

    step: int
    image_index: Int[np.ndarray, "b"]
    region_index: Int[np.ndarray, "b"]
    window_xyxy: Int[np.ndarray, "b 4"]
    groups: tuple[GroupPlan, ...]
    counts: dict[str, int]
    carried: Int[np.ndarray, "b r"] | None = None

    def rows(self, start: int, stop: int) -> "ViewPlan":
        """The contiguous slice of the batch that one rank works on; counts stay those of the whole batch."""
        return _slice_rows(self, slice(start, stop))

    def chosen(self, rows: Int[np.ndarray, "m"]) -> "ViewPlan":
        """Some rows of the batch by their numbers; counts stay those of the whole batch."""
        return _slice_rows(self, rows)


class ViewPlanner:
    """Makes the plan of any step. Holds the sizes of the images and their regions, no random state."""

    def __init__(
        self,
        *,
        image_hw: Int[np.ndarray, "n 2"],
        regions: RegionIndex | None,
        seed: int,
        images_per_step: int,
        views: ViewsConfig,
        groups: tuple[ViewGroup, ...],
        augment: AugmentConfig,
        map_sides: tuple[int, ...] = (),
        bank_hw: Int[np.ndarray, "n 2"] | None = None,
    ):
        """map_sides: cells along a view's feature map, for each group; needed where views carry regions.

        bank_hw: the size that images have in the bank, which decides alone what counts as enlarged; by default that of
            image_hw.
        """
        if views.carried_regions and len(map_sides) != len(groups):
            raise ValueError(f"map_sides has {len(map_sides)} numbers for {len(groups)} view groups")
        self.map_sides = map_sides if views.carried_regions else ()
        self.image_hw, self.regions, self.seed = image_hw, regions, seed
        self.bank_hw = image_hw if bank_hw is None else bank_hw
        self.images_per_step, self.views, self.groups, self.augment = images_per_step, views, groups, augment
        self._order = lru_cache(maxsize=2)(lambda epoch: draws.epoch_order(seed, epoch, len(image_hw)))

    def plan(self, step: int) -> ViewPlan:
        """Plan one step.

        Counts: images_without_regions (drawn images that fall back to the whole image), repeated_regions
        (an image has fewer regions than asked for), crop_fallbacks (torchvision's ten tries found no crop),
        identical_pairs (all views of a row show the same box), coverage_fallbacks, upscaled_views (is_enlarged),
        mixed_backgrounds; where rows carry regions, carried_regions and rows_without_regions (a row carries none).
        """
        per_image = self.views.regions_per_image
        image_index = np.repeat(self.images_of(step), per_image)
        region_index, counts = self._draw_regions(step, image_index)
        window = self._windows(step, image_index, region_index)
        counts |= {"crop_fallbacks": 0, "identical_pairs": 0, "coverage_fallbacks": 0, "upscaled_views": 0}
        counts |= {"mixed_backgrounds": 0}
        groups = []
        for number, group in enumerate(self.groups):
            boxes, fallback = self._draw_boxes(step, number, group, region_index, window, counts)
            counts["upscaled_views"] += int(self.is_enlarged(image_index, boxes, group.size_px).sum())
            if group.num_views > 1:
                counts["identical_pairs"] += int((boxes == boxes[:, :1]).all((1, 2)).sum())
            others, other_boxes = self._draw_backgrounds(step, number, group, image_index, region_index)
            counts["mixed_backgrounds"] += int((others != NO_BACKGROUND).sum())
            groups.append(
                GroupPlan(
                    role=group.role,
                    size_px=group.size_px,
                    boxes_xyxy=boxes,
                    background_image=others,
                    background_xyxy=other_boxes,
                    augment=self._draw_colours(step, number, len(image_index), group),
                    crop_fallback=fallback,
                )
            )
        carried, groups = self._carry(step, image_index, groups, counts) if self.map_sides else (None, groups)
        return ViewPlan(
            step=step,
            image_index=image_index,
            region_index=region_index,
            window_xyxy=window,
            groups=tuple(groups),
            counts=counts,
            carried=carried,
        )

    def _carry(
        self, step: int, image_index: Int[np.ndarray, "b"], groups: list[GroupPlan], counts: dict[str, int]
    ) -> tuple[Int[np.ndarray, "b r"], list[GroupPlan]]:
        boxes = [group.boxes_xyxy for group in groups]
        carried, shown = draw_carried(
            self.regions, image_index, boxes, self.map_sides, self.views, seed=self.seed, step=step
        )
        counts["carried_regions"] = int((carried != NO_REGION).sum())
        counts["rows_without_regions"] = int((carried == NO_REGION).all(1).sum())
        parts = zip(groups, self.map_sides, shown, strict=True)
        return carried, [replace(group, map_side=side, region_shown=own) for group, side, own in parts]

    def is_enlarged(
        self, image_index: Int[np.ndarray, "b"], boxes_xyxy: Int[np.ndarray, "b v 4"], size_px: int
    ) -> Bool[np.ndarray, "b v"]:
        """Which views are cropped from fewer pixels of the bank than they have, along either side."""
        native_wh, bank_wh = (hw[image_index, None, ::-1].astype(np.int64) for hw in (self.image_hw, self.bank_hw))
        sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
        return (sides * bank_wh < size_px * native_wh).any(-1)

    def images_of(self, step: int) -> Int[np.ndarray, "images_per_step"]:
        """The step's images: its stretch of the endless row of epoch permutations."""
        num_images = len(self.image_hw)
        positions = np.arange(step * self.images_per_step, (step + 1) * self.images_per_step)
        epochs, within = positions // num_images, positions % num_images
        images = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            images[chosen] = self._order(int(epoch))[within[chosen]]
        return images

    def _draw_regions(
        self, step: int, image_index: Int[np.ndarray, "b"]
    ) -> tuple[Int[np.ndarray, "b"], dict[str, int]]:
        """Regions of each image, without replacement."""
        per_image = self.views.regions_per_image
        slots = np.arange(self.images_per_step)
        region_index = np.full((self.images_per_step, per_image), WHOLE_IMAGE, np.int64)
        counts = {"images_without_regions": 0, "repeated_regions": 0}
        if self.views.strategy != "image" and self.regions is not None:
            first = self.regions.start[image_index[::per_image]]
            num = self.regions.start[image_index[::per_image] + 1] - first
            numbers = draws.uniforms(self.seed, draws.STREAM_REGION, step, slots, per_image)
            chosen = draws.without_replacement(numbers, np.maximum(num, per_image))
            has_regions = num > 0
            region_index[has_regions] = (first[:, None] + chosen % np.maximum(num, 1)[:, None])[has_regions]
            counts["images_without_regions"] = int((~has_regions).sum())
            counts["repeated_regions"] = int(np.maximum(per_image - num, 0)[has_regions].sum())
        elif self.views.strategy != "image":
            counts["images_without_regions"] = self.images_per_step
        flat = region_index.reshape(-1)
        if self.views.image_view_share > 0:
            mixed = draws.uniforms(self.seed, draws.STREAM_MIX, step, np.arange(len(flat)), 1)[:, 0]
            flat = np.where(mixed < self.views.image_view_share, WHOLE_IMAGE, flat)
        return flat, counts

    def _windows(
        self, step: int, image_index: Int[np.ndarray, "b"], region_index: Int[np.ndarray, "b"]
    ) -> Int[np.ndarray, "b 4"]:
        heights, widths = self.image_hw[image_index].T.astype(np.int64)
        window = np.stack([np.zeros_like(widths), np.zeros_like(heights), widths, heights], 1)
        rows = np.flatnonzero(region_index != WHOLE_IMAGE)
        if len(rows) == 0 or self.regions is None:
            return window
        boxes = self.regions.box_xyxy[region_index[rows]].astype(np.int64)
        if self.views.window_margin > 0:
            boxes = with_margin(boxes, self.image_hw[image_index[rows]], self.views.window_margin)
        if self.views.max_window_aspect is not None:
            boxes = widened(boxes, self.image_hw[image_index[rows]], self.views.max_window_aspect)
        if self.views.strategy == "random-box":
            boxes = self._move_boxes(step, rows, image_index[rows], region_index[rows], boxes)
        window[rows] = boxes
        return window

    def _move_boxes(
        self,
        step: int,
        rows: Int[np.ndarray, "r"],
        image_index: Int[np.ndarray, "r"],
        region_index: Int[np.ndarray, "r"],
        boxes_xyxy: Int[np.ndarray, "r 4"],
    ) -> Int[np.ndarray, "r 4"]:
        assert self.regions is not None
        if self.views.redraw:
            numbers = draws.uniforms(self.seed, draws.STREAM_PLACE, step, rows, 2, first_block=1)
        else:
            within = region_index - self.regions.start[image_index]
            numbers = draws.uniforms(self.seed, draws.STREAM_PLACE, image_index, within, 2)
        size_wh = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
        free_wh = self.image_hw[image_index][:, ::-1] - size_wh
        corner = np.floor(numbers * (free_wh + 1)).astype(np.int64)
        return np.concatenate([corner, corner + size_wh], 1)

    def _draw_boxes(
        self,
        step: int,
        number: int,
        group: ViewGroup,
        region_index: Int[np.ndarray, "b"],
        window: Int[np.ndarray, "b 4"],
        counts: dict[str, int],
    ) -> tuple[Int[np.ndarray, "b v 4"], Bool[np.ndarray, "b v"]]:
        views = group.num_views
        windows = np.repeat(window, views, 0)
        regions = np.repeat(region_index, views)
        every = np.arange(len(windows))

        def draw(rows: Int[np.ndarray, "m"], attempt: int) -> tuple[Int[np.ndarray, "m 4"], Bool[np.ndarray, "m"]]:
            stream = draws.STREAM_CROP + number
            numbers = draws.uniforms(self.seed, stream, step, rows, NUM_CROP_COLUMNS, attempt * CROP_BLOCKS)
            return random_resized_crops(windows[rows], numbers, group.crop_scale, group.crop_ratio)

        boxes, fallback = draw(every, 0)
        wanted = self.views.min_coverage
        if wanted > 0 and self.views.strategy == "region" and self.regions is not None:
            masked = np.flatnonzero(regions != WHOLE_IMAGE)
            best = np.ones(len(windows))
            best[masked] = self.regions.coverage(regions[masked], boxes[masked])
            for attempt in range(1, self.views.coverage_tries):
                rows = np.flatnonzero(best < wanted)
                if len(rows) == 0:
                    break
                again, again_fallback = draw(rows, attempt)
                coverage = self.regions.coverage(regions[rows], again)
                better = coverage > best[rows]
                boxes[rows[better]], fallback[rows[better]] = again[better], again_fallback[better]
                best[rows[better]] = coverage[better]
            counts["coverage_fallbacks"] += int((best < wanted).sum())
        counts["crop_fallbacks"] += int(fallback.sum())
        return boxes.reshape(-1, views, 4), fallback.reshape(-1, views)

    def _draw_backgrounds(
        self,
        step: int,
        number: int,
        group: ViewGroup,
        image_index: Int[np.ndarray, "b"],
        region_index: Int[np.ndarray, "b"],
    ) -> tuple[Int[np.ndarray, "b v"], Int[np.ndarray, "b v 4"]]:
        """Crops of other images, drawn as views of a whole image are."""
        shape = len(image_index), group.num_views
        others, boxes = np.full(shape, NO_BACKGROUND), np.zeros((*shape, 4), np.int64)
        num_images = len(self.image_hw)
        if self.views.background_mix_prob == 0 or num_images < 2:
            return others, boxes
        numbers = draws.uniforms(
            self.seed, draws.STREAM_BACKGROUND + number, step, np.arange(others.size), 4 + NUM_CROP_COLUMNS
        ).reshape(*shape, -1)
        mixed = (numbers[..., 0] < self.views.background_mix_prob) & (region_index != WHOLE_IMAGE)[:, None]
        ahead = 1 + (numbers[..., 1] * (num_images - 1)).astype(np.int64)
        others[mixed] = ((image_index[:, None] + ahead) % num_images)[mixed]
        heights, widths = self.image_hw[others[mixed]].T.astype(np.int64)
        windows = np.stack([np.zeros_like(widths), np.zeros_like(heights), widths, heights], 1)
        boxes[mixed], _ = random_resized_crops(windows, numbers[mixed][:, 4:], group.crop_scale, group.crop_ratio)
        return others, boxes

    def _draw_colours(self, step: int, number: int, b: int, group: ViewGroup) -> AugmentDraws:
        config, v = self.augment, group.num_views
        first = np.arange(v) == 0
        blur_prob, solarise_prob = np.full(v, config.blur_prob), np.full(v, config.solarise_prob)
        if config.asymmetric and group.role == "global":
            blur_prob, solarise_prob = np.where(first, *BLUR_PROBS), np.where(first, *SOLARISE_PROBS)
        stream = draws.STREAM_COLOUR + number
        columns = draws.uniforms(self.seed, stream, step, np.arange(b * v), NUM_COLOUR_COLUMNS)
        flip, jitter, order, bright, contrast, saturation, hue, grey, blur, sigma, solarise = columns.reshape(
            b, v, NUM_COLOUR_COLUMNS
        ).transpose(2, 0, 1)
        applied = jitter < config.jitter_prob

        def factor(number: Float[np.ndarray, "b v"], share: float = 0.8) -> Float[np.ndarray, "b v"]:
            above = share * config.jitter_strength
            below = min(above, 1.0)
            return np.where(applied, 1 - below + number * (below + above), 1.0)

        low, high = config.blur_sigma
        return AugmentDraws(
            flip=flip < config.flip_prob,
            jitter=applied,
            jitter_order=(order * 24).astype(np.int64),
            brightness=factor(bright),
            contrast=factor(contrast),
            saturation=factor(saturation, config.jitter_saturation),
            hue=np.where(applied, (2 * hue - 1) * 0.2 * config.jitter_strength, 0.0),
            grey=grey < config.grey_prob,
            blur_sigma=np.where(blur < blur_prob, low + sigma * (high - low), 0.0),
            solarise=solarise < solarise_prob,
        )


def _slice_rows(value: Any, rows: slice | np.ndarray) -> Any:
    if isinstance(value, np.ndarray):
        return value[rows]
    if isinstance(value, tuple):
        return tuple(_slice_rows(item, rows) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _slice_rows(getattr(value, f.name), rows) for f in fields(value)})
    return value
