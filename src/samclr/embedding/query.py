"""The vector of an image from elsewhere, or of a box in one, by the backbone that a folder of vectors was made with."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from samclr.config.embedding import EVERY_REGION, EmbedConfig
from samclr.config.evaluation import TargetConfig
from samclr.config.methods import Weights
from samclr.config.serialise import from_dict
from samclr.config.views import FilterConfig
from samclr.embedding.embedders import crop_vectors, pooled_vectors
from samclr.embedding.vectors import Vectors
from samclr.errors import EvaluationError, UsageError
from samclr.evaluation.targets import open_target
from samclr.log import option_of
from samclr.models.devices import choose_device
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.names import may_be_backbone
from samclr.regions.records import region_from_mask, regions_of_scene
from samclr.runs.results import UNTRAINED
from samclr.scenes.decode import Scene

BoxXYXY = tuple[int, int, int, int]


def query_vector(
    vectors: Vectors,
    scene: Scene,
    box_xyxy: BoxXYXY | None = None,
    *,
    backbone: str | None = None,
    device: str = "auto",
) -> Float[np.ndarray, "d"]:
    """The vector that an image, or a box of it, would have in the folder.

    backbone: the target of samclr embed, where it lies elsewhere now; its weights must be the same.

    Raises:
        EvaluationError, ConfigError, RunError: the backbone cannot be had, or has other weights.
        UsageError: the box does not lie in the image.
    """
    manifest = vectors.manifest
    settings = EmbedConfig(**manifest["settings"], dtype=manifest["dtype"])
    name, is_untrained, which = _target_of(backbone or str(manifest["backbone"]))
    target = open_target(name, _given(name, manifest["model"]), is_untrained, None, settings.image_px, which)
    if weights_fingerprint(target.backbone) != manifest["fingerprint"]:
        raise EvaluationError(
            f"{name} has other weights than those that {vectors.path} was made with; name these with "
            f"{option_of('backbone')}"
        )
    regions = None
    if box_xyxy is not None:
        height, width = scene.pixels.shape[:2]
        x0, y0, x1, y1 = box_xyxy
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise UsageError(
                f"the box {x0} {y0} {x1} {y1} does not lie in {scene.image_id} of {width}x{height} px; expected left, "
                f"top, right and bottom, in px of the upright photo"
            )
        mask = np.zeros((height, width), bool)
        mask[y0:y1, x0:x1] = True
        regions = regions_of_scene(scene, [region_from_mask(mask)])
    item = (scene, regions, [] if regions is None else [0])
    if settings.regions_by == "crop":
        filter_config = from_dict(FilterConfig, manifest["filter"]) if "filter" in manifest else EVERY_REGION
        found = crop_vectors(target.backbone, [item], settings, filter_config, choose_device(device))
    else:
        found = pooled_vectors(target.backbone, [item], settings, choose_device(device))
    return np.asarray(found[0][-1])


def _target_of(name: str) -> tuple[str, bool, Weights | None]:
    """What a folder's backbone is called, as samclr embed takes it: without what its name says of it."""
    if name.endswith(UNTRAINED):
        return name.removesuffix(UNTRAINED).partition(", stem ")[0], True, None
    words: tuple[Weights, ...] = ("student", "teacher", "start")
    for which in words:
        if name.endswith(f" ({which})"):
            return name.removesuffix(f" ({which})"), False, which
    return name, False, None


def _given(name: str, model: dict[str, Any]) -> TargetConfig:
    """What the manifest knows of the model, for files of weights that do not say it themselves."""
    known = {key: value for key, value in model.items() if key in ("model_args", "stem", "mean", "std")}
    if Path(name).exists() and may_be_backbone(model["backbone"]):
        known["backbone"] = model["backbone"]
    return from_dict(TargetConfig, known)
