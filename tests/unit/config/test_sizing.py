"""The rules by which an open budget is filled."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samclr.config.pretrain import OptimConfig, PretrainConfig, RuntimeConfig
from samclr.config.recipes import RECIPES
from samclr.config.sizing import FEWEST_STEPS, HOURS, OPEN_SETTINGS, filled_from, fit_folder, fit_length, left_open

OPEN = replace(RECIPES["samclr"].config, auto=OPEN_SETTINGS)


def test_what_is_stated_is_not_open():
    assert left_open(frozenset()) == OPEN_SETTINGS
    assert left_open(frozenset({"steps", "precision"})) == (
        "global_batch_size",
        "warmup_steps",
        "workers",
        "micro_batch_size",
    )
    assert "steps" not in left_open(frozenset({"epochs"}))


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
