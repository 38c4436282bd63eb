import os
import shutil
from collections import namedtuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.damage import flip_a_bit

from samclr.bank.bank import SceneBank, level_shapes, make_pyramid, missing_bytes, pack_scenes
from samclr.bank.tiles import TileReader, encode_tiles
from samclr.datasets.sources import list_scenes
from samclr.errors import PartsError, ScenesError
from samclr.scenes.decode import load_scene
from samclr.scenes.fill import FillOptions
from samclr.views.crop import ViewCropper


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


def test_the_bank_opens_without_its_scenes(scenes, tmp_path):
    (scenes / "broken.png").write_bytes(b"")
    refs = list_scenes([scenes])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    listed = SceneBank(tmp_path / "bank", refs)
    shutil.rmtree(scenes)
    alone = SceneBank(tmp_path / "bank")
    assert (alone.image_ids, alone.content_hashes) == (listed.image_ids, listed.content_hashes)
    assert alone.errors == listed.errors == {"broken.png": "the file is empty"}
    assert all((alone.level(image, 0) == listed.level(image, 0)).all() for image in range(12))
    some = SceneBank(tmp_path / "bank", [refs[5], refs[2]])
    assert some.image_ids == [refs[5].image_id, refs[2].image_id]


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
    bank = SceneBank(tmp_path / "bank", refs)
    assert (bank.num_images, list(bank.errors)) == (12, ["a/broken.jpg"])
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions())[1].num_new == 0
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions(retry_errors=True))[1].num_new == 1
    Image.new("RGB", (6, 6)).save(broken)
    _, report = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    assert (report.num_new, report.errors) == (1, {})
    bank = SceneBank(tmp_path / "bank", refs)
    assert (bank.num_images, bank.errors) == (13, {})
    assert bank.level(bank.image_ids.index("a/broken.jpg"), 0).shape == (6, 6, 3)


def test_a_bank_that_is_whole_starts_no_process(scenes, tmp_path, monkeypatch):
    refs = list_scenes([scenes])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())

    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("samclr.processes.workers.ProcessPoolExecutor", refuse)
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions(num_workers=2))[1].num_new == 0


def test_what_a_killed_process_left_is_removed_from_a_bank_that_is_whole(scenes, tmp_path):
    refs = list_scenes([scenes])
    folder, _ = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    left = folder.path / "b00000-p00007.bin.tmp"
    left.write_bytes(bytes(9))
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions())[1].num_new == 0
    assert not left.exists()


