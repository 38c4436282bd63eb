"""Which images a backbone takes and how wide its features are, found by trying: timm's models say neither alike.

A trial builds the model on PyTorch's meta device, which computes shapes alone: no memory for weights, no statistics
that move, no random number drawn.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import psutil
import timm
import torch
from torch import Tensor, nn

from samclr.config.model_args import for_timm
from samclr.config.pretrain import PretrainConfig
from samclr.errors import ConfigError
from samclr.log import option_of, say
from samclr.models.names import SMALL_CNN, refuse_unknown

SMALL_CNN_WIDTH = 512
DEFAULT_PX = 128  # of views and of labelled images: what a backbone of one size is built for where nothing is said
ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}  # for the models that accept them
STRIDE_PX = 32  # a size of whole strides is tried where a model has no patches
MOST_CHANGE = 4 / 3  # a size is never rounded by a larger factor
MOST_TRIALS = 8
USUAL_PX = (32, 64, 96, 128, 160, 192, 224, 256, 288, 384, 448)  # to name one that a model takes
Options = tuple[tuple[str, Any], ...]  # arguments of timm.create_model


@dataclass(frozen=True, kw_only=True)
class InputSizes:
    """What a built backbone takes. Those of `create_backbone` have it as their attribute `input_sizes`.

    Attributes:
        name: of the timm model, or small-cnn.
        options: what timm built it with.
        width: width d of the features.
        arguments: those of the options that the settings state, see ModelConfig.model_args.
    """

    name: str
    options: Options
    width: int
    arguments: Options = ()

    @property
    def built_px(self) -> int | None:
        """The size that it was asked to be built for; None where it is as timm builds it."""
        return dict(self.options[len(self.arguments) :]).get("img_size")

    @property
    def trial(self) -> nn.Module | None:
        """The same model on the meta device, to compute shapes with; small-cnn has none."""
        return None if self.name == SMALL_CNN else trial_model(self.name, self.options)

    @property
    def accepted(self) -> set[str]:
        """Names of the arguments that timm builds the model with."""
        return set() if self.name == SMALL_CNN else _accepted_arguments(self.name)

    def fit(self, px: int, setting: str, tell: bool = True) -> int:
        """The nearest size of whole patches that the backbone takes. `tell`: say so where that is not `px`.

        Raises:
            ConfigError: it takes none near `px`; the text names `setting` and a size that it takes.
        """
        if self.name == SMALL_CNN:
            return px
        return _choose(self.name, px, lambda _: [self.options], setting, tell, training=False)[1]


def choose_sizes(
    name: str,
    px: int,
    input_px: int | None = None,
    setting: str = "size_px",
    tell: bool = False,
    training: bool = False,
    arguments: Options = (),
) -> tuple[InputSizes, int]:
    """How to build a backbone for images of `px`, and that size in whole patches.

    As timm builds it, with its options for images of any size, if that takes them; else for this very size.

    Args:
        input_px: the size to build it for whatever else it takes; None leaves that open.
        setting: what an error calls `px`.
        tell: say so where the size is rounded.
        training: try it as it trains, too.
        arguments: what else to build it with.

    Raises:
        ConfigError: it takes no images near this size, or has no size to choose, or gives no vector an image.
    """
    if name == SMALL_CNN:
        if input_px is not None:
            raise ConfigError(f"{name} takes images of any size; leave out {option_of('input_px')}")
        return InputSizes(name=name, options=(), width=SMALL_CNN_WIDTH), px
    accepted = _accepted_arguments(name)
    any_size = tuple((key, value) for key, value in ANY_SIZE.items() if key in accepted)
    if input_px is not None and "img_size" not in accepted:
        raise ConfigError(f"{name} cannot be built for a size, here {input_px} px; leave out {option_of('input_px')}")

    def ways(near: int) -> list[Options]:
        usual = (*arguments, *any_size)
        if input_px is not None:
            return [(*usual, ("img_size", input_px))]
        return [usual, *([(*usual, ("img_size", near))] if "img_size" in accepted else [])]

    sizes, near = _choose(name, px, ways, setting, tell, training)
    return replace(sizes, arguments=arguments), near


def fit_views(config: PretrainConfig, tell: bool = True) -> PretrainConfig:
    """The configuration with sizes that its backbone takes, and the size it is built for if it takes that one alone.

    It depends on nothing but the configuration (and timm), costs no work, and comes before any. `tell`: say what was
    rounded.

    Raises:
        ConfigError: the backbone takes no such views, or local views beside them, or images of --knn-on.
    """
    model, group, local, evaluation = config.model, config.group, config.local, config.evaluation
    arguments = for_timm(model.model_args)
    sizes, px = choose_sizes(model.backbone, group.size_px, model.input_px, "size_px", tell, True, arguments)
    if local.num_local_views > 0:
        local = replace(local, local_size_px=sizes.fit(local.local_size_px, "local_size_px", tell))
    if config.runtime.knn_on is not None:
        evaluation = replace(evaluation, image_px=sizes.fit(evaluation.image_px, "image_px", tell))
    return replace(
        config,
        model=replace(model, input_px=sizes.built_px),
        group=replace(group, size_px=px),
        local=local,
        evaluation=evaluation,
    )


def size_of_weights(sizes: InputSizes, tensors: Mapping[str, Tensor]) -> int | None:
    """The size that a backbone of fixed size is to be built for to have these tensors' shapes, of the usual ones."""
    if "img_size" not in sizes.accepted:
        return None
    options = tuple((key, value) for key, value in sizes.options if key != "img_size")
    for px in (_timm_px(sizes.name), *USUAL_PX):
        try:
            wanted = trial_model(sizes.name, (*options, ("img_size", px))).state_dict()
        except ConfigError:  # no whole patches
            continue
        if all(value.shape == wanted[name].shape for name, value in tensors.items() if name in wanted):
            return px
    return None


