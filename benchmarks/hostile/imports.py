"""COCO files with one thing wrong: is a good image's mask kept, and is what is wrong counted or refused in words?"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from runner import samclr

HEIGHT, WIDTH = 48, 64
SQUARE = [[4, 4, 20, 4, 20, 20, 4, 20]]
ODD_VALUES: tuple[Any, ...] = (None, [], {}, "x", -1, 10**400, 1e300, True, [[]], float("nan"))
FIELDS = {
    "annotation": (
        "id",
        "image_id",
        "segmentation",
        "bbox",
        "area",
        "iscrowd",
        "score",
        "predicted_iou",
        "point_coords",
    ),
    "image": ("id", "file_name", "height", "width"),
}
SEGMENTATIONS: dict[str, Any] = {
    "polygon of 1e9": [[0, 0, 1e9, 0, 1e9, 1e9]],
    "polygon of two points": [[0, 0, 9, 9]],
    "polygon of odd length": [[0, 0, 9, 0, 9, 9, 0]],
    "polygon of text": [["0", "0", "9", "0", "9", "9"]],
    "polygon outside": [[900, 900, 990, 900, 990, 990]],
    "runs too short": {"size": [HEIGHT, WIDTH], "counts": [5, 5]},
    "runs too long": {"size": [HEIGHT, WIDTH], "counts": [10**11]},
    "negative run": {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
    "run of a fraction": {"size": [HEIGHT, WIDTH], "counts": [1.5, HEIGHT * WIDTH - 1.5]},
    "runs as foreign text": {"size": [HEIGHT, WIDTH], "counts": "\x00\x7f~~~"},
    "runs cut short": {"size": [HEIGHT, WIDTH], "counts": "oX"},
    "size turned": {"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]},
    "size without end": {"size": [10**9, 10**9], "counts": [0, 10**18]},
}


def base() -> dict[str, Any]:
    """Two images with a mask each."""
    images = [
        {"id": k, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for k, name in ((1, "a"), (2, "b"))
    ]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "iscrowd": 0, "segmentation": SQUARE, "bbox": [4, 4, 16, 16]}
        for k in (1, 2)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}


def cases() -> Iterator[tuple[str, str]]:
    """Names and the text of the file; what is wrong is wrong with image a, image b is sound."""
    for part, names in FIELDS.items():
        for field in names:
            for value in ODD_VALUES:
                document = base()
                document[f"{part}s"][0][field] = copy.deepcopy(value)
                yield f"{part}.{field} = {str(value)[:12]}", json.dumps(document)
    for name, segmentation in SEGMENTATIONS.items():
        document = base()
        document["annotations"][0]["segmentation"] = segmentation
        yield name, json.dumps(document)
    document = base()
    document["images"][0]["id"] = 2
    yield "two images with one id", json.dumps(document)
    document = base()
    document["images"][0]["file_name"] = "elsewhere/b.png"
    yield "two entries of one base name", json.dumps(document)
    yield "deep", '{"images":' + "[" * 200_000
    yield "cut", json.dumps(base())[:-40]
    yield "not an object", "[1, 2]"
    yield "not UTF-8", '{"images": "\udcff"}'


def import_all(folder: Path, step: int = 1) -> dict[str, Any]:
    """A row of counts. silent: the sound image lost its mask, and the status was 0 without its name."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(photos / f"{name}.png")
    counts = dict.fromkeys(("refused", "row or count", "accepted", "silent", "hang", "crash", "unexpected"), 0)
    odd, tried = [], 0
    for number, (name, text) in enumerate(cases()):
        if number % step:
            continue
        tried += 1
        file, store = folder / "case.json", folder / f"store-{number}"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        outcome = samclr("regions", "import", file, "--scenes", photos, "--out", store, cache=folder / "cache")
        masks = _masks(store)
        if outcome.fault is not None:
            what = outcome.fault
        elif outcome.status != 0 and not masks:
            what = "refused"
        elif masks.get("b.png", 0) != 1 and outcome.status == 0 and "b.png" not in outcome.text:
            what = "silent"
        elif masks.get("a.png", 0) == 1:
            what = "accepted"  # of a field that says nothing about the mask
        else:
            what = "row or count"
        counts[what] += 1
        if what in ("silent", "hang", "crash", "unexpected"):
            odd.append(f"{name}: {what}: {outcome.text.strip()[-200:]}")
    return {"what": "malformed COCO imports", "tried": tried, **counts, "odd": odd}


def _masks(store: Path) -> dict[str, int]:
    rows = [row for part in sorted(store.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    return {row["image_id"]: len(row["regions"] or []) for row in rows if row["status"] == "ok"}
