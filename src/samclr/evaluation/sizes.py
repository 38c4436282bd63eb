"""Sizes of labelled images that a backbone takes, settled before any work."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn

from samclr.config.evaluation import EvaluationConfig
from samclr.config.kinds import Kind
from samclr.errors import EvaluationError
from samclr.evaluation.patches import feature_map, patch_px, stage_number
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.log import say
from samclr.models.freeze import modes_kept
from samclr.models.sizes import InputSizes, reason_of


def fit_evaluation(
    sizes: InputSizes | None, config: EvaluationConfig, kinds: Collection[Kind] = ("labelled",), tell: bool = True
) -> EvaluationConfig:
    """The settings with sizes that the backbone takes, for sets of these kinds. sizes None: it is not one of ours.

    tell: say what was rounded.

    Raises:
        ConfigError: it takes no images near a size that a protocol is to use.
    """
    if sizes is None:
        return config
    data = config.data
    if "labelled" in kinds:
        data = replace(data, image_px=sizes.fit(data.image_px, "image_px", tell))
    fitted = []
    for one in (one for kind in kinds for one in config.asked(kind)):
        sides = {name: sizes.fit(getattr(one, name), name, tell) for name in one.sides}
        fitted.append(replace(one, **sides) if sides else one)
    names = {one.name for one in fitted}
    others = [one for one in config.protocols if one.name not in names]
    return replace(config, data=data, protocols=(*fitted, *others))


def say_fewer(name: str, what: str, asked: int | None, there: int) -> None:
    """Say so where a set has fewer images than are asked for: all of them are used."""
    if asked is not None and asked > there:
        say(f"{name} has {there} {what}, fewer than the {asked} asked for: all are used")


def check_dense(backbone: nn.Module, config: DenseConfig) -> None:
    """See on the meta device that the backbone has feature maps, also of images that are not square.

    Raises:
        EvaluationError: it has none, or not the stage asked for, or takes images of one size alone.
    """
    check_maps(backbone, config.dense_px, stage_number(backbone, config.dense_stage), "dense tasks")


def check_maps(backbone: nn.Module, short_px: int, stage: int, what: str, square: bool = False) -> None:
    """See on the meta device that a stage of the backbone has maps for `what`.

    square: all images will be; else it must take others as well.

    Raises:
        EvaluationError: it has none, or does not take such images.
    """
    sizes: InputSizes | None = getattr(backbone, "input_sizes", None)
    if sizes is None or sizes.trial is None:
        return
    patch = patch_px(backbone)
    rows = max(round(short_px / patch), 1) * patch
    columns = rows if square else rows + patch
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), modes_kept(sizes.trial):
            found = feature_map(sizes.trial.eval(), torch.zeros(1, 3, rows, columns, device="meta"), stage)
    except Exception as error:  # asserts, views and products of shapes that do not fit
        raise EvaluationError(
            f"{sizes.name} does not accept images of {columns}x{rows} px ({reason_of(error)}); "
            f"{what} need a backbone of any size, such as a ViT or a ResNet"
        ) from None
    if found.ndim != 4:
        raise EvaluationError(
            f"{sizes.name} gives {tuple(found.shape)} instead of feature maps; {what} need a ViT or a ResNet"
        )
