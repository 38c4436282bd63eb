"""Decoding in threads silences Pillow and leaves the caller's warnings as they were."""

import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from samclr.scenes.decode import decode_rgb
from samclr.scenes.quiet import _Inside, warnings_ignored


def test_threads_leave_the_callers_filters_whoever_leaves_first():
    before, barrier = list(warnings.filters), threading.Event()
    with ThreadPoolExecutor(1) as pool:

        def inside() -> None:
            with warnings_ignored():
                barrier.wait(10)
                warnings.warn("of a decoder", stacklevel=1)

        with warnings_ignored():  # enters first and leaves first: catch_warnings would leave the thread's
            done = pool.submit(inside)
            while _Inside.count < 2:
                pass
        barrier.set()
        done.result()
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="the caller's own"):
        warnings.warn("the caller's own", stacklevel=1)


def test_catch_warnings_of_the_caller_may_end_in_between():
    before, entered, leave = list(warnings.filters), threading.Event(), threading.Event()

    def inside() -> None:
        with warnings_ignored():
            entered.set()
            leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            done = pool.submit(inside)
            entered.wait(10)
        leave.set()
        done.result()
        assert list(warnings.filters) == before
        entered.clear()
        leave.clear()
        done = pool.submit(inside)
        entered.wait(10)
        with warnings.catch_warnings():
            leave.set()
            done.result()
        assert list(warnings.filters) == before


def test_many_decoders():
    file, before = io.BytesIO(), list(warnings.filters)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "png")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode_rgb, [file.getvalue()] * 2000))
    assert list(warnings.filters) == before
