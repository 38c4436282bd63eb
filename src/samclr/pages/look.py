"""The page of `samclr look`: what is in a region store, for the eye."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from samclr._version import __version__
from samclr.config.pretrain import FilterConfig
from samclr.errors import PartsError, name_some
from samclr.log import say
from samclr.pages.charts import make_histogram
from samclr.pages.render import render
from samclr.regions.coarsest import coarsest, padded_box
from samclr.regions.records import ImageRegions, Region, SegmentError
from samclr.regions.scene_check import misfit, replaced_text
from samclr.regions.store import KIND, damaged_text, read_bucket, read_regions
from samclr.scenes.buckets import by_bucket
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.refs import SceneRef
from samclr.storage.files import write_text
from samclr.storage.parts import OK, PartsFolder, command_of

SHOWN_PX = 480  # longer side of a scene on the page
MAX_EXAMINED = 2000  # images whose regions go through the filter for the histograms and the lists of extremes
MAX_DRAWN = 150  # regions drawn of one image
MIN_DRAWN_PX = 1.0  # shorter side of a region's box on the page; less cannot be seen
OUTLINE_CHARACTERS = 400_000  # of all regions of one side of a scene, so that a page can be opened
MAX_MASK_PX = 1_500_000_000  # decoded for one scene, 2 to 4 seconds
EXTREMES = 4
COLOURS = ("#e6503c", "#3c8ce6", "#46b45a", "#f0aa28", "#a05ad2", "#28bebe", "#eb6eaa")


def write_look(
    store: PartsFolder, refs: Sequence[SceneRef], config: FilterConfig, num_scenes: int, seed: int, out: Path | None
) -> Path:
    """Write the page and return its path. Raises PartsError if the store has none of the scenes."""
    by_id = {ref.image_id: ref for ref in refs}
    states = store.read(["image_id", "status"]).to_pylist()
    good = [row["image_id"] for row in states if row["status"] == OK and row["image_id"] in by_id]
    errors = [(row["image_id"], row["status"]) for row in states if row["status"] != OK]
    if not good:
        raise PartsError(
            f"{store.path} has no usable row for any of the {len(refs)} scenes; was it made for other scenes?"
        )
    random = np.random.default_rng(seed)
    examined_ids = (
        good if len(good) <= MAX_EXAMINED else sorted(random.choice(good, MAX_EXAMINED, replace=False).tolist())
    )
    examined: Examined = {}
    damaged: list[str] = []
    replaced: list[str] = []
    for found in _read(store, by_id, examined_ids):
        if isinstance(found, SegmentError):
            errors.append((found.image_id, found.message))
            damaged.append(found.message)
        else:
            examined[found.image_id] = (found, coarsest(found, config))
    if not examined:
        raise PartsError(damaged_text(store, damaged, "none of those looked at can be shown"))
    examined_ids = [image_id for image_id in examined_ids if image_id in examined]

    def kept_share(image_id: str) -> float:
        found, kept = examined[image_id]
        return sum(found.regions[k].area_px for k in kept) / (found.height * found.width)

    def mean_score(image_id: str) -> float:
        scores = [r.predicted_iou for r in examined[image_id][0].regions if r.predicted_iou is not None]
        return float(np.mean(scores)) if scores else math.inf

    emptiest = sorted(examined_ids, key=kept_share)[:EXTREMES]
    worst = [i for i in sorted(examined_ids, key=mean_score)[:EXTREMES] if math.isfinite(mean_score(i))]
    drawn = sorted(random.choice(examined_ids, min(num_scenes, len(examined_ids)), replace=False).tolist())
    parts = [
        ("scenes", "Scenes drawn at random", f"{len(drawn)} of {len(good)}, seed {seed}.", drawn),
        ("emptiest", "The emptiest", "Images of which the filter leaves least to train on.", emptiest),
        ("worst", "The worst", "Images whose regions have the lowest mean predicted IoU.", worst),
    ]
    _say_missing(store, by_id, states)
    page = out or store.path / "look.html"
    write_text(
        page,
        render(
            "look.html.j2",
            store=store.path.name,
            version=__version__,
            verdict=_verdict(store, states, examined),
            facts=_facts(store, states, examined),
            advice=_advice(examined, config),
            examined_note=f"Of {len(examined)} images, drawn from {len(good)}.",
            histograms=_histograms(examined),
            errors=errors[:50],
            num_errors=len(errors),
            parts=[
                {
                    "anchor": anchor, "title": title, "note": note,
                    "scenes": [_scene(by_id[i], *examined[i], config, damaged, replaced) for i in ids],
                }
                for anchor, title, note, ids in parts
                if ids
            ],
        ),
    )  # fmt: skip
    if damaged:
        say(damaged_text(store, list(dict.fromkeys(damaged)), "shown without regions or left out"))
    if replaced:
        say(replaced_text(store, list(dict.fromkeys(replaced)), "shown without regions"))
    return page


def _say_missing(store: PartsFolder, by_id: dict[str, SceneRef], states: list[dict[str, Any]]) -> None:
    missing = sorted(by_id.keys() - {row["image_id"] for row in states})
    if missing:
        say(
            f"{len(missing)} of {len(by_id)} scenes have no row in the region store {store.path}: "
            f"{name_some(missing)}; {command_of(KIND)} makes them"
        )


Examined = dict[str, tuple[ImageRegions, list[int]]]


def _read(store: PartsFolder, by_id: dict[str, SceneRef], ids: Sequence[str]) -> list[ImageRegions | SegmentError]:
    found: list[ImageRegions | SegmentError] = []
    for bucket, members in by_bucket(store, [by_id[image_id] for image_id in ids], may_heal=False).items():
        wanted = {ref.image_id for ref in members}
        found += [read_regions(row) for row in read_bucket(store, bucket).to_pylist() if row["image_id"] in wanted]
    return found


def _verdict(store: PartsFolder, states: list[dict[str, Any]], examined: Examined) -> str:
    """What the store is worth for training, in a sentence; each count with its total."""
    before = sum(len(found.regions) for found, _ in examined.values())
    after = [len(kept) for _, kept in examined.values()]
    failed = sum(row["status"] != OK for row in states)
    maker = store.maker
    source = f"Imported from {maker['source']}" if "source" in maker else f"Segmented with {maker.get('segmenter')}"
    return (
        f"{source}: {before / len(after):.1f} regions per image, of which the filter keeps "
        f"{sum(after) / len(after):.1f} for training. "
        f"{sum(n == 0 for n in after):,} of {len(after):,} images are left without a region; "
        f"{failed:,} of {len(states):,} could not be segmented."
    )


def _facts(store: PartsFolder, states: list[dict[str, Any]], examined: Examined) -> list[tuple[str, str]]:
    before = [len(found.regions) for found, _ in examined.values()]
    after = [len(kept) for _, kept in examined.values()]
    of = f"of {len(examined):,}"
    return [
        ("made by", ", ".join(f"{name} {value}" for name, value in store.maker.items())),
        ("images", f"{len(states):,}, of which {sum(row['status'] != OK for row in states):,} failed"),
        ("regions", f"{sum(before):,}, of which the filter keeps {sum(after):,}"),
        ("regions per image", f"{np.mean(before):.1f}, after the filter {np.mean(after):.1f}"),
        ("images without a region", f"{before.count(0)} {of}, after the filter {after.count(0)} {of}"),
    ]


def _advice(examined: Examined, config: FilterConfig) -> str | None:
    """What to do when the filter empties most images."""
    emptied = sum(len(found.regions) > 0 and not kept for found, kept in examined.values())
    if emptied <= len(examined) / 2:
        return None
    areas = sorted(region.area_px for found, _ in examined.values() for region in found.regions)
    return (
        f"The filter drops every region of {emptied} of {len(examined)} images. It drops regions under "
        f"{config.min_area_px:,} px (--min-area-px); the median region here has {areas[len(areas) // 2]:,} px."
    )


def _histograms(examined: Examined) -> list[Any]:
    before = [len(found.regions) for found, _ in examined.values()]
    after = [len(kept) for _, kept in examined.values()]
    areas = [
        math.log10(region.area_px / (found.height * found.width))
        for found, _ in examined.values()
        for region in found.regions
    ]
    kept_areas = [
        math.log10(found.regions[k].area_px / (found.height * found.width))
        for found, kept in examined.values()
        for k in kept
    ]
    return [
        make_histogram("Regions an image", "as segmented", before),
        make_histogram("Regions an image", "after the filter", after),
        make_histogram("Area", "share of the image, as segmented", areas, log10=True),
        make_histogram("Area", "share of the image, after the filter", kept_areas, log10=True),
    ]


def _scene(
    ref: SceneRef, found: ImageRegions, kept: list[int], config: FilterConfig, damaged: list[str], replaced: list[str]
) -> dict[str, Any]:
    """One scene as the template takes it; what is wrong with its row is added to `damaged` or `replaced`."""
    ref_note = ""
    try:
        scene = load_scene(ref)
    except DecodeError as error:
        image, ref_note = Image.new("RGB", (found.width, found.height), (90, 90, 90)), f" ({error})"
    else:
        image = Image.fromarray(scene.pixels)
        fault, is_replaced = misfit(found, image.height, image.width, scene.content_hash)
        if fault:
            (replaced if is_replaced else damaged).append(fault)
            found, kept = replace(found, height=image.height, width=image.width, regions=()), []
            ref_note = f" ({fault.removeprefix(f'{ref.image_id}: ')})"
    scale = min(1.0, SHOWN_PX / max(found.height, found.width))
    width, height = max(1, round(found.width * scale)), max(1, round(found.height * scale))
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=82)
    colour = {
        number: COLOURS[k % len(COLOURS)] for k, number in enumerate(_largest_first(found, range(len(found.regions))))
    }

    outlines: dict[int, str] = {}
    can_decode = max(1, MAX_MASK_PX // (found.height * found.width))

    def side(numbers: Sequence[int], what: str, with_box: bool) -> dict[str, Any]:
        drawn: list[dict[str, Any]] = []
        characters = 0
        for number in _largest_first(found, numbers):
            box = found.regions[number].box_xyxy
            if len(drawn) == MAX_DRAWN:
                break
            if min(box[2] - box[0], box[3] - box[1]) * scale < MIN_DRAWN_PX:
                continue
            if number not in outlines:
                if len(outlines) >= can_decode:
                    break
                outlines[number] = _outline(found.mask(number), width, height)
            characters += len(outlines[number])
            if characters > OUTLINE_CHARACTERS:
                break
            padded = padded_box(box, config.padding, found.height, found.width)
            drawn.append(
                {
                    "path": outlines[number],
                    "colour": colour[number],
                    "text": _text(number, found.regions[number], found),
                    "box": _scaled(padded, scale) if with_box else None,
                }
            )
        left_out = len(numbers) - len(drawn)
        return {
            "title": f"{len(numbers):,} {what}"
            + (f"; {len(drawn):,} of the largest are drawn, {left_out:,} left out" if left_out else ""),
            "regions": drawn,
        }

    return {
        "image_id": ref.image_id + ref_note,
        "picture": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        "width": width,
        "height": height,
        "sides": [
            side(range(len(found.regions)), "regions", False),
            side(kept, "after the filter", True),
        ],
    }


def _largest_first(found: ImageRegions, numbers: Sequence[int]) -> list[int]:
    """So that small regions lie on top and can be pointed at."""
    return sorted(numbers, key=lambda number: -found.regions[number].area_px)


def _text(number: int, region: Region, found: ImageRegions) -> str:
    text = f"region {number}: {region.area_px:,} px, {region.area_px / (found.height * found.width):.2%} of the image"
    if region.predicted_iou is not None:
        text += f", predicted IoU {region.predicted_iou:.3f}"
    if region.stability_score is not None:
        text += f", stability {region.stability_score:.3f}"
    return text


def _outline(mask: Bool[np.ndarray, "h w"], width: int, height: int) -> str:
    """The mask's borders as an SVG path in the page's pixels."""
    small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX))
    pieces = []
    for contour in find_contours(np.pad(small, 1).astype(np.float32), 127.5):
        points = approximate_polygon(contour, 0.5) - 0.5
        pieces.append("M" + "L".join(f"{x:.1f},{y:.1f}" for y, x in points[:-1]) + "Z")
    return "".join(pieces)


def _scaled(box_xyxy: tuple[int, int, int, int], scale: float) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (side * scale for side in box_xyxy)
    return round(x0, 1), round(y0, 1), round(x1 - x0, 1), round(y1 - y0, 1)