def test_a_full_disk_is_noticed_before_the_work(scenes, tmp_path, monkeypatch):
    refs = list_scenes([scenes])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(PartsError, match=r"needs .* more, its disk has 1,000 bytes free; name another disk"):
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


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (257, 300), (640, 427), (1100, 530)])
def test_tiles_hold_every_level_of_any_size(size):
    """Against the raw pyramid; a smooth image, so that half-size decoding and block means agree."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([x * 255 / size[0], y * 255 / size[1], (x + y) * 255 / sum(size)], 2).astype(np.uint8)
    levels = make_pyramid(pixels, None)
    data = np.frombuffer(encode_tiles(levels) + b"the next image", np.uint8)
    reader = TileReader(data, size[1], size[0])
    for level, expected in enumerate(levels):
        rows, columns = expected.shape[:2]
        for x0, y0, x1, y1 in [(0, 0, columns, rows), (columns // 2, rows // 3, columns // 2 + 1, rows // 3 + 1)]:
            found, left, top = reader.window(level, x0, y0, x1, y1)
            found = found[y0 - top : y1 - top, x0 - left : x1 - left].astype(int)
            assert found.shape == (y1 - y0, x1 - x0, 3)
            assert np.abs(found - expected[y0:y1, x0:x1]).max() <= (6 if min(size) > 8 else 40)


def test_a_jpeg_bank_is_small_and_keeps_its_form(photo_folder, tmp_path):
    refs = list_scenes([photo_folder])
    raw, jpeg = tmp_path / "raw", tmp_path / "jpeg"
    pack_scenes(refs, raw, None, FillOptions())
    pack_scenes(refs, jpeg, None, FillOptions(num_workers=2), "jpeg")
    sizes = [sum(path.stat().st_size for path in bank.glob("*.bin")) for bank in (raw, jpeg)]
    assert sizes[1] < sizes[0] / 8
    assert missing_bytes(None, refs, None, "jpeg") == pytest.approx(sizes[1], rel=0.01)
    banks = [SceneBank(path, refs) for path in (raw, jpeg)]
    for level in range(4):
        difference = banks[0].level(1, level).astype(float) - banks[1].level(1, level)
        assert np.sqrt((difference**2).mean()) < 8
    with pytest.raises(PartsError, match=r'made with .*"codec": "jpeg".* now asked for .*name another folder'):
        pack_scenes(refs, jpeg, None, FillOptions())


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_the_far_edge_of_a_capped_bank_can_be_cropped(tmp_path, codec):
    """1092 * (768 / 1092) is a little over 768, and 768 ends a tile."""
    (tmp_path / "scenes").mkdir()
    Image.new("RGB", (1456, 1092), (10, 200, 90)).save(tmp_path / "scenes/a.png")
    refs = list_scenes([tmp_path / "scenes"])
    pack_scenes(refs, tmp_path / "bank", 1024, FillOptions(), codec)
    bank = SceneBank(tmp_path / "bank", refs)
    assert bank.bank_hw.tolist() == [[768, 1024]]
    boxes = np.array([[[1400, 1000, 1456, 1092], [0, 0, 1456, 1092], [1455, 1091, 1456, 1092]]])
    for size_px in (8, 40, 300):
        views = ViewCropper(bank).crop(np.array([0]), boxes, size_px).astype(int)
        assert np.abs(views - np.array([10, 200, 90])[:, None, None]).max() <= 3


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half"])
def test_pixels_that_are_missing_or_cut_are_named_and_packed_anew(photo_folder, tmp_path, codec, damage, capsys):
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec)
    (pixels,) = (tmp_path / "bank").glob("*.bin")
    before = pixels.read_bytes()
    if damage == "missing":
        pixels.unlink()
    else:
        os.truncate(pixels, len(before) // 2 if damage == "half" else 0)
    with pytest.raises(PartsError, match=rf"{pixels.name} is (missing|cut: it has .* bytes); run samclr pack .*--bank"):
        SceneBank(tmp_path / "bank", refs)
    _, report = pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec)
    assert (report.num_new, len(report.healed)) == (2, 1)
    assert "1 damaged parts of the bank were rebuilt: " in capsys.readouterr().err
    SceneBank(tmp_path / "bank", refs)
    assert pixels.read_bytes() == before


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_file_that_is_cut_while_it_is_mapped_is_named(photo_folder, tmp_path, codec):
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec)
    cropper = ViewCropper(SceneBank(tmp_path / "bank", refs))
    (pixels,) = (tmp_path / "bank").glob("*.bin")
    os.truncate(pixels, 10)
    with pytest.raises(PartsError, match=r"1.png in .*bin are damaged \(the file was cut to 10 of .*pack --verify"):
        cropper.crop(np.array([1]), np.array([[[0, 0, 640, 427]]]), 40)


def test_a_file_that_is_deleted_while_it_is_mapped_is_read_on(photo_folder, tmp_path):
    """As when another process makes it anew."""
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    bank = SceneBank(tmp_path / "bank", refs)
    expected = load_scene(refs[0]).pixels
    (pixels,) = (tmp_path / "bank").glob("*.bin")
    pixels.unlink()
    assert (bank.level(0, 0) == expected).all()
    pixels.write_bytes(b"short")
    assert (bank.level(0, 0) == expected).all()


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_flipped_pixels_are_found_by_verify_and_packed_anew(photo_folder, tmp_path, codec):
    refs = list_scenes([photo_folder])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec)
    (pixels,) = (tmp_path / "bank").glob("*.bin")
    before = pixels.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(before) - 1, 5):
        damaged = bytearray(before)
        damaged[place] ^= 1 << random.integers(8)
        pixels.write_bytes(damaged)
        if codec == "jpeg":
            bank = SceneBank(tmp_path / "bank", refs)
            with pytest.raises(PartsError, match=r"are damaged \(the checksum does not fit\)"):
                [bank.reader(image) for image in range(2)]
        assert pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec)[1].healed == {}
        report = pack_scenes(refs, tmp_path / "bank", None, FillOptions(), codec, verify=True)[1]
        assert next(iter(report.healed.values())).startswith("the pixels of ")
        assert pixels.read_bytes() == before


def test_flips_in_the_rows_of_a_bank_are_healed(scenes, tmp_path):
    refs = list_scenes([scenes])
    pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    expected = [SceneBank(tmp_path / "bank", refs).level(image, 0).copy() for image in range(12)]
    random = np.random.default_rng(0)
    for trial in range(50):
        files = [*sorted((tmp_path / "bank").glob("*.parquet")), *sorted((tmp_path / "bank").glob("*.json"))]
        path = files[trial % len(files)]
        flip_a_bit(path, random)
        pack_scenes(refs, tmp_path / "bank", None, FillOptions())
        bank = SceneBank(tmp_path / "bank", refs)
        assert all((bank.level(image, 0) == expected[image]).all() for image in range(12)), trial


def test_parts_of_older_versions_are_read_healed_and_counted(scenes, tmp_path, monkeypatch, capsys):
    """Without checksums and sizes: what 0.1.0 wrote."""
    refs = list_scenes([scenes])
    folder, _ = pack_scenes(refs, tmp_path / "bank", None, FillOptions())
    for path, (_, rows) in zip(folder.part_paths(), list(folder.parts()), strict=True):
        pq.write_table(rows.drop_columns(["num_bytes", "crc32"]), path)
    pack_scenes(refs, tmp_path / "bank", None, FillOptions(), verify=True)
    assert "12 images were packed by an older version, without checksums" in capsys.readouterr().err
    (pixels,) = folder.path.glob("*.bin")
    os.truncate(pixels, pixels.stat().st_size - 2)
    with pytest.raises(PartsError, match="is cut"):
        SceneBank(folder.path, refs)
    assert pack_scenes(refs, tmp_path / "bank", None, FillOptions())[1].num_new == 12
    SceneBank(folder.path, refs)
