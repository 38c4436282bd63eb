"""Every field of every class of settings says what it may be, and refuses what it may not."""

import dataclasses
import typing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from support.settings import settings_classes

from samclr.cli.commands import RecipeOptions
from samclr.cli.regions import Look, Segment
from samclr.cli.segmenters import SegmenterOptions
from samclr.cli.study import RunStudy
from samclr.config.methods import ProjectorConfig
from samclr.config.pretrain import AugmentConfig, LocalViews, OptimConfig, PretrainConfig, ViewGroup
from samclr.config.serialise import (
    LARGEST,
    UNIONS,
    Bounds,
    CountsWith,
    Settings,
    from_dict,
    hints_of,
    idle_settings,
    to_dict,
)
from samclr.config.views import ViewsConfig
from samclr.errors import ConfigError
from samclr.methods.detcon_spec import DetconConfig
from samclr.methods.dino_spec import DinoConfig
from samclr.methods.moco_spec import MocoConfig

NEEDED = {  # of commands, whose places have no defaults
    "scenes": (Path("x"),),
    "out": Path("x"),
    "store": Path("x"),
    "segmentations": Path("x"),
    "file": Path("x"),
    "target": "x",
    "runs": (Path("x"),),
    "name": "camvid",
    "study": "x",
    "folder": Path("x"),
    "vectors": Path("x"),
    "backbone": "x",
    "to": "x",
    "num": 1,
}


FIELDS = [
    (kind, name, hint) for kind in settings_classes() for name, hint in hints_of(kind).items() if name != "command"
]


def made(kind: type, /, **given: Any) -> Any:
    names = [one for one in dataclasses.fields(kind) if one.default is one.default_factory is dataclasses.MISSING]
    needed = {one.name: NEEDED.get(one.name) for one in names}
    if kind.__name__ == "Export":
        needed["target"] = Path("x")
    if kind.__name__ == "Pretrain":
        needed["recipe"] = RecipeOptions()
    return kind(**(needed | given))


