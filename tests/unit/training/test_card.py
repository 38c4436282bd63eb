"""What a dry run says of a usual card, whatever there is here."""

import pytest
from support.runs import small_config

from samclr.config.sizing import StepMemory, most_rows
from samclr.training.costs import CardMemory
from samclr.training.dry_run import estimate

GB = 10**9


def test_the_most_rows_that_fit():
    memory = StepMemory(fixed=GB, a_row=GB // 10)  # 1.3 times what is kept
    assert most_rows(64, memory, 24 * GB) == 64
    assert most_rows(256, memory, 24 * GB) == 128
    assert most_rows(64, memory, GB) == 0


@pytest.mark.parametrize(
    ("fitting", "text"),
    [
        (64, "fits: all 64 rows at once take about 30.0 GB in float32"),
        (32, "fits with `micro_batch_size` 32, about 15.0 GB; all 64 rows at once take about 30.0 GB in float32"),
        (0, "does not fit: all 64 rows at once take about 30.0 GB in float32"),
    ],
)
def test_it_is_said(fitting, text):
    of_some = 15_000 if fitting else None
    card = CardMemory(card_gb=24, rows=64, all_rows_mb=30_000, fitting_rows=fitting, fitting_mb=of_some)
    assert card.text("float32") == text


def test_a_dry_run_counts_it(scenes, tmp_path):
    costs = estimate(small_config(scenes, recipe="simclr"), tmp_path / "run")
    assert (costs.card.rows, costs.card.fitting_rows) == (8, 8)
    assert costs.card.text("float32") in [row["value"] for row in costs.rows()]
