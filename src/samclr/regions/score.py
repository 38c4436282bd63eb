"""How well a store's regions cover what people segmented.

Best covering (Arbelaez et al., 2011, "Contour Detection and Hierarchical Image Segmentation", section 3.1.1, with
proposals in place of a partition): each human segment counts by its area with the IoU of the best region. Recall is
the share of human segments with a region of IoU over 0.5.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from pycocotools import mask as coco_mask

from samclr.errors import ScenesError
from samclr.parts import OK, PartsFolder
from samclr.regions.store import iterate_rows, row_to_regions

RECALL_IOU = 0.5


def score_store(store: PartsFolder, segmentations: Path) -> dict[str, Any]:
    """Means over images, each the mean over its human segmentations; images that failed count as uncovered.

    Raises:
        ScenesError: no label map fits an image of the store, or one has another size than its image.
    """
    covering, recall, counts = [], [], []
    num_people = 0
    for row in iterate_rows(store):
        maps = find_label_maps(segmentations, row["image_id"])
        if not maps:
            continue
        found = row_to_regions(row) if row["status"] == OK else None
        counts.append(0 if found is None else len(found.regions))
        coverings, recalls = [], []
        for path in maps:
            with Image.open(path) as image:
                labels = np.asarray(image).astype(np.int64)
            if found is not None and labels.shape != (found.height, found.width):
                raise ScenesError(
                    f"{path} is {labels.shape[1]}x{labels.shape[0]} px, its image {found.width}x{found.height}"
                )
            best, area = best_ious(labels, found.coco_rles() if found is not None else [])
            coverings.append(float((best * area).sum() / area.sum()))
            recalls.append(float((best > RECALL_IOU).mean()))
        num_people += len(maps)
        covering.append(np.mean(coverings))
        recall.append(np.mean(recalls))
    if not covering:
        raise ScenesError(
            f"no label map in {segmentations} has the relative stem of an image of {store.path}, as IMAGE_1.png"
        )
    return {
        "segmenter": store.maker["segmenter"],
        "images": len(covering),
        "human_segmentations": num_people,
        "regions_per_image": float(np.mean(counts)),
        "best_covering": float(np.mean(covering)),
        "recall_at_50": float(np.mean(recall)),
    }


def find_label_maps(folder: Path, image_id: str) -> list[Path]:
    """IMAGE.png and IMAGE_1.png, IMAGE_2.png ... of an image, by its relative stem."""
    stem = (folder / image_id).with_suffix("")
    maps = [
        path for path in stem.parent.glob(f"{stem.name}_*.png") if path.stem.removeprefix(f"{stem.name}_").isdigit()
    ]
    plain = stem.with_name(stem.name + ".png")
    return sorted(maps) + ([plain] if plain.exists() else [])


def best_ious(
    labels: Int[np.ndarray, "h w"], rles: list[dict[str, object]]
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """For each label: IoU of the region that fits it best, and its area in pixels."""
    ids, area = np.unique(labels, return_counts=True)
    if not rles:
        return np.zeros(len(ids)), area.astype(np.float64)
    segments = [coco_mask.encode(np.asfortranarray(labels == number, dtype=np.uint8)) for number in ids]
    overlaps = np.asarray(coco_mask.iou(rles, segments, [0] * len(segments)))
    return overlaps.max(0), area.astype(np.float64)
