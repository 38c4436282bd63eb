"""Settings of views: where they come from, how they are augmented, which regions are seen. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Literal

from samclr.config.serialise import (
    Bounds,
    CountOrZero,
    CountsWith,
    InputSide,
    NotNegative,
    Settings,
    Share,
    ShareRange,
)
from samclr.errors import ConfigError
from samclr.log import option_of

Strategy = Literal["image", "region", "random-box"]
Role = Literal["global", "local"]
WITH_REGIONS = CountsWith("strategy", ("region", "random-box"))
SYMMETRIC = CountsWith("asymmetric", (False,), also=CountsWith("num_local_views"), said="with --no-asymmetric")
READS_REGIONS = CountsWith("strategy", ("region", "random-box"), also=CountsWith("carried_regions"))


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(Settings):
    """Where the views of an image come from.

    Attributes:
        strategy: Where both views of a pair come from: image = the whole image; region = one segmented region;
            random-box = a box of the region's size at a random place, the control for "smaller crops".
        regions_per_image: Regions drawn per image and step, each with its own positive pair.
        min_coverage: Smallest share of a view that its region's mask must cover; crops are redrawn until it does.
        coverage_tries: Crops tried for min_coverage before the best of them is taken and counted.
        image_view_share: Share of the pairs that use the whole image, whatever the strategy.
        background_mix_prob: region only: share of the views in which everything outside the region's mask is replaced
            by a crop of another image, so that surroundings cannot give a pair away.
        redraw: random-box only: draw a new place at each step instead of one fixed place per region.
        max_window_aspect: Widen regions' windows whose aspect (longer by shorter side) is larger than this, about their
            centre and as far as the image goes, so that thin ones hold different crops; None does not.
        window_margin: Surroundings that regions' windows get on each side, as a share of their width and height and as
            far as the image goes.
        carried_regions: Regions of its image that each pair carries into its views as masks on the feature map, for
            methods that pool features under them; 0 for none.
        shown_frac: Least share of a carried region's area that a view must hold to show it.
        shown_cells: Least area of it in the view, in cells of the feature map, likewise.
    """

    strategy: Strategy = "region"
    regions_per_image: Annotated[int, Bounds(at_least=1, at_most=1000)] = 1
    min_coverage: Annotated[Share, CountsWith("strategy", ("region",))] = 0.0
    coverage_tries: Annotated[int, Bounds(at_least=1, at_most=1000), CountsWith("min_coverage")] = 10
    image_view_share: Annotated[Share, WITH_REGIONS] = 0.0
    background_mix_prob: Share = 0.0
    redraw: Annotated[bool, CountsWith("strategy", ("random-box",))] = False
    max_window_aspect: Annotated[Annotated[float, Bounds(at_least=1)] | None, WITH_REGIONS] = None
    window_margin: Annotated[float, Bounds(at_least=0, at_most=1000), WITH_REGIONS] = 0.0
    carried_regions: Annotated[int, Bounds(at_least=0, at_most=1000)] = 0
    shown_frac: Annotated[Share, CountsWith("carried_regions")] = 0.1
    shown_cells: Annotated[NotNegative, CountsWith("carried_regions")] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.background_mix_prob > 0 and self.strategy != "region":
            raise ConfigError(
                f"background_mix_prob needs masks: use {option_of('strategy')} region (it is {self.strategy})",
                "background_mix_prob",
            )
        if self.background_mix_prob > 0 and self.carried_regions > 0:
            raise ConfigError(
                f"carried_regions is {self.carried_regions}, but background_mix_prob {self.background_mix_prob} takes "
                f"what lies around a region out of its views; set one of the two to 0",
                "carried_regions",
            )

    @property
    def reads_regions(self) -> bool:
        """Whether views need a region store."""
        return self.strategy != "image" or self.carried_regions > 0


@dataclass(frozen=True, kw_only=True)
class ViewGroup(Settings):
    """Views of one size and role; a plan holds one group or more.

    Attributes:
        role: Global views, or local ones as in DINO.
        num_views: Views of each region (or image).
        size_px: Side of a view, in px.
        crop_scale: Range of a view's share of its window's area, as in torchvision's RandomResizedCrop.
        crop_ratio: Range of a crop's aspect (width / height).
    """

    role: Role = "global"
    num_views: Annotated[int, Bounds(at_least=1, at_most=1000)] = 2
    size_px: InputSide = 128
    crop_scale: ShareRange = (0.08, 1.0)
    crop_ratio: Annotated[tuple[float, float], Bounds(at_least=1e-3, at_most=1e3, rising=True)] = (3 / 4, 4 / 3)


@dataclass(frozen=True, kw_only=True)
class LocalViews(Settings):
    """Smaller views of the same region (or image), as in DINO.

    Attributes:
        num_local_views: Local views of each region (or image); 0 for none.
        local_size_px: Side of a local view, in px.
        local_crop_scale: Range of a local view's share of its window's area.
    """

    num_local_views: Annotated[int, Bounds(at_least=0, at_most=1000)] = 0
    local_size_px: Annotated[InputSide, CountsWith("num_local_views")] = 64
    local_crop_scale: Annotated[ShareRange, CountsWith("num_local_views")] = (0.05, 0.4)


def view_groups(group: ViewGroup, local: LocalViews) -> tuple[ViewGroup, ...]:
    """The view groups of a plan: global views, and local ones if there are any."""
    if local.num_local_views == 0:
        return (group,)
    return group, ViewGroup(
        role="local",
        num_views=local.num_local_views,
        size_px=local.local_size_px,
        crop_scale=local.local_crop_scale,
        crop_ratio=group.crop_ratio,
    )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Settings):
    """SimCLR's augmentation (Chen et al. 2020, appendix A) with lightly's numbers.

    Attributes:
        flip_prob: Share of views that are mirrored.
        jitter_prob: Share of views whose colours are jittered.
        jitter_strength: Factor on 0.8 brightness, 0.8 contrast, jitter_saturation and 0.2 hue; at most 2.5, where the
            hue turns by half the circle.
        jitter_saturation: Strength on saturation: 0.8 as in SimCLR and MoCo v2, 0.4 as in BYOL and DINO.
        grey_prob: Share of views that are turned grey.
        blur_prob: Share of views that are blurred; with asymmetric, of local views alone.
        blur_sigma: Range of the Gaussian blur's sigma, in px.
        solarise_prob: Share of views whose light half is inverted; with asymmetric, of local views alone.
        asymmetric: As in BYOL and DINO: the first global view is always blurred and never solarised, the others are
            blurred with 0.1 and solarised with 0.2, whatever blur_prob and solarise_prob are; local views keep those.
    """

    flip_prob: Share = 0.5
    jitter_prob: Share = 0.8
    jitter_strength: Annotated[float, Bounds(at_least=0, at_most=2.5)] = 0.5
    jitter_saturation: Annotated[float, Bounds(at_least=0, at_most=4)] = 0.8
    grey_prob: Share = 0.2
    blur_prob: Annotated[Share, SYMMETRIC] = 0.5
    blur_sigma: Annotated[tuple[float, float], Bounds(at_least=1e-3, at_most=1e3, rising=True)] = (0.1, 2.0)
    solarise_prob: Annotated[Share, SYMMETRIC] = 0.0
    asymmetric: bool = False


@dataclass(frozen=True, kw_only=True)
class FilterConfig(Settings):
    """Which regions training sees, and how much context their boxes get.

    Attributes:
        min_area_px: Drop regions with fewer mask pixels, counted at native size.
        min_area_frac: Drop regions under this share of the image; for sets of mixed sizes.
        max_area_frac: Drop regions over this share of the image (1 keeps all), before the containment test.
        containment_frac: Drop regions with more than this share of their area inside one larger region that is kept.
        padding: Factor on a box's height and width about its centre; the box is then clipped to the image.
        min_box_px: Drop regions whose padded box is shorter than this on its shorter side, in px at native size.
    """

    min_area_px: CountOrZero = 1000
    min_area_frac: Share = 0.0
    max_area_frac: Share = 1.0
    containment_frac: Share = 0.9
    padding: Annotated[float, Bounds(over=0, at_most=1000)] = 1.3
    min_box_px: Annotated[int, Bounds(at_least=0, at_most=65_535)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_area_frac > self.max_area_frac:
            raise ConfigError(
                f"min_area_frac is {self.min_area_frac}; expected at most max_area_frac, {self.max_area_frac}",
                "min_area_frac",
            )
