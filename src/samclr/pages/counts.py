"""What a run's data and views were, counted, each count with its total."""

from collections.abc import Mapping
from typing import Any

from samclr.config.pretrain import PretrainConfig
from samclr.training.monitor import pairs_per_step


def count_sentences(config: PretrainConfig, summary: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(what happened, what never did), a sentence each. summary: a run's summary.json."""
    counted = [*_of_data(summary.get("data", {})), *_of_views(config, summary)]
    return [text for count, text in counted if count], [text for count, text in counted if not count]


def _of_data(data: Mapping[str, int]) -> list[tuple[int, str]]:
    if "images" not in data:
        return []
    images, unreadable = data["images"], data.get("unreadable_images", 0)
    counted = [
        (images, f"{images:,} images trained on"),
        (unreadable, f"{unreadable:,} of {images + unreadable:,} images could not be read"),
    ]
    if "regions" in data:
        regions = data["regions"]
        failed, without = data.get("segment_errors", 0), data.get("images_without_regions", 0)
        counted += [
            (regions, f"{regions:,} regions after the filter, {regions / images:.1f} per image"),
            (failed, f"{failed:,} of {images:,} images could not be segmented"),
            (without, f"{without:,} of {images:,} images have no region after the filter: they are shown whole"),
        ]
    return counted


def _of_views(config: PretrainConfig, summary: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Of the views planned for the steps that are done."""
    plan, steps = summary.get("plan_counts", {}), summary.get("steps_done", 0)
    per_image = config.views.regions_per_image
    draws = steps * config.optim.global_batch_size
    views = draws * per_image * sum(group.num_views for group in config.groups)
    sizes = " or ".join(str(px) for px in sorted({group.size_px for group in config.groups}))
    totals = {
        "upscaled_views": (views, "views", f"were enlarged: their crops are smaller than {sizes} px"),
        "identical_pairs": (steps * pairs_per_step(config), "pairs", "show the same box twice"),
        "images_without_regions": (draws, "draws", "were of an image without a region: it was shown whole"),
        "repeated_regions": (
            draws * per_image,
            "regions",
            f"were taken twice: their image has fewer than the {per_image} asked for",
        ),
        "crop_fallbacks": (views, "views", "are central crops: ten tries found none that fits"),
        "coverage_fallbacks": (views, "views", "show less of their region than asked for, after all tries"),
        "mixed_backgrounds": (views, "views", "have the background of another image"),
    }
    return [
        (plan[name], f"{plan[name]:,} of {total:,} {what} {text}")
        for name, (total, what, text) in totals.items()
        if name in plan
    ]
