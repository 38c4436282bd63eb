"""Threads as OMP_NUM_THREADS has them."""

import os

import pytest

from samclr.processes.threads import num_threads


@pytest.mark.parametrize(
    ("value", "expected"), [("4", 4), ("4,2", 4), (" 3 , 1", 3), ("", None), ("0", None), ("all", None)]
)
def test_the_first_number_counts_else_cores(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert num_threads() == (expected or os.cpu_count())
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert num_threads() == os.cpu_count()
