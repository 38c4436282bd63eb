"""The vector of an image from elsewhere, or of a box in one, by the backbone that a folder of vectors was made with."""

from dataclasses import dataclass
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
from samclr.errors import EvaluationError, PartsError, UsageError, name_some
from samclr.evaluation.inputs import is_run
from samclr.evaluation.targets import open_target
from samclr.log import option_of
from samclr.models.devices import choose_device
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.names import may_be_backbone
from samclr.regions.records import region_from_mask, regions_of_scene
from samclr.runs.results import UNTRAINED
from samclr.scenes.decode import Scene
from samclr.storage.parts import MANIFEST

MADE_WITH = ("backbone", "fingerprint", "model", "settings")
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
        PartsError: the manifest does not say what the vectors were made with.
        UsageError: the box does not lie in the image.
    """
    manifest = vectors.manifest
    if missing := [name for name in MADE_WITH if name not in manifest]:
        raise PartsError(
            f"{vectors.path / MANIFEST} does not say what the vectors were made with ({name_some(missing)}), so no "
            f"other image can be embedded likewise; search by an image of the folder, or embed its scenes again"
        )
    settings = EmbedConfig(**manifest["settings"], dtype=manifest["dtype"])
    asked = _asked(vectors, backbone)
    given = _given(asked.name, manifest["model"])
    target = open_target(asked.name, given, asked.untrained, asked.seed, settings.image_px, asked.which)
    if weights_fingerprint(target.backbone) != manifest["fingerprint"]:
        raise EvaluationError(
            f"{asked.name} has other weights than those that {vectors.path} was made with; name these with "
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


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A target as `open_target` takes it."""

    name: str
    untrained: bool = False
    seed: int | None = None
    which: Weights | None = None


def _asked(vectors: Vectors, backbone: str | None) -> _Asked:
    """The backbone of a folder: the one that is named, in the state that the folder remembers, else the remembered one.

    Raises:
        EvaluationError: the remembered one is not there any more.
    """
    origin = vectors.origin
    if origin is None:
        return _by_name(backbone or str(vectors.manifest["backbone"]))
    if backbone is not None:
        by_name = _by_name(backbone)
        which = by_name.which or (origin.which if is_run(Path(by_name.name)) else None)
        return _Asked(name=by_name.name, untrained=origin.untrained, seed=origin.seed, which=which)
    if Path(origin.backbone_at).is_absolute() and not Path(origin.backbone_at).exists():
        raise EvaluationError(
            f"the backbone that {vectors.path} was made with, {origin.backbone}, is no longer at "
            f"{origin.backbone_at}; name it with {option_of('backbone')}"
        )
    return _Asked(name=origin.backbone_at, untrained=origin.untrained, seed=origin.seed, which=origin.which)


def _by_name(name: str) -> _Asked:
    """What a backbone is called, as samclr embed takes it: without what its name says of it."""
    if name.endswith(UNTRAINED):
        return _Asked(name=name.removesuffix(UNTRAINED).partition(", stem ")[0], untrained=True)
    words: tuple[Weights, ...] = ("student", "teacher", "start")
    for which in words:
        if name.endswith(f" ({which})"):
            return _Asked(name=name.removesuffix(f" ({which})"), which=which)
    return _Asked(name=name)


def _given(name: str, model: dict[str, Any]) -> TargetConfig:
    """What the manifest knows of the model, for files of weights that do not say it themselves."""
    known = {key: value for key, value in model.items() if key in ("model_args", "stem", "mean", "std")}
    if Path(name).exists() and may_be_backbone(model["backbone"]):
        known["backbone"] = model["backbone"]
    return from_dict(TargetConfig, known)
