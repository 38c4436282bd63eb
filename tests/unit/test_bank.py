import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from samclr.errors import PartsError, ScenesError
from samclr.fill import FillOptions
from samclr.scenes.bank import SceneBank, level_shapes, make_pyramid, missing_bytes, pack_scenes
from samclr.scenes.decode import load_scene
from samclr.scenes.sources import list_scenes


def test_the_bank_holds_the_decoded_pixels(scenes, tmp_path):
    refs = list_scenes([scenes])
    _, report = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    assert (report.num_new, report.errors) == (12, {})
    bank = SceneBank(tmp_path / "bank", refs)
    for image, ref in enumerate(refs):
        scene = load_scene(ref)
        assert (bank.level(image, 0) == scene.pixels).all()
        assert bank.content_hashes[image] == scene.content_hash
        for level, expected in enumerate(make_pyramid(scene.pixels, None)):
            assert (bank.level(image, level) == expected).all()


def test_levels_are_means_of_blocks():
    pixels = np.random.default_rng(0).integers(0, 256, (21, 34, 3)).astype(np.uint8)
    levels = make_pyramid(pixels, None)
    assert [level.shape[:2] for level in levels] == level_shapes(21, 34)
    block = pixels[8:16, 16:24].astype(float).mean((0, 1))
    assert np.abs(levels[3][1, 2] - block).max() <= 0.51
    edge = pixels[16:21, 32:34].astype(float).mean((0, 1))
    assert np.abs(levels[3][2, 4] - edge).max() <= 0.51


def test_max_side_keeps_the_native_size_in_the_row(photo_folder, tmp_path):
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", 320, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    assert bank.native_hw.tolist() == [[427, 640]] * 2
    assert bank.bank_hw.tolist() == [[214, 320]] * 2
    with pytest.raises(PartsError, match="name another folder for the new settings"):
        pack_scenes(refs, tmp_path / "bank", 100, FillOptions())


def test_added_files_are_packed_alone_and_replaced_ones_noticed(scenes, tmp_path):
    refs = list_scenes([scenes])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    Image.new("RGB", (5, 5)).save(scenes / "a" / "new.png")
    refs = list_scenes([scenes])
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions())[1].num_new == 1

    os.utime(scenes / "a" / "000.png", ns=(5, 5))  # touched, the same bytes
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions())[1].num_new == 0

    Image.new("RGB", (7, 9)).save(scenes / "a" / "000.png")
    with pytest.raises(
        ScenesError, match=r"1 images were replaced .*a/000.png; run samclr pack with --replace-changed"
    ):
        pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions(replace_changed=True))[1].num_new == 1
    assert SceneBank(tmp_path / "bank", refs).level(0, 0).shape == (9, 7, 3)


def test_errors_are_rows_and_are_tried_again_when_asked_or_mended(scenes, tmp_path):
    broken = scenes / "a" / "broken.jpg"
    broken.write_bytes(b"no image")
    refs = list_scenes([scenes])
    _, report = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    assert list(report.errors) == ["a/broken.jpg"]
    assert SceneBank(tmp_path / "bank", refs).num_images == 12
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions())[1].num_new == 0
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions(retry_errors=True))[1].num_new == 1
    Image.new("RGB", (6, 6)).save(broken)
    _, report = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    assert (report.num_new, report.errors) == (1, {})


def test_a_full_disk_is_noticed_before_the_work(scenes, tmp_path, monkeypatch):
    refs = list_scenes([scenes])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(PartsError, match=r"needs .* GB more, the disk has 0.0 GB free; name another disk"):
        pack_scenes(refs, tmp_path / "bank", None, FillOptions())


def test_the_estimate_is_near_the_bytes_written(photo_folder, tmp_path):
    refs = list_scenes([photo_folder])
    estimate = missing_bytes(None, refs, None)
    folder, _ = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    written = sum(path.stat().st_size for path in folder.path.glob("*.bin"))
    assert abs(estimate / written - 1) < 0.02


def test_a_scene_that_is_not_packed_is_named(scenes, tmp_path):
    refs = list_scenes([scenes])
    pack_scenes(refs[:5], tmp_path / "bank", None, FillOptions())
    with pytest.raises(PartsError, match=r"7 scenes are not in the bank .* and 2 more; run samclr pack"):
        SceneBank(tmp_path / "bank", refs)
