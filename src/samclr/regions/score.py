"""How well a store's regions cover what people segmented.

Best covering (Arbelaez et al., 2011, "Contour Detection and Hierarchical Image Segmentation", section 3.1.1, with
proposals in place of a partition): each human segment counts by its area with the IoU of the best region. Recall is
the share of human segments with a region of IoU over 0.5.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_mask

from samclr.datasets.label_maps import NO_REGION, LabelError, ValuesHeld, read_label_regions
from samclr.errors import ScenesError, name_some
from samclr.log import say
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.scene_check import SceneCheck
from samclr.regions.store import damaged_text, iterate_rows, read_regions
from samclr.regions.truth import BY_NAME, truth_of
from samclr.scenes.refs import LabelFile, SceneRef
from samclr.storage.parts import OK, PartsFolder

RECALL_IOU = 0.5
MAX_SEGMENTS = 10_000  # of one label map; a picture taken for a label map has more


def score_store(
    store: PartsFolder,
    segmentations: Path,
    ignore_label: Sequence[int] = (),
    refs: Sequence[SceneRef] | None = None,
) -> dict[str, Any]:
    """Means over images, each the mean over its human segmentations; images that failed count as uncovered.

    Pixels of a value in `ignore_label` belong to no segment and are left out of intersections and unions; where none is
    given, those that the store's own segmenter `labels` ignored are, which is reported. Label maps that are broken, of
    another size or of no image are left out, counted and named; so are images without one, and, where the scenes are
    given, rows that are not of the scene's file as it is now.

    segmentations: a folder of label maps, or a data set as NAME:SPLIT@ROOT, whose own are read by its rule: what means
    nothing there is ignored as well. Maps that the store itself was made of are read so from their folder, too.

    Raises:
        ScenesError: no label map fits an image of the store or can be read, or one fits several images; or the set has
            none.
    """
    own, has_ignored = store.maker.get("ignore_label") or (), bool(ignore_label)
    if own and not ignore_label:
        ignore_label = own
        say(f"ignored, as when the store was made: {', '.join(map(str, own))}")
    image_ids = store.read(["image_id"])["image_id"].to_pylist()
    truth = truth_of(store, image_ids, segmentations, has_ignored)
    broken: dict[str, str] = {}
    covering, recall, counts = [], [], []
    failed: list[str] = []
    damaged: list[str] = []
    num_people = 0
    check, held = SceneCheck.of(refs), ValuesHeld(ignore_label)
    for row in iterate_rows(store):
        maps = truth.maps.get(row["image_id"], [])
        found = read_regions(row) if maps else None
        if isinstance(found, ImageRegions) and check.fault(found):
            continue
        scores = []
        for label in maps:
            try:
                scores.append(_score(label, found, held))
            except LabelError as error:
                broken[label.path] = str(error)
        if not scores:
            continue
        if isinstance(found, SegmentError):
            (damaged if row["status"] == OK else failed).append(f"{found.image_id} ({found.message})")
        counts.append(len(found.regions) if isinstance(found, ImageRegions) else 0)
        num_people += len(scores)
        covering.append(np.mean([best for best, _ in scores]))
        recall.append(np.mean([share for _, share in scores]))
    without = [image_id for image_id in image_ids if image_id not in truth.maps]
    _say_some("images failed and count as uncovered", failed)
    if damaged:
        say(damaged_text(store, damaged, "count as uncovered"))
    check.tell(store, "left out")
    _say_some("label maps cannot be used", list(broken.values()))
    _say_some("label maps are left out", truth.left_out)
    _say_some("images have no label map", without)
    held.say_missing()
    if not covering:
        raise ScenesError(
            f"no label map in {segmentations} can be used: {name_some(list(broken.values()), 1)}"
            if broken
            else f"no label map in {segmentations} has the relative stem of an image of {store.path}, such as "
            f"IMAGE_1.png; its images are {name_some(image_ids, 2)}; for a data set's own label maps type {BY_NAME}"
        )
    return {
        "segmenter": store.maker["segmenter"],
        "num_images": len(covering),
        "num_images_without_label_map": len(without),
        "num_human_segmentations": num_people,
        "num_label_maps_left_out": len(broken) + len(truth.left_out),
        "regions_per_image": float(np.mean(counts)),
        "best_covering": float(np.mean(covering)),
        "recall_at_50": float(np.mean(recall)),
    }


def _say_some(what: str, names: list[str]) -> None:
    if names:
        say(f"{len(names):,} {what}: {name_some(names)}")


def _score(label: LabelFile, found: ImageRegions | SegmentError | None, held: ValuesHeld) -> tuple[float, float]:
    """Covering and recall of one human segmentation. Raises LabelError."""
    regions, name = found if isinstance(found, ImageRegions) else None, Path(label.path).name
    labels = read_label_regions(label, None if regions is None else (regions.height, regions.width))
    ids, ignored = np.unique(labels), sorted({*held.ignored, NO_REGION})
    held.add(ids[ids != NO_REGION])
    if np.isin(ids, ignored).all():
        raise LabelError(f"label map {name} holds only ignored values")
    if len(ids) > MAX_SEGMENTS:
        raise LabelError(f"label map {name} has {len(ids):,} ids; expected at most {MAX_SEGMENTS:,} segments")
    best, area = best_ious(labels, [] if regions is None else regions.coco_rles(), ignored)
    return float((best * area).sum() / area.sum()), float((best > RECALL_IOU).mean())


def best_ious(
    labels: Int[np.ndarray, "h w"], rles: list[dict[str, object]], ignore_label: Sequence[int] = ()
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """For each label that is not ignored: IoU of the region that fits it best, and its area in pixels."""
    ids, areas = np.unique(labels, return_counts=True)
    kept = ~np.isin(ids, ignore_label)
    ids, area = ids[kept], areas[kept].astype(np.float64)
    if not rles:
        return np.zeros(len(ids)), area
    segments = [_encode(labels == number) for number in ids]
    region_area = np.array([int(coco_mask.area(rle)) for rle in rles], np.float64)
    common = _intersections(rles, segments, region_area)
    ignored = _intersections(rles, [_encode(np.isin(labels, ignore_label))], region_area)
    union = (region_area[:, None] - ignored) + area - common
    return (common / union).max(0), area


def _encode(mask: Any) -> Mapping[str, object]:
    encoded: Mapping[str, object] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return encoded


def _intersections(
    rles: list[dict[str, object]], segments: Sequence[Mapping[str, object]], region_area: Float[np.ndarray, " r"]
) -> Float[np.ndarray, "r s"]:
    """Pixels that each region shares with each segment."""
    # iscrowd=1 makes pycocotools divide the intersection by the first mask's own area.
    shares = np.asarray(coco_mask.iou(rles, segments, [1] * len(segments)))
    return np.round(shares * region_area[:, None])
