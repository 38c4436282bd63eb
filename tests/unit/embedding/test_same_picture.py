"""Copies of one photograph are told from other photographs."""

import numpy as np
import pytest
from PIL import Image
from support.copies import copies, photograph

from samclr.embedding.copies import pairs_of_rows
from samclr.embedding.same_picture import is_same, thumb_of


def thumb(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return thumb_of(np.asarray(image))


def test_copies_are_found_and_distinct_photographs_are_not_merged():
    images = [photograph(seed) for seed in range(12)]
    thumbs = [thumb(image) for image in images]
    told = [(is_same(thumbs[n], thumb(copy)), what) for n in range(12) for what, copy in copies(images[n], n)]
    assert [what for found, what in told if not found] == []
    assert not any(is_same(thumbs[one], thumbs[other]) for one in range(12) for other in range(one))


def test_the_same_light_without_the_same_detail_is_another_photograph(photographs):
    """Two skies over a field: what they share is the light from above."""
    light = np.linspace(230, 40, 120)[:, None, None] * np.ones((1, 160, 3))
    noise = [np.random.default_rng(seed).normal(0, 8, (120, 160, 1)) for seed in (0, 1)]
    sky = [thumb(Image.fromarray((light + one).clip(0, 255).astype(np.uint8))) for one in noise]
    assert not is_same(*sky)
    assert is_same(sky[0], sky[0])
    real = [thumb_of(pixels) for pixels in photographs]
    assert not is_same(*real)
    assert all(is_same(real[0], thumb(copy)) for _, copy in copies(Image.fromarray(photographs[0])))


@pytest.mark.parametrize(("one", "other", "same"), [(0, 0, True), (128, 129, True), (0, 255, False), (90, 100, False)])
def test_plain_fields_are_compared_by_their_colour(one, other, same):
    first, second = (np.full((50, 70, 3), value, np.uint8) for value in (one, other))
    assert is_same(thumb_of(first), thumb_of(second)) == same
    red = first.copy()
    red[..., 0] = 255 - one
    assert not is_same(thumb_of(first), thumb_of(red)) or one == 128


def test_a_box_is_compared_alone():
    pixels = np.asarray(photograph(3))
    box = (20, 10, 110, 90)
    assert is_same(thumb_of(pixels, box), thumb_of(np.ascontiguousarray(pixels[10:90, 20:110])))
    assert is_same(thumb_of(pixels, (5, 5, 6, 6)), thumb_of(pixels, (5, 5, 6, 6)))


def test_pairs_are_cut_where_they_are_of_too_many_pictures():
    first, second = np.array([0, 0, 0, 3, 5]), np.array([1, 2, 1, 4, 6])
    assert [pairs_of_rows(first, second, most) for most in (2, 3, 4, 5, 6, 7)] == [1, 3, 3, 4, 4, 5]
    assert pairs_of_rows(first, second, 1) == 1
    random = np.random.default_rng(0)
    first, second = random.integers(0, 300, (2, 500))
    for most in (2, 50, 250):
        num = pairs_of_rows(first, second, most)
        assert len(np.unique([first[:num], second[:num]])) <= most
        assert len(np.unique([first[: num + 1], second[: num + 1]])) > most
