"""A scene's regions and views as the page takes them."""

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from samclr.pages.explorer.sampling import SceneSampler, colours_of
from samclr.regions.coarsest import largest_first
from samclr.regions.records import ImageRegions
from samclr.views.plan import WHOLE_IMAGE, ViewPlan

MOST_DRAWN = 2000  # regions of one scene that are sent, the largest
MOST_RLE_BYTES = 8_000_000


def regions_as_json(found: ImageRegions) -> dict[str, Any]:
    """The regions as the page draws them, the largest first and as many as it can."""
    areas = np.array([region.area_px for region in found.regions], np.int64)
    listed, spent = [], 0
    for number in largest_first(areas)[:MOST_DRAWN].tolist():
        region = found.regions[number]
        spent += len(region.rle)
        if spent > MOST_RLE_BYTES:
            break
        one = {"region": number, "box": region.box_xyxy, "area": region.area_px, "rle": region.rle.decode("ascii")}
        listed.append(one | {"predicted_iou": region.predicted_iou, "stability_score": region.stability_score})
    return {"total": len(found.regions), "drawn": listed}


def views_per_row(sampler: SceneSampler) -> int:
    """Views of each row of the plan, over its groups."""
    return sum(group.num_views for group in sampler.sampling.groups)


def row_as_json(
    sampler: SceneSampler, plan: ViewPlan, pixels: list[np.ndarray], row: int, number: int
) -> dict[str, Any]:
    """One row of the plan: its window, and its views with their pixels."""
    region = int(plan.region_index[row])
    views = []
    for group, shown in zip(plan.groups, pixels, strict=True):
        enlarged = sampler.planner.is_enlarged(plan.image_index, group.boxes_xyxy, group.size_px)
        covers = sampler.covers(plan, group)
        for view in range(shown.shape[1]):
            cover = covers[row * shown.shape[1] + view]
            views.append(
                {
                    "role": group.role,
                    "size_px": group.size_px,
                    "box": group.boxes_xyxy[row, view].tolist(),
                    "enlarged": bool(enlarged[row, view]),
                    "crop_fallback": bool(group.crop_fallback[row, view]),
                    "cover": cover if cover is None or math.isfinite(cover) else None,
                    "colours": colours_of(group.augment, row, view),
                    "pixels": _as_png(shown[row, view]),
                }
            )
    boxes = plan.groups[0].boxes_xyxy[row]
    return {
        "row": number,
        "region": None if region == WHOLE_IMAGE else sampler.kept[region],
        "window": plan.window_xyxy[row].tolist(),
        "identical": len(boxes) > 1 and bool((boxes == boxes[:1]).all()),
        "views": views,
    }


def _as_png(pixels: np.ndarray) -> str:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(encoded.getvalue()).decode()}"
