"""Tiny sets whose labels are MATLAB files, in the true layout: SBD, and Pascal Context as released."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from support.scenes import box_scene

VALUES = np.array([0, 1, 15, 20], np.uint8)  # of the boxes of a scene: aeroplane, person, tvmonitor


def write_sbd(root: Path, stems: dict[str, list[str]]) -> Path:
    """benchmark_RELEASE/dataset with the lists that are given; number n of the images is box_scene(n). Returns it."""
    folder = root / "benchmark_RELEASE/dataset"
    for name in ("img", "cls", "inst"):
        (folder / name).mkdir(parents=True)
    for number, stem in enumerate(sorted({stem for names in stems.values() for stem in names})):
        pixels, boxes = box_scene(number)
        Image.fromarray(pixels).save(folder / f"img/{stem}.jpg", quality=95)
        classes = VALUES[boxes]
        save(folder / f"cls/{stem}.mat", GTcls=_struct(classes, CategoriesPresent=VALUES[1:, None]))
        save(folder / f"inst/{stem}.mat", GTinst=_struct(boxes, Categories=VALUES[1:, None]))
    for name, own in stems.items():
        (folder / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in own))
    return folder


def save(path: Path, **variables: Any) -> None:
    """As MATLAB's save does without an option: compressed, version 7."""
    savemat(path, variables, do_compression=True)


def _struct(values: np.ndarray, **more: np.ndarray) -> dict[str, Any]:
    cells = np.empty((20, 1), object)
    for number in range(20):
        cells[number, 0] = csc_matrix(values.shape, dtype=bool)
    return {"Boundaries": cells, "Segmentation": values, **more}
