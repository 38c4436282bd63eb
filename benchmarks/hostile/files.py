"""Hostile folders, images, Parquet files and tars as scenes: nothing hangs, crashes, escapes or is lost in silence."""

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from options import SMALL
from PIL import Image
from runner import samclr
from support.scenes import box_scene

Make = Callable[[Path], int]  # writes a set and returns how many good images it holds


def png(seed: int = 0) -> bytes:
    """A small scene."""
    buffer = io.BytesIO()
    Image.fromarray(box_scene(seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def _with_file(name: str, content: bytes) -> Make:
    def make(folder: Path) -> int:
        (folder / "good.png").write_bytes(png())
        (folder / name).write_bytes(content)
        return 1

    return make


def _with(act: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> int:
        (folder / "good.png").write_bytes(png())
        act(folder)
        return 1

    return make


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _tar(names: list[str], change: Callable[[bytes], bytes] = lambda content: content) -> Make:
    def make(folder: Path) -> int:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for number, name in enumerate(names):
                content = png(number)
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        (folder / "set.tar").write_bytes(change(buffer.getvalue()))
        return len(names)

    return make


def _negative_size(content: bytes) -> bytes:
    header = bytearray(content[:512])
    header[124:136] = b"\xff" * 12  # base 256, negative
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


def _parquet(table: Callable[[], pa.Table], good: int, change: Callable[[bytes], bytes] = lambda c: c) -> Make:
    def make(folder: Path) -> int:
        path = folder / "set.parquet"
        pq.write_table(table(), path)
        path.write_bytes(change(path.read_bytes()))
        return good

    return make


def _images(**columns: Any) -> Callable[[], pa.Table]:
    return lambda: pa.table(columns)


def _struct(count: int, path: str = "a.png", content: bytes | None = b"") -> Any:
    rows = [{"bytes": png(k) if content == b"" else content, "path": path} for k in range(count)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\nshowpage\n"
CASES: dict[str, Make] = {
    "empty.jpg": _with_file("x.jpg", b""),
    "text as .png": _with_file("x.png", b"no image"),
    "cut PNG": _with_file("x.png", png()[:90]),
    "PNG of 2^31 px": _with_file("x.png", _png_of(1 << 16, 1 << 15)),
    "PNG 0x0": _with_file("x.png", _png_of(0, 0)),
    "PNG without pixels": _with_file("x.png", _png_of(64, 64)),
    "PostScript as .jpg": _with_file("x.jpg", POSTSCRIPT),
    "PDF as .jpg": _with_file("x.jpg", b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"),
    "name with ESC": _with_file("x\x1b[2J.png", b"no image"),
    "name with newline": _with_file("x\nsamclr: all is well.png", b"no image"),
    "name with odd bytes": _with(
        lambda f: os.close(os.open(os.fsencode(f) + b"/\xff\xfe.png", os.O_CREAT | os.O_WRONLY))
    ),
    "FIFO as .jpg": _with(lambda f: os.mkfifo(f / "x.jpg")),
    "FIFO as .parquet": _with(lambda f: os.mkfifo(f / "x.parquet")),
    "link to a device": _with(lambda f: (f / "x.png").symlink_to("/dev/zero")),
    "link to itself": _with(lambda f: (f / "x.png").symlink_to(f / "x.png")),
    "link to the folder": _with(lambda f: (f / "sub").symlink_to(f)),
    "folder called x.png": _with(lambda f: (f / "x.png").mkdir()),
    "broken TIFF": _with_file("x.tif", b"II*\0\xff\xff\xff\xff"),
    "broken WebP": _with_file("x.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 "),
    "tar": _tar(["a.png", "b.png"]),
    "tar: dotted keys": _tar(["22.png", "22.05.png", "22.06.png"]),
    "tar: leads outside": _tar(["x/../../../OUTSIDE/evil.png"]),
    "tar: absolute": _tar(["/etc/evil.png"]),
    "tar: one name twice": _tar(["a.png", "a.png"]),
    "tar: two joined": _tar(["a.png"], lambda content: content + content.replace(b"a.png", b"b.png")),
    "tar: cut": _tar(["a.png", "b.png"], lambda content: content[:700]),
    "tar: negative size": _tar(["a.png", "b.png"], _negative_size),
    "tar: noise": _tar(["a.png"], lambda content: np.random.default_rng(0).bytes(5000)),
    "Parquet": _parquet(_images(image=_struct(3)), 3),
    "Parquet: mask first": _parquet(_images(mask=pa.array([b"0123"] * 3), image=_struct(3)), 3),
    "Parquet: null image": _parquet(_images(image=_struct(3, content=None)), 0),
    "Parquet: path outside": _parquet(_images(image=_struct(1, "/etc/passwd", None)), 0),
    "Parquet: path above": _parquet(_images(image=_struct(1, "../../x.png", None)), 0),
    "Parquet: no image column": _parquet(_images(number=pa.array([1, 2])), 0),
    "Parquet: no rows": _parquet(_images(image=_struct(0)), 0),
    "Parquet: cut": _parquet(_images(image=_struct(3)), 0, lambda content: content[: len(content) // 2]),
    "Parquet: noise in the middle": _parquet(
        _images(image=_struct(3)), 0, lambda c: c[:60] + np.random.default_rng(0).bytes(200) + c[260:]
    ),
    "Parquet: no Parquet": _parquet(_images(image=_struct(1)), 0, lambda content: b"PAR1" + bytes(99) + b"PAR1"),
}


def read_all(folder: Path) -> dict[str, Any]:
    """A row of counts. silent: a good image is missing and nothing was said, or a file was made outside."""
    counts = dict.fromkeys(("refused", "said", "whole", "silent", "hang", "crash", "unexpected"), 0)
    odd = []
    for number, (name, make) in enumerate(CASES.items()):
        case = folder / f"case-{number}"
        scenes = case / "deep" / "scenes"
        scenes.mkdir(parents=True)
        good = make(scenes)
        source = next((path for path in scenes.glob("set.*")), scenes)
        store, cache = case / "deep" / "store", folder / "cache"
        outcome = samclr("segment", source, "--min-size", 20, "--workers", 1, "--out", store, cache=cache)
        exported = samclr("regions", "export", store, "--layout", "sa1b", "--out", case / "deep" / "out", cache=cache)
        looked = samclr("look", store, "--scenes", source, "--out", case / "deep" / "look.html", cache=cache)
        vectors, page = case / "deep" / "vectors", case / "deep" / "page.html"
        embedded = samclr("embed", source, *SMALL, "--regions", store, "--out", vectors, cache=cache)
        compared = samclr("duplicates", vectors, "--threshold", 0.5, "--page", page, cache=cache)
        segmented = min(_num_ok(store), _num_ok(vectors))
        outside = [path for path in case.rglob("*evil*") if case / "deep" / "out" not in path.parents]
        every = (outcome, exported, looked, embedded, compared)
        faults = [one.fault for one in every if one.fault is not None]
        text = "".join(one.text for one in every)
        raw = "\x1b[2J" in text or "\nsamclr: all is well" in text
        if faults:
            what = faults[0]
        elif outside or raw or (segmented < good and outcome.status == 0 and not _told(outcome.text)):
            what = "silent"
        elif outcome.status != 0 and segmented == 0:
            what = "refused"
        else:
            what = "said" if _told(outcome.text) else "whole"
        counts[what] += 1
        if what in ("silent", "hang", "crash", "unexpected"):
            odd.append(f"{name}: {what}: {' | '.join(one.text.strip()[-150:] for one in every)}")
    return {"what": "hostile images, Parquet files and tars", "tried": len(CASES), **counts, "odd": odd}


def _num_ok(folder: Path) -> int:
    """Images of a store, or of vectors, that have a good row."""
    return sum(
        row["status"] == "ok"
        for part in folder.glob("b*.parquet")
        for row in pq.read_table(part, columns=["status"]).to_pylist()
    )


def _told(text: str) -> bool:
    return any(
        word in text for word in ("failed", "passed over", "damaged", "left out", "not read", "twice", "same name")
    )
