"""The scene bank: decoded pixels on disk, made once and memory-mapped by every run after that.

A row's pixels are its pyramid, level after level: native size (or --max-side), 1/2, 1/4 and 1/8, each
[h w c] uint8. Level k has ceil(h / 2^k) rows; its pixel i is the mean of native pixels i*2^k to (i+1)*2^k - 1.
With --codec jpeg they are JPEG tiles instead (samclr.bank.tiles).
"""

import itertools
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8
from PIL import Image

from samclr.bank.rows import (
    BANK_SCHEMA,
    FAILED,
    NUM_LEVELS,
    UNKNOWN,
    end_of_pixels,
    fault_of_size,
    places_of,
)
from samclr.bank.tiles import TileReader, encode_tiles
from samclr.config.pretrain import Codec
from samclr.errors import PartsError, ScenesError, name_some
from samclr.log import option_of, say
from samclr.processes.stopping import stop_requested
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.fill import MORE_PAGES, FillOptions, FillReport, Tally, add_tally, fill
from samclr.scenes.images import open_image
from samclr.scenes.reading import read_bytes
from samclr.scenes.refs import SceneRef, file_stamp
from samclr.scenes.remote import as_uri
from samclr.storage.checksums import checksum_of_file
from samclr.storage.files import amount_of, room_for
from samclr.storage.parts import OK, PartsFolder

KIND = "scene bank"
BYTES_PER_PX = 4.0  # raw: three channels, and a third more for the lower levels
NAMES_AT_ONCE = 65_536
ESTIMATE_IMAGES = {"raw": 500, "jpeg": 8}  # raw needs headers alone; JPEG is tried


