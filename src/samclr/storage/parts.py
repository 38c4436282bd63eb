"""A folder of rows that several processes may fill, that loses nothing when one is killed.

Scene banks, region stores and folders of vectors are such folders. Rows are spread over buckets by a hash of
their key; a process locks a bucket, works off what is missing in it, and publishes parts: Parquet files written
beside their name and renamed when whole. A lock ends with its process, so a killed one blocks nobody.
Where a row stands in several parts (an error tried again), the later part of its bucket wins.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from samclr.errors import FilesError, PartsError
from samclr.log import say
from samclr.storage.checksums import read_parquet, write_parquet
from samclr.storage.files import (
    is_sealed,
    put_in_place,
    read_json,
    remove_if_free,
    remove_leftovers,
    room_for,
    write_bytes,
    write_json,
)
from samclr.storage.locks import locked

FORMAT = 1
MIN_PART_ROWS, MAX_PART_ROWS = 16, 256
MAX_BUCKETS = 4096
CROWDED = 4  # times the rows that a folder was made for, of which on it gets more buckets
OK = "ok"

# Columns that every kind of part has: enough to tell whether a row is still that of the file on disk.
HEAD_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("content_hash", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("status", pa.string()),
        ("file_size", pa.int64()),
        ("mtime_ns", pa.int64()),
    ]
)
# Columns that parts of older versions lack, the first two of banks, the last of rows made of labels; read as null.
ADDED_SCHEMA = pa.schema([("num_bytes", pa.int64()), ("crc32", pa.int64())])
LABEL_SCHEMA = pa.schema(
    [("label_file", pa.struct([("hash", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64())]))]
)
MAY_LACK = pa.schema([*ADDED_SCHEMA, *LABEL_SCHEMA])
NULL_IN_LISTS = "Expected all lists to be of size"  # Arrow before 26, of a null in a column of lists of one length
NEVER_EMPTY = ("image_id", "content_hash", "status")
MANIFEST, MANIFEST_COPY = "manifest.json", "manifest-copy.json"
VECTORS = "folder of vectors"
COMPANIONS = {VECTORS: ("rows", ".parquet")}  # where the file beside a part is kept, and what its name ends in


class PartsFolder:
    """One folder of parts: `manifest.json`, `bKKKKK-pNNNNN.parquet` and, for some kinds, a companion of each."""

    def __init__(self, path: Path, kind: str):
        """Open an existing folder. Raises PartsError if it is not one, or is of another kind or version."""
        self.path = path
        manifest = _read_manifest(path, kind)
        if manifest.get("kind") != kind or manifest.get("format") != FORMAT:
            raise PartsError(
                f"{path} is a {manifest.get('kind')} of format {manifest.get('format')}; "
                f"expected a {kind} of format {FORMAT}: name another folder or remake it"
            )
        self.kind = kind
        try:
            self.maker: dict[str, Any] = dict(manifest["maker"])
            self.notes: dict[str, Any] = dict(manifest.get("notes", {}))  # of its beginning; rows may be of others
            self.num_buckets = int(manifest["num_buckets"])
            self.part_rows = int(manifest["part_rows"])  # rows a process may lose when it is killed
            self.has_grown = bool(manifest.get("has_grown"))  # some rows are in buckets of when it had fewer
        except (KeyError, TypeError, ValueError) as error:
            raise PartsError(f"{path / MANIFEST} is damaged ({error!r}); restore it, or make {path} again") from None
        if not (1 <= self.num_buckets <= MAX_BUCKETS and self.part_rows >= 1):
            raise PartsError(f"{path / MANIFEST} is damaged: {self.num_buckets} buckets; make {path} again")

    @classmethod
    def create_or_open(
        cls, path: Path, kind: str, maker: dict[str, Any], num_expected: int, notes: dict[str, Any] | None = None
    ) -> "PartsFolder":
        """Open the folder, or make it for about `num_expected` rows.

        One that was made for far fewer, and lacks most of these, gets more buckets, so that many processes can fill
        it; rows that are there stay in theirs.

        `maker` says what makes the rows (segmenter and settings). Raises PartsError if the folder was made by
        another maker: rows of two makers never stand in one folder. `notes` are kept beside it in a new folder, and
        not compared.
        """
        if not _has_manifest(path):
            if path.exists() and _holds_other_things(path) and not _has_manifest(path):  # none came meanwhile
                raise PartsError(f"{path} exists and is not a {kind}; name a new or empty folder")
            with locked(path / "locks" / "create"):
                if not _has_manifest(path):
                    manifest = {"kind": kind, "format": FORMAT, "maker": maker, **_layout(num_expected)}
                    manifest |= {"notes": notes} if notes else {}
                    write_json(path / MANIFEST, manifest, sealed=True)
        remove_leftovers(path)
        folder = cls(path, kind)
        content, copy = (path / MANIFEST).read_bytes(), path / MANIFEST_COPY
        if not copy.exists() or copy.read_bytes() != content:
            write_bytes(copy, content)
        if folder.maker != maker:
            raise PartsError(
                f"{path} was made with {json.dumps(folder.maker)}, now asked for {json.dumps(maker)}; "
                f"name another folder for the new settings"
            )
        if folder._is_too_small(num_expected):
            with locked(path / "locks" / "create"):
                folder = cls(path, kind)
                if folder._is_too_small(num_expected):  # another process may have seen to it
                    manifest = _read_manifest(path, kind) | _layout(num_expected) | {"has_grown": True}
                    for name in (MANIFEST_COPY, MANIFEST):
                        write_json(path / name, manifest, sealed=True)
                    folder = cls(path, kind)
        return folder

    def _is_too_small(self, num_expected: int) -> bool:
        """Whether so many more rows are to come that they crowd the buckets, and more buckets may be had."""
        most = CROWDED * self.num_buckets * self.part_rows
        if num_expected <= most or _layout(num_expected)["num_buckets"] <= self.num_buckets:
            return False
        return num_expected - sum(len(rows) for _, rows in self.parts(["image_id"], damaged={})) > most

    def bucket_of(self, locality_key: str) -> int:
        """The bucket a new row goes to, the same in every process. Where a row is, `places` knows."""
        return zlib.crc32(locality_key.encode()) % self.num_buckets

    @contextmanager
    def lock(self, bucket: int) -> Iterator[bool]:
        """Try to lock a bucket; yields whether this process has it."""
        with locked(self.path / "locks" / f"b{bucket:05d}", wait=False) as has_it:
            yield has_it

    def part_paths(self, bucket: int | None = None) -> list[Path]:
        """Parquet files of one bucket, or of all, oldest first within a bucket."""
        number = "[0-9]" * 5 if bucket is None else f"{bucket:05d}"
        return sorted(self.path.glob(f"b{number}-p*.parquet"))

    def companion(self, stem: str) -> Path:
        """The file that goes with a part: `.bin` beside it, or as COMPANIONS has it for this kind."""
        return companion_of(self.path / f"{stem}.parquet", self.kind)

    def publish(self, bucket: int, make_part: Callable[[Path], pa.Table]) -> int:
        """Add a part to a locked bucket; it appears whole or not at all. Returns its rows; none leave no part.

        `make_part(companion)` returns the rows and may write `companion`, which is put in place before them.
        """
        existing = self.part_paths(bucket)
        number = int(existing[-1].stem.split("-p")[1]) + 1 if existing else 0
        path = self.path / f"b{bucket:05d}-p{number:05d}.parquet"
        companion, beside = (path.with_name(path.stem + end) for end in (".bin.tmp", ".parquet.tmp"))
        with room_for(path):
            rows = make_part(companion)
            if len(rows) == 0:
                companion.unlink(missing_ok=True)
                return 0
            if companion.exists():
                place = self.companion(path.stem)
                place.parent.mkdir(exist_ok=True)
                put_in_place(companion, place)
            write_parquet(rows, beside)
            put_in_place(beside, path)
        return len(rows)

    def discard(self, path: Path) -> None:
        """Delete a damaged part of a locked bucket, its rows before their companion, so that they are redone.

        Raises:
            FilesError: another process has it open or mapped, and the system, Windows, does not let it go.
        """
        for one in (path, self.companion(path.stem)):
            if not remove_if_free(one):
                raise FilesError(f"{one} is damaged and open in another program; close that, and run the command again")

    def buckets_with_leftovers(self) -> set[int]:
        """Buckets in which a process is at work, or was killed."""
        return {bucket_of_part(path.stem) for path in self.path.glob(f"b{'[0-9]' * 5}-p*.tmp")}

    def remove_leftovers(self, bucket: int) -> None:
        """Delete what a killed process left unfinished in a bucket that is locked now."""
        for path in self.path.glob(f"b{bucket:05d}-p*.tmp"):
            path.unlink()

    def strays(self) -> dict[int, list[Path]]:
        """Companions of no part, by bucket, of a kind whose companions others read: of a process that was killed, or,
        in a bucket that is not locked, of a part that is being published."""
        if self.kind not in COMPANIONS:
            return {}
        place, suffix = COMPANIONS[self.kind]
        stems, strays = {path.stem for path in self.part_paths()}, dict[int, list[Path]]()
        for companion in sorted((self.path / place).glob(f"b{'[0-9]' * 5}-p*{suffix}")):
            if companion.stem not in stems:
                strays.setdefault(bucket_of_part(companion.stem), []).append(companion)
        return strays

    def paths_by_bucket(self) -> dict[int, list[Path]]:
        """What `part_paths` gives of each bucket that has parts, from one look at the folder."""
        paths: dict[int, list[Path]] = {}
        for path in self.part_paths():
            paths.setdefault(bucket_of_part(path.stem), []).append(path)
        return paths

    def parts(
        self,
        columns: Sequence[str] | None = None,
        paths: Sequence[Path] | None = None,
        damaged: dict[Path, str] | None = None,
        schema: pa.Schema = HEAD_SCHEMA,
    ) -> Iterator[tuple[str, pa.Table]]:
        """Stem and rows of some parts or all, one in memory at a time. Of several rows of an image the last counts.

        Columns of MAY_LACK that a part lacks are null.

        damaged: where given, parts that cannot be read are noted here and passed over.
        schema: what their columns must be, as far as it names them.

        Raises:
            PartsError: a part cannot be read.
        """
        for path in self.part_paths() if paths is None else paths:
            try:
                rows = read_parquet(path, columns)
                for name in columns or ():
                    if name not in rows.column_names and name in MAY_LACK.names:
                        rows = rows.append_column(name, pa.nulls(len(rows), MAY_LACK.field(name).type))
                rows = rows if columns is None else rows.select(list(columns))
                _check_columns(rows, schema)
            except (OSError, ValueError, KeyError, pa.ArrowException) as error:
                if damaged is not None and getattr(error, "errno", None) is None:  # not of a disk that fails
                    damaged[path] = str(error)
                    continue
                if NULL_IN_LISTS in str(error):
                    raise PartsError(
                        f"pyarrow {pa.__version__} cannot read {path}, whose regions have no point; "
                        f"stores of samclr before 0.2 need pyarrow 26 or newer"
                    ) from None
                raise PartsError(
                    f"{path} is damaged ({error}); delete this file and rerun {command_of(self.kind)}, "
                    f"which redoes its rows"
                ) from None
            yield path.stem, rows

    def image_ids(self) -> list[str]:
        """The ids of all images, each once, in order."""
        return sorted({image_id for _, rows in self.parts(["image_id"]) for image_id in rows["image_id"].to_pylist()})

    def places(self, damaged: dict[Path, str] | None = None) -> dict[str, int]:
        """The bucket of each image's row. Older versions left rows of an image in two; the last counts, as in `read`.

        damaged: as `parts` takes it.
        """
        return {
            image_id: bucket_of_part(stem)
            for stem, rows in self.parts(["image_id"], damaged=damaged)
            for image_id in rows["image_id"].to_pylist()
        }

    def rows_of(
        self, image_ids: Sequence[str], columns: Sequence[str]
    ) -> Iterator[tuple[str, Int[np.ndarray, "n"], pa.Table]]:
        """For each part its stem, and numbers in `image_ids` and rows of those images that it holds, as `parts`."""
        number_of = {image_id: number for number, image_id in enumerate(image_ids)}
        for stem, rows in self.parts(["image_id", *columns]):
            numbers = np.array([number_of.get(image_id, -1) for image_id in rows["image_id"].to_pylist()], np.int64)
            yield stem, numbers[numbers >= 0], rows.filter(numbers >= 0)

    def read(
        self,
        columns: Sequence[str] | None = None,
        bucket: int | None = None,
        schema: pa.Schema = HEAD_SCHEMA,
        damaged: dict[Path, str] | None = None,
    ) -> pa.Table:
        """Rows in the order of image_id, each image once. damaged: as `parts` takes it."""
        import pyarrow.compute as pc  # here, as it takes a while to import

        tables = [rows for _, rows in self.parts(columns, self.part_paths(bucket), damaged, schema)]
        if not tables:
            names = list(columns) if columns is not None else HEAD_SCHEMA.names
            return pa.table({name: pa.array([], pa.string()) for name in names})
        rows = pa.concat_tables(tables, promote_options="default").append_column(
            "place", pa.array(np.arange(sum(map(len, tables))))
        )
        rows = rows.sort_by([("image_id", "ascending"), ("place", "ascending")]).drop_columns(["place"])
        ids = rows["image_id"].combine_chunks()
        is_last = pa.concat_arrays([pc.not_equal(ids[:-1], ids[1:]), pa.array([True])]) if len(ids) else None
        return rows.filter(is_last) if is_last is not None else rows

    def fingerprint(self, paths: Sequence[Path] | None = None) -> str:
        """Changes whenever a part is added: a hash over the manifest and all parts' names and sizes, or some parts'."""
        digest = hashlib.sha256((self.path / "manifest.json").read_bytes())
        for path in self.part_paths() if paths is None else paths:
            digest.update(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns};".encode())
        return digest.hexdigest()[:16]


def _layout(num_expected: int) -> dict[str, int]:
    """What a manifest says of the sizes of a folder for about so many rows."""
    part_rows = min(max(num_expected // 1024, MIN_PART_ROWS), MAX_PART_ROWS)
    return {"num_buckets": min(max(-(-num_expected // part_rows), 1), MAX_BUCKETS), "part_rows": part_rows}


def _has_manifest(path: Path) -> bool:
    return any((path / name).exists() for name in (MANIFEST, MANIFEST_COPY))


def _holds_other_things(path: Path) -> bool:
    return not path.is_dir() or any(entry.suffix != ".tmp" and entry.name != "locks" for entry in path.iterdir())


def _read_manifest(path: Path, kind: str) -> dict[str, Any]:
    """The manifest of a folder; if it is damaged or gone, it is restored from its copy."""
    remedy = f"restore it, or remove {path} and make it again"
    try:
        manifest, fault = read_json(path / MANIFEST, {}, remedy), "is missing"
        if manifest and is_sealed(path / MANIFEST):
            return dict(manifest)
    except FilesError as error:
        manifest, fault = {}, str(error)
    with suppress(FilesError):
        copy = read_json(path / MANIFEST_COPY, {}, remedy)
        if copy and (not manifest or is_sealed(path / MANIFEST_COPY)):
            why = "is missing" if fault == "is missing" and not manifest else "is damaged"
            say(f"{path / MANIFEST} {why}; it is restored from its copy")
            with suppress(OSError):  # where it cannot be written, reading goes on all the same
                write_bytes(path / MANIFEST, (path / MANIFEST_COPY).read_bytes())
            manifest = copy
    if not manifest:
        what_is_missing = f"it has no {MANIFEST}" if path.exists() else "there is no such folder"
        raise PartsError(f"{path} is not a {kind}: {what_is_missing}" if fault == "is missing" else fault)
    return dict(manifest)


def command_of(kind: str) -> str:
    """What fills a folder of a kind."""
    commands = {"scene bank": "samclr pack", VECTORS: "samclr embed", "region store": "the command that made the store"}
    return commands.get(kind, "the same command")


def _check_columns(rows: pa.Table, schema: pa.Schema) -> None:
    """Raise ValueError if a column is of another type, or an image or its state has no name."""
    for field in rows.schema:
        if field.name in schema.names and not field.type.equals(schema.field(field.name).type):
            raise ValueError(f"its column {field.name} is {field.type}, expected {schema.field(field.name).type}")
        if field.name in NEVER_EMPTY and rows[field.name].null_count:
            raise ValueError(f"its column {field.name} has empty fields")


def companion_of(part: Path, kind: str) -> Path:
    """The file that goes with a part of a folder of this kind."""
    folder, suffix = COMPANIONS.get(kind, ("", ".bin"))
    return part.parent / folder / f"{part.stem}{suffix}"


def bucket_of_part(stem: str) -> int:
    """The bucket that a part belongs to, from its name."""
    return int(stem[1:6])
