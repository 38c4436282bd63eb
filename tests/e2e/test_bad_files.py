"""A folder with twenty kinds of bad files ends with a report of exactly those files, and a trained backbone."""

import io
import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.command import SMALL_FLAGS, samclr
from support.scenes import write_scenes


def encode(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.effect_noise((64, 64), 60).convert("RGB")).save(buffer, kind, **options)
    return buffer.getvalue()


def write_bad_files(folder) -> set[str]:
    png, jpeg, tiff, webp, bmp = (encode(kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"))
    header_only = png[:33]
    huge = png[:16] + (100_000).to_bytes(4, "big") + (100_000).to_bytes(4, "big") + png[24:]
    bad = {
        "01-empty.jpg": b"",
        "02-text.jpg": b"I am no image",
        "03-html.png": b"<!doctype html><title>404</title>",
        "04-truncated.jpg": jpeg[: len(jpeg) // 2],
        "05-truncated.png": png[: len(png) // 2],
        "06-truncated.tif": tiff[: len(tiff) // 2],
        "07-truncated.webp": webp[: len(webp) // 2],
        "08-truncated.bmp": bmp[: len(bmp) // 2],
        "09-header-only.png": header_only,
        "10-one-byte.png": b"\x89",
        "11-zeros.jpg": bytes(5000),
        "12-noise.png": np.random.default_rng(0).bytes(3000),
        "13-bomb.png": huge,
        "14-checksum.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "15-float.tif": encode("TIFF", Image.fromarray(np.zeros((9, 9), np.float32))),
        "16-int32.tif": encode("TIFF", Image.fromarray(np.full((9, 9), 10**6, np.int32))),
        "17-jpeg-of-nothing.jpg": b"\xff\xd8\xff\xd9",
        "18-zip.png": b"PK\x03\x04" + bytes(100),
        "19-broken.parquet": b"PAR1broken",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    os.symlink(folder / "gone.png", folder / "20-dead-link.png")
    return {*bad, "20-dead-link.png"}


@pytest.fixture
def bad_folder(tmp_path):
    folder = write_scenes(tmp_path / "scenes", 12)
    return folder, write_bad_files(folder)


@pytest.mark.slow
def test_twenty_bad_files_cost_twenty_rows(bad_folder, tmp_path):
    folder, bad = bad_folder
    assert len(bad) == 20
    done = samclr("segment", folder, "--scale", 30, "--min-size", 20, "--out", tmp_path / "store", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["errors"]) == bad
    assert "20 failed" in done.stderr
    arguments = ["--scenes", folder, "--regions", tmp_path / "store", "--bank", tmp_path / "bank"]
    done = samclr("pretrain", "samclr", *arguments, "--out", tmp_path / "run", "--steps", 2, *SMALL_FLAGS)
    assert done.returncode == 0, done.stderr
    assert "20 unreadable images" in done.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert set(summary["errors"]) == bad
    assert summary["data"]["images"] == 12
    assert list((tmp_path / "run").glob("checkpoint-*.pt"))
    assert samclr("pack", folder, "--bank", tmp_path / "bank", "--strict").returncode == 1


@pytest.mark.slow
def test_a_folder_of_bad_files_alone_is_one_clear_error(tmp_path):
    (tmp_path / "bad").mkdir()
    write_bad_files(tmp_path / "bad")
    done = samclr("pretrain", "simclr", "--scenes", tmp_path / "bad", "--out", tmp_path / "run", *SMALL_FLAGS)
    assert done.returncode == 1
    assert "none of the 20 images can be used" in done.stderr
    assert "Traceback" not in done.stderr


def write_hostile_files(folder) -> set[str]:
    """Files that would hang, start a program, or write to the terminal; the ids of their rows."""
    photo = encode("PNG")
    os.mkfifo(folder / "01-pipe.jpg")
    os.mkfifo(folder / "02-pipe.parquet")
    (folder / "03-device.png").symlink_to("/dev/zero")
    (folder / "04-loop.png").symlink_to("04-loop.png")
    bad = {
        "05-postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\nshowpage\n",
        "06-fits.jpg": b"SIMPLE  =                    T".ljust(2880),
        "07-\x1b[2J\x1b]0;gone\x07.png": b"no image",
        "08-new\nline\u202egnp.png": b"no image",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    rows = [{"bytes": None, "path": "/etc/hostname"}, {"bytes": None, "path": "../outside.png"}]
    (folder.parent / "outside.png").write_bytes(photo)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), folder / "09-paths.parquet")
    special = {"01-pipe.jpg", "02-pipe.parquet", "03-device.png", "04-loop.png"}
    return {*special, *bad, "09-paths.parquet#0", "09-paths.parquet#1"}


def is_safe(text: str) -> bool:
    return all(one.isprintable() for line in text.split("\n") for one in line)


@pytest.mark.slow
def test_hostile_files_hang_nothing_and_stay_off_the_terminal(tmp_path):
    folder = write_scenes(tmp_path / "scenes", 12)
    bad = write_hostile_files(folder)
    done = samclr(
        "segment", folder, "--scale", 30, "--min-size", 20, "--out", tmp_path / "store", "--json", timeout=120
    )
    assert set(json.loads(done.stdout)["errors"]) == bad
    commands = [
        ("segment", folder, "--scale", 30, "--min-size", 20, "--out", tmp_path / "store"),
        ("pack", folder, "--bank", tmp_path / "bank", "--workers", 1),
        ("pack", folder, "--bank", tmp_path / "jpeg", "--workers", 2, "--codec", "jpeg"),
        ("regions", "stats", tmp_path / "store"),
        ("regions", "verify", tmp_path / "store"),
        ("look", tmp_path / "store", "--scenes", folder, "--out", tmp_path / "look.html"),
        ("data", "check", "camvid", "--root", folder),
    ]
    for command in commands:
        done = samclr(*command, timeout=120)
        text = done.stdout + done.stderr
        assert is_safe(text), command
        assert "Traceback" not in text
        assert "unexpected" not in text
        assert done.returncode == (1 if command[0] == "data" else 0), text
    assert "07-\\x1b[2J" in samclr("regions", "stats", tmp_path / "store").stdout


@pytest.mark.parametrize("name", ["neg.tar", "many.tar"])
def test_hostile_shards_are_rows(tmp_path, name):
    header = bytearray(tarfile.TarInfo("neg.jpg").tobuf())
    header[124:136], header[148:156] = b"\xff" + (-512).to_bytes(11, "big", signed=True), b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    first = tarfile.TarInfo("x.txt").tobuf() if name == "neg.tar" else tarfile.TarInfo("pax").tobuf()
    (tmp_path / name).write_bytes(first + bytes(header) * 20 + bytes(10240))
    done = samclr("pack", tmp_path / name, "--bank", tmp_path / "bank", "--workers", 1, timeout=60)
    assert "the shard is damaged, images after number 0 are lost (ValueError: a header claims -512 bytes" in done.stderr


def test_pages_and_columns_are_said_once_a_job(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    pages = [Image.effect_noise((64, 64), 60).convert("RGB") for _ in range(3)]
    for number in range(3):
        pages[0].save(folder / f"{number}.tif", save_all=True, append_images=pages[1:])
    one = {"bytes": encode("PNG"), "path": None}
    pq.write_table(pa.table({"mask": [one], "image": [one]}), folder / "x.parquet")
    (folder / "photo.psd").write_bytes(b"8BPS")
    for command in (("segment", folder, "--out", tmp_path / "s"), ("pack", folder, "--bank", tmp_path / "b")):
        done = samclr(*command, "--workers", 2)
        assert done.stderr.count("3 images have several pages or frames: the first is used") == 1
        assert done.stderr.count("image is used, not mask; --image-column names another") == 1
        assert done.stderr.count("1 file was skipped: .psd (1)") == 1
    done = samclr("pack", folder, "--bank", tmp_path / "b", "--image-column", "mask", "--json")
    assert json.loads(done.stdout)["num_new"] == 1