def level_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of each pyramid level."""
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(NUM_LEVELS)]


class SceneBank:
    """Random access to the pixels of many images, without opening an image file: `SceneBank(path)`.

    In memory it takes 28 bytes an image; ids and hashes stay in a file.

    Attributes:
        native_hw: [n 2] size after EXIF rotation. bank_hw: [n 2] size in the bank (smaller under --max-side).
        parts: mapped bytes; image n begins at offset[n] of parts[part_of[n]].
        errors: of the images that could not be decoded, by id; they have no number.
    """

    def __init__(self, path: Path, refs: Sequence[SceneRef] | None = None):
        """Map the images of `refs` that could be decoded, in that order; by default all of the bank, by their ids.

        Without `refs` the scenes are not looked at; images packed from scenes that are gone since are there still.

        Raises:
            PartsError: no bank at `path`, a scene has no row, or a part lacks its pixels or is cut (run pack).
        """
        folder = PartsFolder(path, KIND)
        image_ids = folder.image_ids() if refs is None else [ref.image_id for ref in refs]
        rows, stems, self.errors, ends = places_of(folder, image_ids)
        decoded = rows["part"] != FAILED
        rows = rows[decoded]
        self.path, self.num_images = path, len(rows)
        self.codec: Codec = folder.maker.get("codec", "raw")
        self._names = _mapped_names(itertools.compress(image_ids, decoded), rows["content_hash"])
        self.native_hw, self.bank_hw, self.offset = (rows[name].copy() for name in ("native_hw", "bank_hw", "offset"))
        used, part_of = np.unique(rows["part"], return_inverse=True)
        self.part_of = part_of.astype(np.int32)
        self._part_paths = [str(path / f"{stems[part]}.bin") for part in used]  # as text: asked for at each crop
        for name, part in zip(self._part_paths, used, strict=True):
            if fault := fault_of_size(Path(name), ends[part]):
                raise PartsError(f"{name} {fault}; run samclr pack on the same scenes with --bank {path} to rebuild it")
        # Views on np.memmap are slow to make; on the plain array beneath it they are not.
        self.parts = [np.asarray(np.memmap(name, np.uint8, "r")) for name in self._part_paths]
        self._inodes = [os.stat(name).st_ino for name in self._part_paths]
        if self.codec == "jpeg":  # checked as it is first read, which costs next to nothing beside decoding
            self._num_bytes, self._crc32 = rows["num_bytes"].copy(), rows["crc32"].copy()
            self._unchecked = self._crc32 != UNKNOWN

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images, read from the file at each call."""
        ids: list[str] = self._names["image_id"].to_pylist()
        return ids

    @property
    def content_hashes(self) -> list[str]:
        """Hashes of their files, read from the file at each call."""
        hashes: list[str] = self._names["content_hash"].to_pylist()
        return hashes

    def names(self) -> Iterator[tuple[str, str]]:
        """(id, hash) of each image, some thousand in memory at a time."""
        for batch in self._names.to_batches(max_chunksize=NAMES_AT_ONCE):
            yield from zip(batch["image_id"].to_pylist(), batch["content_hash"].to_pylist(), strict=True)

    def reader(self, image: int) -> "LevelReader | TileReader":
        """Access to one image's pixels, for as many windows as wanted.

        Raises:
            PartsError: its file was cut since it was mapped, or, of a JPEG bank, its bytes are damaged.
        """
        height, width = (int(side) for side in self.bank_hw[image])
        part, start = self.part_of[image], int(self.offset[image])
        data = self.parts[part]
        self._refuse_cut(image, len(data))
        if self.codec == "raw":
            return LevelReader(data[start:], height, width)
        if self._unchecked[image]:
            if zlib.crc32(data[start : start + self._num_bytes[image]]) != self._crc32[image]:
                raise self.damaged(image, "the checksum does not fit")
            self._unchecked[image] = False
        return TileReader(data[start:], height, width)

    def _refuse_cut(self, image: int, num_bytes: int) -> None:
        """A map must not be read beyond the end of its file: the system would end the process (SIGBUS)."""
        part = self.part_of[image]
        try:
            now = os.stat(self._part_paths[part])
        except FileNotFoundError:  # deleted: the map holds the file still
            return
        if now.st_size < num_bytes and now.st_ino == self._inodes[part]:  # else it was made anew, as above
            raise self.damaged(image, f"the file was cut to {now.st_size:,} of {num_bytes:,} bytes while in use")

    def damaged(self, image: int, why: object) -> PartsError:
        """The error for an image whose pixels in the bank cannot be read."""
        part = self._part_paths[self.part_of[image]]
        return PartsError(
            f"the pixels of {self.image_ids[image]} in {part} are damaged ({why}); run samclr pack --verify on the "
            f"same scenes with --bank {self.path} to rebuild them, then rerun the same command"
        )

    def level(self, image: int, level: int) -> UInt8[np.ndarray, "h w 3"]:
        """One pyramid level of one image; of a raw bank a view on the map."""
        rows, columns = level_shapes(*(int(v) for v in self.bank_hw[image]))[level]
        pixels, _, _ = self.reader(image).window(level, 0, 0, columns, rows)
        return pixels[:rows, :columns]


class LevelReader:
    """Windows of one image in a raw bank."""

    def __init__(self, data: UInt8[np.ndarray, "_"], height: int, width: int):
        """`data` begins with the image's pyramid and may go on after it."""
        self._data, self._shapes = data, level_shapes(height, width)

    def window(self, level: int, x0: int, y0: int, x1: int, y1: int) -> tuple[UInt8[np.ndarray, "_ _ 3"], int, int]:
        """Pixels of a level that hold the box, and the column and row at which they begin: the whole level."""
        start = sum(rows * columns * 3 for rows, columns in self._shapes[:level])
        rows, columns = self._shapes[level]
        return self._data[start : start + rows * columns * 3].reshape(rows, columns, 3), 0, 0


