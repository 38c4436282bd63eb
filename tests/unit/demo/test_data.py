"""The demo's scenes and its evaluation: which digits stand where, and how they are cropped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

import samclr.demo.data as demo_data
from samclr.demo.data import DATA_SEED, NUM_IN_SCENES, box_of, crop_of, crop_square, make_data
from samclr.demo.scenes import PLAIN, VARIED, compose_scene
from samclr.draws import epoch_order
from samclr.runs.directory import read_json

STROKES = [image / 16.0 for image in load_digits().images[:50]]


def composed(number, style):
    return compose_scene(STROKES, np.random.default_rng(number), style)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data with twelve scenes, and which digits were drawn into each scene."""
    drawn: list[list[int]] = []

    def noted(strokes, random, style, digits):
        drawn.append(list(digits))
        return compose_scene(strokes, random, style, digits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_data, "compose_scene", noted)
        data = tmp_path_factory.mktemp("made")
        make_data(data, 12)
    return data, drawn


def test_digits_of_the_evaluation_stand_in_no_training_scene(made):
    data, drawn = made
    training, held_out = drawn[:12], drawn[12:]
    assert max(max(digits) for digits in training) < NUM_IN_SCENES
    assert [digit for digits in held_out for digit in digits] == list(range(NUM_IN_SCENES, 1797))  # each once
    classes = load_digits().target[epoch_order(DATA_SEED, 0, 1797)]
    for split, digits in (("train", range(797, 1397)), ("test", range(1397, 1797))):
        found = {int(path.stem): int(path.parent.name) for path in (data / "digits" / split).glob("*/*.png")}
        assert found == {digit: classes[digit] for digit in digits}
    assert read_json(data / "classes.json", {}) == {
        f"{number:05d}.png": [int(classes[digit]) for digit in digits] for number, digits in enumerate(training)
    }


def test_the_data_is_the_same_everywhere_and_made_once(made, tmp_path):
    make_data(tmp_path, 12)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(files) == 12 + 12 + 1000 + 2
    assert all((tmp_path / file).read_bytes() == (made[0] / file).read_bytes() for file in files)
    scene = tmp_path / "scenes/00001.png"
    Image.new("L", (3, 3)).save(scene)
    make_data(tmp_path, 12)
    assert Image.open(scene).size == (3, 3)  # nothing is written again
    (tmp_path / "made.json").write_text("{")
    make_data(tmp_path, 12)
    assert Image.open(scene).size == (96, 96)


@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
def test_the_crop_is_a_square_about_the_box_within_the_scene(left, top, width, height):
    box = np.array([left, top, min(left + width, 96), min(top + height, 96)])
    x0, y0, x1, y1 = crop_square(box, (96, 96))
    assert x1 - x0 == y1 - y0 == min(round(1.5 * max(box[2] - box[0], box[3] - box[1])), 96)
    assert 0 <= x0 <= box[0]
    assert 0 <= y0 <= box[1]
    assert box[2] <= x1 <= 96
    assert box[3] <= y1 <= 96
    if x0 > 0 and x1 < 96:  # not moved: as much on either side, to a pixel
        assert abs((box[0] - x0) - (x1 - box[2])) <= 1


def test_a_crop_is_the_scenes_own_pixels():
    scene, labels = composed(0, VARIED)
    for number in range(1, 6):
        x0, y0, x1, y1 = crop_square(box_of(labels == number), labels.shape)
        assert (crop_of(scene, labels == number) == scene[y0:y1, x0:x1]).all()
        assert (labels[y0:y1, x0:x1] == number).sum() == (labels == number).sum()


@pytest.mark.parametrize(("style", "sides"), [(PLAIN, {20}), (VARIED, set(range(16, 29)))])
def test_scenes_hold_digits_that_do_not_touch(style, sides):
    found, hues = set(), []
    for number in range(60):
        scene, labels = composed(number, style)
        assert scene.shape == (96, 96, 3)
        assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 5}
        boxes = [box_of(labels == digit) for digit in range(1, 6)]
        found |= {int((box[2:] - box[:2]).max()) for box in boxes}
        hues += [np.ptp(scene[labels == digit].mean(0)) for digit in range(1, 6)]
    assert max(found) <= max(sides)
    assert min(found) >= min(sides) // 2
    assert (np.median(hues) > 60) == style.coloured


def test_given_digits_are_drawn_in_their_order():
    ink = [np.zeros((8, 8)) for _ in range(5)]
    for number, strokes in enumerate(ink):
        strokes[: number + 2] = 1.0  # wider than high, ever less
    _, labels = compose_scene(ink, np.random.default_rng(0), PLAIN, [4, 3, 2, 1, 0])
    heights = [int(np.diff(box_of(labels == digit)[[1, 3]])[0]) for digit in range(1, 6)]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 5
