"""A folder with twenty kinds of bad files ends with a report of exactly those files, and a trained backbone."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from support import SMALL_FLAGS, samclr, write_scenes


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


def test_a_folder_of_bad_files_alone_is_one_clear_error(tmp_path):
    (tmp_path / "bad").mkdir()
    write_bad_files(tmp_path / "bad")
    done = samclr("pretrain", "simclr", "--scenes", tmp_path / "bad", "--out", tmp_path / "run", *SMALL_FLAGS)
    assert done.returncode == 1
    assert "none of the 20 images can be used" in done.stderr
    assert "Traceback" not in done.stderr