def feature_width(backbone: nn.Module) -> int:
    """Width d of the features: known of `create_backbone`'s, of others measured on two images in evaluation mode.

    Raises:
        ConfigError: it gives no vector an image, or takes no images of DEFAULT_PX.
    """
    sizes = getattr(backbone, "input_sizes", None)
    return sizes.width if isinstance(sizes, InputSizes) else _forward_width(backbone, DEFAULT_PX, training=False)


def _choose(
    name: str, px: int, ways: Callable[[int], Sequence[Options]], setting: str, tell: bool, training: bool
) -> tuple[InputSizes, int]:
    """The size nearest to `px` that a way to build the model takes, and the first such way."""
    patch = _patch_px(trial_model(name, ways(px)[0]))

    def attempt(side: int) -> InputSizes | str:
        reasons = []
        for options in ways(side):
            found = _trial_width(name, options, side, training)
            if isinstance(found, int):
                return InputSizes(name=name, options=options, width=found)
            reasons.append(found)
        return reasons[-1]

    reason = ""
    for near in _near(px, patch):
        sizes = attempt(near)
        if isinstance(sizes, InputSizes):
            if tell and near != px:
                cause = f"whole patches of {patch} px" if patch > 1 else "only some sizes"
                say(f"{name} takes {cause}: {setting} {px} is rounded to {near}")
            return sizes, near
        reason = reason or sizes
    others = {dict(ways(px)[0]).get("img_size", px), _timm_px(name), *USUAL_PX} - {px}
    nearest_first = sorted(others, key=lambda side: abs(side - px))
    usable = next((side for side in nearest_first if isinstance(attempt(side), InputSizes)), None)
    option = option_of(setting)
    advice = f"give {option} {usable}, or name another backbone" if usable else "name another backbone"
    raise ConfigError(f"{name}{_built_for(ways(px))} does not accept images of {px} px ({reason}); {advice}")


def _built_for(ways: Sequence[Options]) -> str:
    built_px = dict(ways[0]).get("img_size")
    return f", built for {built_px} px," if built_px else ""


