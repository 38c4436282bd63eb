"""Philox against the known answers published with it (Random123, kat_vectors)."""

import numpy as np
import pytest

from samclr.draws import epoch_order, philox, seeded_subset, uniforms

ONES = 0xFFFFFFFF
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    assert tuple(int(v) for v in philox(np.array([counter], np.uint64), key)[0]) == expected


def test_numbers_are_uniform_and_columns_independent():
    numbers = uniforms(0, 1, 2, np.arange(50_000), 6)
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert np.abs(numbers.mean(0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(numbers.T) - np.eye(6)).max() < 0.02


def test_blocks_continue_each_other():
    whole = uniforms(5, 1, 7, np.arange(10), 12)
    assert (uniforms(5, 1, 7, np.arange(10), 4, first_block=2) == whole[:, 8:]).all()
    assert (uniforms(5, 1, 7, np.arange(4, 6), 12) == whole[4:6]).all()


def test_a_subset_is_seeded_and_in_the_order_of_the_images():
    assert seeded_subset(3, 10, None) == seeded_subset(3, 10, 10) == [*range(10)]
    assert seeded_subset(3, 10, 4) == sorted(epoch_order(3, 0, 10)[:4].tolist()) != seeded_subset(4, 10, 4)
