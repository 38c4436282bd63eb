"""The rules by which an open budget is filled."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samclr.config.pretrain import ModelConfig, OptimConfig, PretrainConfig, RuntimeConfig
from samclr.config.recipes import RECIPES
from samclr.config.sizing import FEWEST_STEPS, HOURS, OPEN_SETTINGS, filled_from, fit_folder, fit_length, left_open

OPEN = replace(RECIPES["samclr"].config, auto=OPEN_SETTINGS)


def test_what_is_stated_is_not_open():
    assert left_open(frozenset()) == OPEN_SETTINGS
    assert left_open(frozenset({"steps", "precision"})) == (
        "global_batch_size",
        "optimizer",
        "lr",
        "warmup_steps",
        "head_warmup_steps",
        "workers",
        "micro_batch_size",
    )
    assert "steps" not in left_open(frozenset({"epochs"}))
    assert "optimizer" not in left_open(frozenset({"lr"}))  # it is that of the recipe's optimiser


@given(
    num_images=st.integers(1, 10**8),
    kind=st.sampled_from(["cpu", "mps", "cuda"]),
    step_s=st.floats(1e-3, 1e3),
    devices=st.integers(1, 9),
)
def test_a_sized_run_is_within_its_bounds(num_images, kind, step_s, devices):
    config = replace(OPEN, runtime=RuntimeConfig(num_devices=devices))
    config = fit_folder(config, num_images, kind, "bfloat16", 8)
    batch = config.optim.global_batch_size
    assert batch % devices == 0
    assert batch <= max(num_images, devices, 2)  # never larger than the set
    assert config.runtime.precision == ("bfloat16" if kind == "cuda" else "float32")
    assert config.runtime.workers == max(1, 8 // devices)
    config = fit_length(config, num_images, kind, step_s)
    steps = config.optim.steps
    assert steps == FEWEST_STEPS or (
        steps > FEWEST_STEPS and steps * step_s <= HOURS[kind] * 3600 and steps * batch <= 300 * num_images
    )
    assert config.auto == ()


@pytest.mark.parametrize(
    ("num_images", "kind", "batch", "steps"),
    [(120, "cuda", 64, 560), (701, "cpu", 64, 3200), (2975, "cuda", 256, 2600), (1_281_167, "cuda", 256, 250_000)],
)
def test_folders_of_known_size(num_images, kind, batch, steps):
    config = fit_length(fit_folder(OPEN, num_images, kind, "float16", 2), num_images, kind, 1e-3)
    assert (config.optim.global_batch_size, config.optim.steps) == (batch, steps)


def test_a_warm_up_keeps_its_share_unless_it_is_stated():
    config = replace(OPEN, optim=OptimConfig(warmup_steps=880))
    assert fit_length(config, 2975, "cuda", 1e-3).optim.warmup_steps == 880 * 2600 // 17_600
    stated = replace(config, auto=("steps",))
    assert fit_length(stated, 2975, "cuda", 1e-3).optim.warmup_steps == 880
    assert fit_length(OPEN, 2975, "cuda", 1e-3).optim.warmup_steps == 260  # a tenth, as the recipe has none
    shortest = fit_length(replace(RECIPES["adapt"].config, auto=OPEN_SETTINGS), 60, "cpu", 100.0).optim
    assert (shortest.steps, shortest.warmup_steps, shortest.head_warmup_steps) == (100, 10, 10)


@pytest.mark.parametrize(
    ("recipe", "num_images", "optim", "expected"),
    [
        ("samclr", 60, {"steps": 200}, ("adamw", 7.1e-4, 20)),
        ("dino", 70, {"steps": 200}, ("adamw", 5e-4, 20)),  # its teacher lags behind what learns faster
        ("vicreg", 701, {"steps": 2000}, ("adamw", 1e-3, 100)),  # the recipe has a warm-up of a twentieth
        ("samclr", 10_000, {"epochs": 1.0}, ("sgd", 0.06 * 64 / 256, 15)),
        ("samclr", 10_000, {"global_batch_size": 512}, ("sgd", 0.12, 0)),  # the steps are open: so is their warm-up
        ("vicreg", 10_000, {"steps": 2000}, ("lars", 0.3 * 64 / 256, 100)),
        ("samclr", 10_000, {"steps": 200, "optimizer": "adamw"}, ("adamw", 1e-3, 20)),
        ("samclr", 60, {"steps": 200, "optimizer": "sgd"}, ("sgd", 0.06 * 32 / 256, 20)),
        ("samclr", 60, {"steps": 200, "lr": 0.06, "warmup_steps": 3}, ("sgd", 0.06, 3)),
        ("samclr", 60, {"steps": 200, "global_batch_size": 32}, ("sgd", 0.06, 0)),  # a stated budget: as the recipe is
        ("swav", 10_000, {"steps": 200}, ("adamw", 5e-4, 20)),
        ("adapt", 70, {"steps": 600}, ("adamw", 1e-3, 60)),
    ],
)
def test_optimiser_and_learning_rate_follow_folder_and_batch(recipe, num_images, optim, expected):
    config = replace(RECIPES[recipe].config, auto=left_open(frozenset(optim)))
    config = fit_folder(replace(config, optim=replace(config.optim, **optim)), num_images, "cpu", "bfloat16", 2)
    found = config.optim
    assert (found.optimizer, found.lr, found.warmup_steps) == expected


def test_trained_weights_keep_the_recipe_s_optimiser():
    config = replace(OPEN, model=ModelConfig(pretrained="weights.pth"))
    optim = fit_folder(config, 60, "cpu", "bfloat16", 2).optim
    assert (optim.optimizer, optim.lr) == ("sgd", 0.0075)


def test_a_recipe_of_one_s_own_is_sized_by_its_own_numbers():
    config = replace(RECIPES["simclr"].config, recipe="mine", auto=left_open(frozenset({"optimizer"})))
    config = replace(config, optim=replace(config.optim, lr=0.5, global_batch_size=64))
    assert fit_folder(config, 40, "cpu", "bfloat16", 2).optim.lr == 0.25


def test_what_is_stated_stays():
    config = PretrainConfig(
        optim=OptimConfig(global_batch_size=512, steps=7), runtime=RuntimeConfig(precision="float16")
    )
    assert fit_length(fit_folder(config, 3, "cuda", "bfloat16", 2), 3, "cuda", 1.0) == config


def test_a_resumed_run_takes_the_run_s_numbers_where_none_are_stated():
    run = PretrainConfig(optim=OptimConfig(epochs=3, global_batch_size=32), runtime=RuntimeConfig(workers=5))
    assert filled_from(PretrainConfig(auto=OPEN_SETTINGS), run) == run
    stated = PretrainConfig(auto=left_open(frozenset({"steps"})), optim=OptimConfig(steps=9))
    assert filled_from(stated, run).optim == OptimConfig(steps=9, global_batch_size=32)


@pytest.mark.parametrize("batch", [{}, {"global_batch_size": 8}])
def test_warm_ups_of_a_recipe_are_fitted_to_fewer_steps(batch):
    """`pretrain adapt --steps 40`, whose recipe has warm-ups of 60."""
    given = replace(RECIPES["adapt"].config, auto=left_open(frozenset({"steps", *batch})))
    config = fit_folder(replace(given, optim=replace(given.optim, steps=40, **batch)), 90, "cpu", "float16", 2)
    assert (config.optim.warmup_steps, config.optim.head_warmup_steps) == (4, 4)
    longer = fit_folder(replace(given, optim=replace(given.optim, steps=80, **batch)), 90, "cpu", "float16", 2)
    assert longer.optim.warmup_steps == (60 if batch else 8)
