"""Sizes of labelled images that a backbone takes, settled before any work."""

from dataclasses import replace

import torch
from torch import nn

from samclr.config.evaluation import DenseConfig, ProtocolsConfig
from samclr.config.pretrain import KnnConfig
from samclr.errors import EvaluationError
from samclr.evaluation.patches import feature_map, patch_px, stage_number
from samclr.models.sizes import InputSizes, reason_of


def fit_protocols(
    sizes: InputSizes | None, knn: KnnConfig, protocols: ProtocolsConfig, tell: bool = True
) -> tuple[KnnConfig, ProtocolsConfig]:
    """The settings with sizes that the backbone takes; `tell`: say what was rounded. None: it is not one of ours.

    Raises:
        ConfigError: it takes no images near a size that a protocol is to use.
    """
    if sizes is None:
        return knn, protocols
    knn = replace(knn, image_px=sizes.fit(knn.image_px, "image_px", tell))
    crop, tune = protocols.crop_probe, protocols.fine_tune
    if crop.crop_probe:
        crop = replace(crop, crop_px=sizes.fit(crop.crop_px, "crop_px", tell))
    if tune.fine_tune:
        tune = replace(tune, tune_px=sizes.fit(tune.tune_px, "tune_px", tell))
    return knn, replace(protocols, crop_probe=crop, fine_tune=tune)


def check_dense(backbone: nn.Module, config: DenseConfig) -> None:
    """See on the meta device that the backbone has feature maps, of images that are no squares as well.

    Raises:
        EvaluationError: it has none, or not the stage asked for, or takes images of one size alone.
    """
    stage = stage_number(backbone, config.dense_stage)
    sizes: InputSizes | None = getattr(backbone, "input_sizes", None)
    if sizes is None or sizes.trial is None:
        return
    patch = patch_px(backbone)
    rows = max(round(config.dense_px / patch), 1) * patch
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = feature_map(sizes.trial, torch.zeros(1, 3, rows, rows + patch, device="meta"), stage)
    except Exception as error:  # asserts, views and products of shapes that do not fit
        raise EvaluationError(
            f"{sizes.name} takes no images of {rows + patch}x{rows} px ({reason_of(error)}); "
            f"dense tasks need a backbone of any size, such as a ViT or a ResNet"
        ) from None
    if found.ndim != 4:
        raise EvaluationError(
            f"{sizes.name} gives no feature maps but {tuple(found.shape)}; dense tasks need a ViT or a ResNet"
        )
