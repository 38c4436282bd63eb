"""A long job over images: what it says of how far it is, and how a signal ends it."""

import os
import signal
import time

import pytest
from support.scenes import write_scenes

from samclr.bank.bank import PackWork, pack_scenes
from samclr.datasets.sources import list_scenes
from samclr.processes.stopping import Stopped
from samclr.scenes import progress
from samclr.scenes.fill import FillOptions


def said_while(advances, capsys):
    """What stands on stderr, which is no terminal, after a line or half a second."""
    said, end = "", time.monotonic() + 0.5
    with progress.shown_progress("packing", 300) as advance:
        for one in advances:
            advance(*one)
        while not said and time.monotonic() < end:
            time.sleep(0.01)
            said += capsys.readouterr().err
    return said


def test_without_a_terminal_a_long_job_says_how_far_it_is(monkeypatch, capsys):
    assert said_while([(2, "")], capsys) == ""  # a job of seconds says nothing
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    assert said_while([], capsys).splitlines()[0] == "packing: 0 of 300 images after 0 s"
    line = said_while([(2, ""), (10, "3.1 images/s")], capsys).splitlines()[0]
    assert line == "packing: 12 of 300 images after 0 s, 3.1 images/s"
    monkeypatch.setattr(progress, "remarks_are_shown", lambda: False)
    assert said_while([(2, "")], capsys) == ""  # to a library's caller


@pytest.fixture
def told_to_stop(monkeypatch):
    """SIGTERM comes when the first part is made."""
    make = PackWork.__call__

    def make_and_stop(self, refs, companion):
        rows = make(self, refs, companion)
        os.kill(os.getpid(), signal.SIGTERM)
        return rows

    monkeypatch.setattr(PackWork, "__call__", make_and_stop)


def pack(tmp_path, count, **options):
    refs = list_scenes([write_scenes(tmp_path / "scenes", count)])
    return pack_scenes(refs, tmp_path / "bank", None, FillOptions(**options))[1]


def test_a_signal_at_the_last_image_ends_nothing_where_nothing_follows(tmp_path, told_to_stop):
    assert pack(tmp_path, 1, is_last=True).num_new == 1


def test_a_job_before_another_ends_by_a_signal_at_its_last_image(tmp_path, told_to_stop):
    with pytest.raises(Stopped, match=r"^stopped: 1 new image is kept in .*bank; rerun the same command"):
        pack(tmp_path, 1)


def test_a_signal_that_leaves_images_ends_the_job(tmp_path, told_to_stop):
    with pytest.raises(Stopped, match=r"^stopped: \d+ new images? (is|are) kept in .*bank; rerun the same command"):
        pack(tmp_path, 60, is_last=True)