def parts(hint: Any, bounds: Bounds | None = None) -> list[tuple[Any, Bounds | None]]:
    """The plain kinds in an annotation (`tuple` itself too), each with its bounds."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        own = [one for one in hint.__metadata__ if isinstance(one, Bounds)]
        return parts(arguments[0], own[-1] if own else bounds)
    if origin in UNIONS:
        return [part for one in arguments if one is not type(None) for part in parts(one, bounds)]
    if origin is tuple:
        return [(hint, bounds), *(part for one in set(arguments) - {...} for part in parts(one, bounds))]
    return [(hint, bounds)]


def bad_numbers(kind: type, bounds: Bounds) -> list[Any]:
    bad = ["0.1", "", True, None, float("nan"), float("inf"), -float("inf"), 10**30, 10**400, [], b"1", 1j]
    bad += [Fraction(1, 3)] if kind is int else []
    bad += [bounds.at_least - 1] if bounds.at_least is not None else []
    bad += [bounds.over, -1] if bounds.over is not None else []
    bad += [bounds.under] if bounds.under is not None else []
    return [*bad, bounds.at_most * 2 + 1]


def bad_values(hint: Any) -> list[Any]:
    kinds = parts(hint)
    inner = hint
    while typing.get_origin(inner) is Annotated:
        inner = typing.get_args(inner)[0]
    allows_none = type(None) in typing.get_args(inner) or inner is Any
    bad: list[Any] = [] if hint is Any else [object(), {"x": 1}]
    for kind, bounds in kinds:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is tuple:
            bad += ["ab", 3] + ([(), (1,) * (len(arguments) + 1)] if arguments[-1] is not ... else [])
            bad += [
                tuple([item] * (1 if arguments[-1] is ... else len(arguments))) for item in items(arguments[0], bounds)
            ]
            low = (bounds.over or 0) if bounds else 0
            bad += [(low + 0.9, low + 0.5)] if bounds and bounds.rising else []
            bad += [()] if bounds and bounds.filled else []
            break
        if kind in (int, float) and len(kinds) == 1:
            assert bounds is not None
            bad += bad_numbers(kind, bounds)
        elif origin is Literal:
            bad += ["no such word", "", True, None, *(word.upper() for word in arguments if word.upper() != word)]
            numbers = [(one, own) for one, own in kinds if one in (int, float) and own is not None]
            bad += [number for one in numbers for number in bad_numbers(*one)] if numbers else [0]
        elif kind is bool:
            bad += [0, 1, "yes", None, np.bool_(True)]
        elif kind is str:
            bad += [3, b"x", Path("x")]
        elif kind is Path:
            bad += [3, b"x", 0.5]
    return [value for value in bad if value is not None or not allows_none]


def items(kind: Any, bounds: Bounds | None) -> list[Any]:
    return bad_numbers(kind, bounds) if kind in (int, float) and bounds else bad_values(kind)


@pytest.mark.parametrize(("kind", "name", "hint"), FIELDS, ids=lambda value: getattr(value, "__name__", None))
def test_a_field_has_bounds_and_refuses_all_else(kind, name, hint):
    assert issubclass(kind, Settings), f"{kind.__name__} must derive from Settings"
    for one, bounds in parts(hint):
        if one in (int, float):
            low = bounds is not None and (bounds.at_least is not None or bounds.over is not None)
            assert low, f"{kind.__name__}.{name} has no bounds: use samclr.config.serialise.Count, Positive or another"
            assert one is float or bounds.at_most != LARGEST, (
                f"{kind.__name__}.{name} has no top: say up to which number it makes sense"
            )
    for value in bad_values(hint):
        with pytest.raises(ConfigError) as refused:
            made(kind, **{name: value})
        text = str(refused.value)
        assert text.startswith(f"{name} is "), text
        assert "; expected " in text
        assert len(text) < 400


def test_all_settings_are_walked():
    assert len(FIELDS) > 150
    assert {"OptimConfig", "MaskConfig", "DinoConfig", "DenseConfig", "Fill", "Demo", "RunStudy"} <= {
        kind.__name__ for kind, _, _ in FIELDS
    }


def test_numbers_of_numpy_lists_and_text_become_pythons_own():
    optim = OptimConfig(lr=1, steps=np.int64(3), weight_decay=np.float32(0.5))
    assert [type(value) for value in (optim.lr, optim.steps, optim.weight_decay)] == [float, int, float]
    assert ViewGroup(crop_scale=[0.2, 1]).crop_scale == (0.2, 1.0)
    assert PretrainConfig(seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: OptimConfig(clip_norm=0), "clip_norm is 0; expected a number over 0"),
        (lambda: OptimConfig(steps=10**12), "expected a whole number from 1 to 100000000"),
        (lambda: OptimConfig(clip_norm=1e12), f"expected a number over 0, and at most {LARGEST}"),
        (
            lambda: MocoConfig(queue_size=2**20, projector=ProjectorConfig(projector_out=512)),
            f"queue_size is {2**20}; times projector_out, 512, that is {2**29} numbers; expected at most {2**28}",
        ),
        (lambda: OptimConfig(optimizer="adam"), "optimizer is 'adam'; expected sgd or adamw or lars"),
        (
            lambda: PretrainConfig(optim=OptimConfig(steps=9, warmup_steps=9)),
            "warmup_steps is 9; expected fewer than the run's 9 steps",
        ),
        (lambda: OptimConfig(clip_per="parameter"), "clips nothing without a `clip_norm`; give both"),
        (lambda: ViewGroup(crop_scale=(1, 0.2)), "crop_scale is 1 0.2; expected two numbers, the smaller first"),
        (lambda: ViewGroup(crop_scale=(0, 1)), "each a number over 0, at most 1, the smaller first"),
        (lambda: PretrainConfig(group=ViewGroup(num_views=1)), "num_views is 1; a positive pair needs at least 2"),
        (lambda: PretrainConfig(optim=3), "optim is 3; expected OptimConfig"),
    ],
)  # fmt: skip
def test_what_is_said(make, text):
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value).endswith(text)


def test_a_warm_up_longer_than_the_epochs_is_refused_when_they_are_counted():
    optim = OptimConfig(epochs=2, global_batch_size=4, warmup_steps=5)
    assert optim.num_steps(16) == 8
    with pytest.raises(ConfigError, match="warmup_steps is 5; expected fewer than the run's 4 steps"):
        optim.num_steps(8)


def test_a_file_names_the_place_of_a_bad_value():
    saved = to_dict(PretrainConfig())
    saved["optim"]["lr"] = float("nan")
    with pytest.raises(ConfigError, match=r"config\.optim\.lr is nan; expected a number over 0"):
        from_dict(PretrainConfig, saved)
    saved["optim"] |= {"lr": 0.1, "warmup_steps": 10**6}
    with pytest.raises(ConfigError, match=r"config: warmup_steps is 1000000"):
        from_dict(PretrainConfig, saved)
    assert from_dict(ProjectorConfig, {"projector_hidden": None}) == ProjectorConfig()


def test_a_condition_names_a_setting_and_values_that_it_may_have():
    conditions = {
        (one, name)
        for _, name, hint in FIELDS
        for one in getattr(hint, "__metadata__", ())
        if isinstance(one, CountsWith)
    }
    named = {one.setting: [hint for _, other, hint in FIELDS if other == one.setting] for one, _ in conditions}
    assert len(conditions) > 20
    for one, name in conditions:
        assert named[one.setting], f"{name} counts with {one.setting}, which is no setting"
        words = {word for hint in named[one.setting] for kind, _ in parts(hint) for word in typing.get_args(kind)}
        assert {word for word in one.values if word} <= words


def test_what_is_typed_and_changes_nothing_is_said():
    def said(command, *typed):
        return idle_settings(command, set(typed))

    image = PretrainConfig(recipe="simclr", views=ViewsConfig(strategy="image"), method=DinoConfig())
    assert said(image) == []
    assert said(image, "redraw", "lr", "temperature") == [
        "--redraw has no effect here: it applies only with --strategy random-box"
    ]
    assert said(image, "padding", "regions", "min_area_px") == [
        "--regions, --min-area-px, --padding have no effect here: they apply only with --strategy region or "
        "random-box, or with --carried-regions"
    ]
    carrying = replace(image, views=ViewsConfig(strategy="image", carried_regions=2), method=DetconConfig())
    assert said(carrying, "regions", "shown_frac", "padding") == []
    assert said(carrying, "ema_momentum") == ["--ema-momentum has no effect here: it applies only with --form momentum"]
    assert said(image, "knn_k", "knn_every") == [
        "--knn-k, --knn-every have no effect here: they apply only with --knn-on"
    ]
    assert said(image, "steps", "centering", "center_momentum") == []
    epochs = dataclasses.replace(image, optim=OptimConfig(epochs=2), method=DinoConfig(centering="sinkhorn"))
    assert said(epochs, "steps", "center_momentum") == [
        "--center-momentum has no effect here: it applies only with --centering center",
        "--steps has no effect here: it applies only without --epochs",
    ]
    uneven = replace(image, augment=AugmentConfig(asymmetric=True))
    assert said(uneven, "blur_prob", "solarise_prob", "blur_sigma") == [
        "--blur-prob, --solarise-prob have no effect here: they apply only with --no-asymmetric"
    ]
    assert said(replace(uneven, local=LocalViews(num_local_views=2)), "blur_prob") == said(image, "blur_prob") == []
    assert said(Look(store=Path("x"), scenes=(Path("x"),)), "padding") == []
    sam = Segment(scenes=(Path("x"),), out=Path("x"), settings=SegmenterOptions(segmenter="sam-hq-vit-h"))
    assert said(sam, "points_per_side", "device") == []
    assert said(sam, "points_per_side", "crop_nms_thresh") == [
        "--crop-nms-thresh has no effect here: it applies only with --crop-n-layers"
    ]
    listed = RunStudy(study="smoke", out=Path("x"), list=True, index=3)
    assert said(listed, "index", "seeds") == ["--index has no effect here: it applies only without --list"]
    assert said(dataclasses.replace(listed, list=False), "engine") == [
        "--engine has no effect here: it applies only without --index"
    ]
