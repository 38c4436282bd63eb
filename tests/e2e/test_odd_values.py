"""Odd values for every setting there is, empty words, and characters that a terminal would obey."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from support.scenes import write_labelled
from support.settings import settings_classes

from samclr.config.segmenters import SegmenterSpec
from samclr.config.serialise import hints_of
from samclr.errors import ConfigError, SamclrError, UsageError

ODD = (
    *(-1, 0, 1e30, 10**30, 10**400, math.nan, math.inf, -math.inf, True, "", "x", None, [], {}, object()),
    *((), (1, 0), (math.nan, 1.0), (0.5,), ("x", "y"), b"x"),
)

SETTINGS = [one for one in settings_classes() if one.__module__.split(".")[1] != "cli"]


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_an_odd_value_is_taken_as_the_annotation_says_or_refused_by_name(kind):
    for name in hints_of(kind):
        for value in ODD:
            try:
                made = kind(**{name: value})
            except (ConfigError, UsageError) as error:
                said = str(error)
            else:
                said = ""
            if said:
                assert name in said or "given alone" in said
                assert len(said) < 400
                continue
            kept = getattr(made, name)
            numbers = kept if isinstance(kept, tuple) else (kept,)
            assert all(math.isfinite(number) for number in numbers if isinstance(number, int | float))


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_every_number_has_an_end(kind):
    """A number that nothing bounds would be found by the memory or the clock."""
    for one in dataclasses.fields(kind):
        if one.default is not dataclasses.MISSING and type(one.default) in (int, float):
            with pytest.raises(SamclrError, match=one.name):
                kind(**{one.name: type(one.default)(10**30)})


@pytest.mark.parametrize(
    "words", [("segment", "", "--out", "x"), ("segment", "x", "--out="), ("pack", "x", "--bank", " ")]
)
def test_an_empty_word_is_not_the_current_folder(words, call):
    status, _, said = call(*words)
    assert (status, said.count("\n")) == (2, 1)
    assert "an empty value follows" in said


@pytest.mark.parametrize(
    "words", [("pack", "x", "--codec", "\x1b[2J"), ("\x1b[2J",), ("report", "x\ny", "--out", "\x1b]0;")]
)
def test_no_word_of_the_user_reaches_the_terminal_raw(words, call):
    status, shown, said = call(*words)
    assert status in (1, 2)
    assert all(one.isprintable() or one == "\n" for one in shown + said)


def test_a_link_to_itself_is_one_sentence(tmp_path, call):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    status, _, said = call("pack", tmp_path / "loop")
    assert status == 1
    assert "unexpected" not in said


@pytest.mark.parametrize("out", ["/proc/x/results.json", "loop", "file/results.json"])
def test_a_place_that_takes_no_results_is_said_before_anything_is_measured(out, tmp_path, call):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("words")
    shades = write_labelled(tmp_path / "shades")
    status, shown, said = call("evaluate", "small-cnn", "--on", shades, "--image-px", 24, "--out", tmp_path / out)
    assert (status, shown, said.count("\n")) == (1, "", 1)
    assert said.startswith("samclr: error: ")
    assert "unexpected" not in said


def test_a_device_is_not_written_over(tmp_path, scenes, call):
    import os

    os.mkfifo(tmp_path / "pipe")
    call("segment", scenes, "--min-size", 20, "--out", tmp_path / "store")
    status, _, said = call("look", tmp_path / "store", "--scenes", scenes, "--out", tmp_path / "pipe")
    assert status == 1
    assert "which is never overwritten" in said
    assert (tmp_path / "pipe").is_fifo()


def test_options_that_change_nothing_are_said(scenes, tmp_path, call):
    asked = ("--scenes", scenes, "--out", tmp_path / "run", "--backbone", "small-cnn", "--size-px", 24)
    _, _, said = call("pretrain", "simclr", *asked, "--redraw", "--padding=2", "--knn-k", 3, "--dry-run")
    assert said.splitlines() == [
        "--padding has no effect here: it applies only with --strategy region or random-box, or with --carried-regions",
        "--redraw has no effect here: it applies only with --strategy random-box",
        "--knn-k has no effect here: it applies only with --knn-on",
    ]
    assert call("pretrain", "simclr", *asked, "--queue-size", 8)[0] == 2  # MoCo's
    assert call("pretrain", "simclr", *asked, "--steps", 3, "--lr", 0.1, "--dry-run")[2] == ""


def test_a_column_of_parquet_files_needs_parquet_files(tmp_path, call):
    shades = write_labelled(tmp_path / "shades")
    status, _, said = call("evaluate", "small-cnn", "--on", shades, "--image-px", 24, "--image-column", "photo")
    assert status == 1
    assert "no set has a Parquet column photo, as none has Parquet files; leave out --image-column" in said


def test_views_that_no_machine_can_hold_are_refused_before_memory_is_taken(scenes, tmp_path, call):
    asked = ("--scenes", scenes, "--out", tmp_path / "run", "--backbone", "small-cnn", "--device", "cpu")
    status, _, said = call("pretrain", "simclr", *asked, "--size-px", 2048, "--global-batch-size", 1_000_000)
    assert status == 2
    assert "a step's views take 125,829 GB, and this machine has" in said
    assert "lower global_batch_size (1000000), regions_per_image (1), num_views (2) or size_px (2048)" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("take", [lambda: bytearray(2**60), lambda: np.zeros(2**57), lambda: torch.zeros(2**50)])
def test_want_of_memory_is_one_sentence(take, call, monkeypatch):
    monkeypatch.setattr(SegmenterSpec, "table", lambda spec: take())
    status, _, said = call("segmenters")
    assert (status, said.count("\n")) == (1, 1)
    assert "out of memory" in said
    assert said.endswith("use smaller sizes (px), smaller batches or fewer workers\n")