def _near(px: int, patch: int) -> list[int]:
    """Sizes to try for `px`, the nearest first: whole patches; without patches `px` itself, then whole strides."""
    step = patch if patch > 1 else STRIDE_PX
    multiples = [number * step for number in range(1, int(px * MOST_CHANGE / step) + 2)]
    nearest = min(multiples, key=lambda side: abs(side - px))
    close = [side for side in multiples if side == nearest or px / MOST_CHANGE <= side <= px * MOST_CHANGE]
    ordered = sorted(close, key=lambda side: abs(side - px))[:MOST_TRIALS]
    return ordered if patch > 1 else [px, *(side for side in ordered if side != px)]


class _WrongSizeError(ConfigError):
    """A model does not accept images of a size; the text is the model's own."""


@lru_cache(maxsize=16)
def trial_model(name: str, options: Options) -> nn.Module:
    """The model on the meta device.

    Raises:
        ConfigError: timm has none of that name, or cannot build it, or its weights are larger than the memory.
    """
    refuse_unknown(name)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                model: nn.Module = timm.create_model(name, num_classes=0, **dict(options))
        except Exception as error:  # a package that is missing, or an option that this model does not know after all
            raise ConfigError(f"timm {timm.__version__} cannot build {name} ({reason_of(error)})") from None
    needed, has = sum(one.nbytes for one in (*model.parameters(), *model.buffers())), psutil.virtual_memory().total
    if needed > has:
        raise ConfigError(
            f"the weights of such a {name} are {needed / 1e9:,.0f} GB, and this machine has {has / 1e9:,.0f} GB of "
            f"memory; give smaller {option_of('model_args')}, or name another backbone"
        )
    return model


@lru_cache(maxsize=512)
def _trial_width(name: str, options: Options, side: int, training: bool) -> int | str:
    """Width of a trial model's features, or why it takes no images of this size, in training too where that is asked.

    Raises:
        ConfigError: timm cannot build it, or its features are not one vector an image.
    """
    trial = trial_model(name, options)
    try:
        if training:
            _forward_width(trial, side, training=True)
        return _forward_width(trial, side, training=False)
    except _WrongSizeError as error:
        return str(error)


def _forward_width(model: nn.Module, side: int, training: bool) -> int:
    """Width of the features of two square images.

    Raises:
        _WrongSizeError: it takes no such images.
        ConfigError: its features are not one vector an image.
    """
    parameter = next(model.parameters())
    was_training = model.training
    model.train(training)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            features = model(torch.zeros(2, 3, side, side, device=parameter.device, dtype=parameter.dtype))
    except Exception as error:  # asserts, views and products of shapes that do not fit
        raise _WrongSizeError(reason_of(error)) from None
    finally:
        model.train(was_training)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        shape = "x".join(map(str, features.shape)) if isinstance(features, torch.Tensor) else type(features).__name__
        name = getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__)
        raise ConfigError(
            f"{name} gives {shape} for 2 images; expected one vector an image, so name a backbone that pools"
        )
    return features.shape[1]


def _accepted_arguments(name: str) -> set[str]:
    """Names of the arguments that a timm model is built with, through all classes that it hands them on to."""
    accepted: set[str] = set()
    for kind in type(trial_model(name, ())).__mro__:
        parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
        accepted |= {parameter.name for parameter in parameters}
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return accepted


def _patch_px(model: nn.Module) -> int:
    """Side of the patches that a model cuts images into, 1 if it has none."""
    cutters: list[Any] = [module for module in model.modules() if hasattr(module, "feat_ratio")]
    return int(cutters[0].feat_ratio()) if cutters else 1


def _timm_px(name: str) -> int:
    """The size that timm builds a model for."""
    return int(trial_model(name, ()).pretrained_cfg["input_size"][-1])  # type: ignore[index]


def reason_of(error: Exception) -> str:
    """The gist of what a model says of its input, on one line."""
    text = re.split(r"[.!;]\s|\n", str(error).strip())[0][:100].rstrip(".")
    return text or type(error).__name__
