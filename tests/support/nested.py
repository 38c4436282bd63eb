"""Scenes with a store of nested boxes, in which the containment test has much to do."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [(60, 80), (48, 64), (90, 120)]


def write_nested(folder: Path, count: int, call, torn: str | None = None) -> tuple[Path, Path]:
    """(scenes, store) of `count` images with up to nine boxes each, many inside others; the last has none.

    torn: name of a further scene that cannot be decoded.
    """
    images, annotations = [], []
    for number in range(count):
        random = np.random.default_rng(number)
        height, width = SIZES[number % len(SIZES)]
        path = folder / "scenes" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(path)
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
        for _ in range(0 if number == count - 1 else int(random.integers(1, 10))):
            x0, y0 = random.integers(0, width - 12), random.integers(0, height - 12)
            x1, y1 = random.integers(x0 + 8, width + 1), random.integers(y0 + 8, height + 1)
            one = {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0, "area": int((x1 - x0) * (y1 - y0))}
            corners = [[int(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]]
            annotations.append(one | {"segmentation": corners, "score": float(random.random())})
    if torn is not None:
        (folder / "scenes" / torn).write_bytes(b"\x89PNG\r\n\x1a\n torn")
    document = {"images": images, "annotations": annotations}
    (folder / "masks.json").write_text(json.dumps(document))
    words = ("--scenes", folder / "scenes", "--out", folder / "store")
    status, _, said = call("regions", "import", folder / "masks.json", *words)
    assert status == 0, said
    return folder / "scenes", folder / "store"
