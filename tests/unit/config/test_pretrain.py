import pytest
from hypothesis import given
from hypothesis import strategies as st

from samclr.config.pretrain import (
    AugmentConfig,
    FilterConfig,
    OptimConfig,
    PretrainConfig,
    ViewsConfig,
)
from samclr.config.recipes import RECIPES
from samclr.config.serialise import fingerprint, from_dict, to_dict, upgraded
from samclr.errors import ConfigError
from samclr.methods.simclr_spec import SimclrConfig


@given(
    temperature=st.floats(0.01, 10),
    seed=st.integers(0, 2**40),
    regions_per_image=st.integers(1, 9),
    epochs=st.none() | st.floats(0.5, 1e4),
)
def test_saved_and_loaded_is_the_same(temperature, seed, regions_per_image, epochs):
    config = PretrainConfig(
        method=SimclrConfig(temperature=temperature),
        seed=seed,
        views=ViewsConfig(regions_per_image=regions_per_image),
        optim=OptimConfig(epochs=epochs),
    )
    assert from_dict(PretrainConfig, to_dict(config)) == config


def test_what_an_older_file_lacks_takes_its_default_or_what_that_version_did():
    saved = to_dict(PretrainConfig(seed=3))
    del saved["method"]["temperature"], saved["views"]["redraw"]
    assert from_dict(PretrainConfig, saved) == PretrainConfig(seed=3)
    additions = {2: {"method.temperature": 0.1, "views.redraw": True, "seed": 5}, 3: {"method.temperature": 0.2}}
    for format_number, temperature, redraw in [(1, 0.1, True), (2, 0.2, False), (3, 0.5, False)]:
        config = from_dict(PretrainConfig, upgraded(saved, format_number, additions, {}, {}))
        assert (config.method.temperature, config.views.redraw, config.seed) == (temperature, redraw, 3)
    assert "temperature" not in saved["method"]


def test_what_stands_elsewhere_since_is_found():
    saved = {"temperature": 0.3, "model": {"width": 5, "name": "x"}, "method": {}}
    moves = {2: {"temperature": "method.temperature", "model.width": "method.head.width", "model.gone": "gone"}}
    assert upgraded(saved, 1, {}, moves, {2: {"model.name": {"x": "y"}}}) == {
        "model": {"name": "y"},
        "method": {"temperature": 0.3, "head": {"width": 5}},
    }
    assert upgraded(saved, 2, {}, moves, {}) == saved


def test_settings_of_an_unknown_method_are_refused_by_its_name():
    saved = to_dict(PretrainConfig())
    assert saved["method"]["name"] == "simclr"
    saved["method"]["name"] = "simclrr"
    with pytest.raises(ConfigError, match=r"config.method: 'simclrr' is not a method; did you mean simclr"):
        from_dict(PretrainConfig, saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(typo=1), "unknown setting 'typo'"),
        (lambda d: d.update(seed="0"), "config.seed is '0'; expected a whole number"),
        (lambda d: d.update(seed=True), "config.seed is True; expected a whole number"),
        (lambda d: d["views"].update(strategy="mask"), "config.views.strategy is 'mask'"),
        (lambda d: d["group"].update(crop_scale=[1]), "config.group.crop_scale"),
        (lambda d: d.update(views=3), "config.views is 3; expected an object"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message):
    saved = to_dict(PretrainConfig())
    change(saved)
    with pytest.raises(ConfigError, match=message):
        from_dict(PretrainConfig, saved)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SimclrConfig(temperature=0.0),
        lambda: ViewsConfig(min_coverage=1.5),
        lambda: ViewsConfig(regions_per_image=0),
        lambda: FilterConfig(padding=0.0),
        lambda: FilterConfig(containment_frac=-0.1),
        lambda: OptimConfig(global_batch_size=1),
        lambda: OptimConfig(lr=0.0),
        lambda: OptimConfig(steps=0),
        lambda: AugmentConfig(blur_sigma=(2.0, 1.0)),
        lambda: AugmentConfig(jitter_strength=3.0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ConfigError, match=r"expected|must be|at least"):
        make()


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "steps"), [(701, 128, 60, 300), (2975, 256, 1600, 17600), (20, 128, 7, 7)]
)
def test_epochs_convert_by_whole_batches(images, batch, epochs, steps):
    assert OptimConfig(global_batch_size=batch, epochs=epochs).num_steps(images) == steps


def test_without_epochs_steps_count():
    assert OptimConfig(steps=9, epochs=None).num_steps(10_000) == 9


def test_places_and_runtime_leave_the_settings_alone():
    first, second = PretrainConfig(), PretrainConfig(seed=1)
    moved = from_dict(PretrainConfig, to_dict(first) | {"data": to_dict(first)["data"] | {"bank": "/elsewhere"}})
    assert fingerprint(first.settings()) == fingerprint(moved.settings())
    assert fingerprint(first.settings()) != fingerprint(second.settings())


def test_samclr_is_simclr_with_what_its_recipe_lists():
    simclr, samclr = (to_dict(RECIPES[name].config) for name in ("simclr", "samclr"))
    differing = {key for key in simclr if simclr[key] != samclr[key]}
    assert differing == {"recipe", "method", "views"}
    assert simclr["method"] == samclr["method"] | {"temperature": 0.5}
    assert {k for k in simclr["views"] if simclr["views"][k] != samclr["views"][k]} == {"strategy"}