def _mapped_names(image_ids: Iterator[str], hashes: np.ndarray) -> pa.Table:
    """Ids and hashes in a file that is gone when nobody looks at it any more."""
    schema = pa.schema([("image_id", pa.string()), ("content_hash", pa.string())])
    with tempfile.NamedTemporaryFile() as file, room_for(Path(file.name)):
        with pa.ipc.new_file(file, schema) as writer:
            for first in range(0, len(hashes), NAMES_AT_ONCE):
                some = hashes[first : first + NAMES_AT_ONCE].astype(str)
                ids = list(itertools.islice(image_ids, len(some)))
                writer.write_batch(pa.record_batch([ids, some], schema))
        file.flush()
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


@dataclass(kw_only=True)
class PackWork:
    """Makes one part of a bank: pixels into the companion file, their places into the rows."""

    max_side: int | None
    codec: Codec = "raw"
    tally: Tally = field(default_factory=dict)
    verify: bool = False  # read all pixels of the parts that are there, to find damaged ones
    unverified: list[int] = field(default_factory=list)  # images of parts without checksums, found on the way
    part_columns = tuple(BANK_SCHEMA.names)  # all that is read later, so that it is checked now

    def fault_of(self, path: Path, rows: pa.Table) -> str | None:
        """What is wrong with a part's pixels: the file is missing or cut, or, under `verify`, differs from the rows."""
        pixels = path.with_suffix(".bin")
        fault = fault_of_size(pixels, end_of_pixels(rows, self.codec))
        if fault or not self.verify:
            return fault and f"{pixels.name} {fault}"
        for row in rows.to_pylist():
            if row["status"] == OK and row["crc32"] is None:
                self.unverified.append(1)
            elif row["status"] == OK:
                start, end = row["offset"], row["offset"] + row["num_bytes"]
                if checksum_of_file(pixels, start, end) != row["crc32"]:
                    return f"the pixels of {row['image_id']} are damaged"
        return None

    def __call__(self, refs: list[SceneRef], companion: Path) -> pa.Table:
        rows = []
        with open(companion, "wb") as pixels_file:
            for ref in refs:
                if stop_requested():
                    break
                file_size, mtime_ns = file_stamp(ref)
                row = {"image_id": ref.image_id, "content_hash": "", "height": 0, "width": 0, "status": OK}
                row |= {"file_size": file_size, "mtime_ns": mtime_ns}
                row |= {"bank_height": 0, "bank_width": 0, "offset": pixels_file.tell()}
                try:
                    scene = load_scene(ref)
                    levels = make_pyramid(scene.pixels, self.max_side)
                    row |= {"content_hash": scene.content_hash}
                    row |= {"height": scene.pixels.shape[0], "width": scene.pixels.shape[1]}
                    row |= {"bank_height": levels[0].shape[0], "bank_width": levels[0].shape[1]}
                    add_tally(self.tally, {MORE_PAGES: float(scene.has_more_pages)})
                    encoded = encode(levels, self.codec)
                    row |= {"num_bytes": len(encoded), "crc32": zlib.crc32(encoded)}
                    pixels_file.write(encoded)
                except DecodeError as error:
                    row["status"] = str(error)
                rows.append(row)
            pixels_file.write(b"\0")  # a part of errors alone must still be a file that can be mapped
        return pa.Table.from_pylist(rows, schema=BANK_SCHEMA)


def encode(levels: list[UInt8[np.ndarray, "_ _ 3"]], codec: Codec) -> bytes:
    """An image's bytes in the bank."""
    return b"".join(level.tobytes() for level in levels) if codec == "raw" else encode_tiles(levels)


