"""A segmenter that fails at everything is told from one that fails at an image."""

from functools import lru_cache

import pytest

from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError
from samclr.regions import segment
from samclr.regions.records import regions_of_scene
from samclr.regions.segment import segment_scenes
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.store import open_store, store_stats
from samclr.scenes.fill import FillOptions


class Dying(Segmenter):
    """Works for some scenes; then, or at scenes of some names, it raises."""

    scenes_per_call = 2

    def __init__(self, error: Exception, works_for: int = 99, fails_at: tuple[str, ...] = ()):
        self.error, self.left, self.fails_at = error, works_for, fails_at

    def segment(self, scenes):
        for scene in scenes:
            if self.left == 0 or scene.image_id in self.fails_at:
                raise self.error
            self.left -= 1
        return [regions_of_scene(scene, ()) for scene in scenes]


def put_in(monkeypatch, segmenter):
    monkeypatch.setattr(segment, "_loaded", lru_cache(lambda config: segment._Loaded(segmenter=segmenter)))


def segmented(scenes, store):
    return segment_scenes(list_scenes([scenes]), SegmenterConfig(), store, FillOptions())[1]


@pytest.mark.parametrize(
    ("error", "works_for", "text"),
    [
        (RuntimeError("CUDA error: an illegal memory access\nCUDA kernel errors might"), 4, "the device is lost"),
        (RuntimeError("CUDA error: an illegal memory access"), 0, "the device is lost"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 MiB"), 4, "which it had segmented"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 MiB"), 0, "as at all images before"),
        (OSError("gone"), 4, "which it had segmented"),
    ],
)
def test_images_of_a_lost_device_are_no_rows(scenes, tmp_path, monkeypatch, error, works_for, text):
    put_in(monkeypatch, Dying(error, works_for))
    with pytest.raises(PartsError, match=rf"felzenszwalb failed at .*{text}.*rerun the same command") as raised:
        segmented(scenes, tmp_path / "store")
    assert "\n" not in str(raised.value)
    assert not store_stats(open_store(tmp_path / "store"))["errors"]
    put_in(monkeypatch, Dying(error))
    report = segmented(scenes, tmp_path / "store")
    assert (report.num_new, report.errors) == (12, {})


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("odd")])
@pytest.mark.parametrize("bad", [("a/000.png", "b/001.png"), ("a/010.png", "b/011.png"), ("a/000.png", "a/004.png")])
def test_a_fault_at_an_image_is_its_row(scenes, tmp_path, monkeypatch, error, bad):
    put_in(monkeypatch, Dying(error, fails_at=bad))
    assert sorted(segmented(scenes, tmp_path / "store").errors) == sorted(bad)


def test_failed_images_can_be_tried_again(scenes, tmp_path, monkeypatch, call):
    put_in(monkeypatch, Dying(ValueError("odd"), fails_at=("a/000.png",)))
    command = ("segment", scenes, "--segmenter", "felzenszwalb", "--workers", 1, "--out", tmp_path / "store")
    for _ in range(2):
        status, _, said = call(*command)
        assert status == 0
        assert "--retry-errors tries them again" in said
    put_in(monkeypatch, Dying(ValueError("odd")))
    assert "--retry-errors" not in call(*command, "--retry-errors")[2]