def capped_hw(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """The size in the bank of an image of some native size, px."""
    if max_side is None or max(height, width) <= max_side:
        return height, width
    scale = max_side / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def make_pyramid(pixels: UInt8[np.ndarray, "h w 3"], max_side: int | None) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """All levels of one image; level 0 is capped to `max_side` pixels on its longer side."""
    image = Image.fromarray(pixels)
    height, width = capped_hw(image.height, image.width, max_side)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return [np.asarray(image if level == 0 else image.reduce(2**level)) for level in range(NUM_LEVELS)]


def pack_scenes(
    refs: Sequence[SceneRef],
    bank_path: Path,
    max_side: int | None,
    options: FillOptions,
    codec: Codec = "raw",
    verify: bool = False,
) -> tuple[PartsFolder, FillReport]:
    """Give every scene a row and its pixels a place in the bank; damaged parts are rebuilt and reported.

    verify: read all pixels that are there, to find damaged ones; else files that are missing or cut are found.

    Raises:
        PartsError: the disk has too little room, or the bank was made with another --max-side or --codec.
    """
    maker = {"max_side": max_side} | ({} if codec == "raw" else {"codec": codec})
    folder = PartsFolder.create_or_open(bank_path, KIND, maker, len(refs))
    needed, free = missing_bytes(folder, refs, max_side, codec), shutil.disk_usage(bank_path).free
    if needed > free:
        raise PartsError(
            f"no room for the bank {bank_path}: it needs {amount_of(needed)} more, its disk has {amount_of(free)} "
            f"free; name another disk ({option_of('bank')} DIR, $SAMCLR_CACHE), cap the size "
            f"({option_of('max_side')} PX) "
            f"or compress ({option_of('codec')} jpeg)"
        )
    work = PackWork(max_side=max_side, codec=codec, verify=verify)
    report = fill(folder, refs, work, options, "packing")
    if report.healed:
        faults = [f"{path} ({fault})" for path, fault in sorted(report.healed.items())]
        say(f"{len(faults)} damaged parts of the bank were rebuilt: {name_some(faults)}")
    if work.unverified:
        say(f"{len(work.unverified)} images were packed by an older version, without checksums: not verified")
    return folder, report


def missing_bytes(
    folder: PartsFolder | None, refs: Sequence[SceneRef], max_side: int | None, codec: Codec = "raw"
) -> int:
    """Bytes the scenes not yet in the bank will take, from a sample of them: their headers, for JPEG their encoding."""
    without_row = {ref.image_id: ref for ref in refs}
    damaged: dict[Path, str] = {}  # `fill` makes them anew
    for _, rows in [] if folder is None else folder.parts(["image_id"], damaged=damaged):
        for image_id in rows["image_id"].to_pylist():
            without_row.pop(image_id, None)
    missing = list(without_row.values())
    sample = missing[:: max(len(missing) // ESTIMATE_IMAGES[codec], 1)]
    if not sample:
        return 0
    bytes_of = _raw_bytes if codec == "raw" else _jpeg_bytes
    return int(sum(bytes_of(ref, max_side) for ref in sample) / len(sample) * len(missing))


def _jpeg_bytes(ref: SceneRef, max_side: int | None) -> float:
    try:
        return len(encode(make_pyramid(load_scene(ref).pixels, max_side), "jpeg"))
    except DecodeError:  # takes no room; pack reports it
        return 0.0


def _raw_bytes(ref: SceneRef, max_side: int | None) -> float:
    try:
        is_local_file = ref.row is None and as_uri(ref.path) is None
        with open_image(Path(ref.path) if is_local_file else read_bytes(ref)) as image:
            width, height = image.size
    except Exception:  # a broken file takes no room; pack reports it
        return 0.0
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height, 1))
    return width * height * scale**2 * BYTES_PER_PX


def check_same_images(bank: SceneBank, hashes: Shaped[np.ndarray, "n"], where: str) -> None:
    """Raise ScenesError if an image in the bank is not the one that `where` has; an empty hash says nothing."""
    names = zip(bank.names(), hashes, strict=True)
    differing = [image_id for (image_id, own), other in names if other and other != own.encode()]
    if differing:
        raise ScenesError(
            f"{len(differing)} images differ between the bank {bank.path} and {where}: {name_some(differing)}; "
            f"run samclr pack and samclr segment with --replace-changed"
        )
