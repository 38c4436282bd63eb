"""The regions of some scenes out of a region store, and what tells whether they are still those that were embedded."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from samclr.errors import PartsError, name_some
from samclr.regions.records import ImageRegions, SegmentError
from samclr.regions.store import open_store, read_bucket, read_regions
from samclr.scenes.buckets import may_lie_elsewhere
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder

Found = ImageRegions | SegmentError
Stamp = tuple[int, int]
NO_STAMP: Stamp = (0, 0)


def refuse_missing(refs: Sequence[SceneRef], store: PartsFolder) -> None:
    """Raise PartsError if a scene has no row in the store."""
    known = {image_id for _, rows in store.parts(["image_id"]) for image_id in rows["image_id"].to_pylist()}
    missing = [ref.image_id for ref in refs if ref.image_id not in known]
    if missing:
        raise PartsError(
            f"{len(missing)} scenes have no row in the region store {store.path}: {name_some(missing)}; "
            f"run samclr segment on the same scenes with --out {store.path}"
        )


def regions_of(path: Path, refs: Sequence[SceneRef]) -> dict[str, Found]:
    """What the store has of some scenes; each of its buckets is read once."""
    store = open_store(path)
    fingerprint = store.fingerprint()
    buckets: dict[int, set[str]] = {}
    for ref in refs:
        buckets.setdefault(_bucket_of(store, fingerprint, ref), set()).add(ref.image_id)
    found: dict[str, Found] = {}
    for bucket, wanted in buckets.items():
        found |= _read(store, bucket, wanted)
    return found


def hash_of(found: Found | None) -> str:
    """128-bit BLAKE2b of an image's masks, in their order, as hex; "" where there are no regions to be had."""
    if not isinstance(found, ImageRegions):
        return ""
    return hashlib.blake2b(b" ".join(region.rle for region in found.regions), digest_size=16).hexdigest()


class StoredMarks:
    """What the store says now of each scene: the stamp of the part that holds its row, and the hash of its masks.

    Both are read bucket by bucket, once, and kept.
    """

    def __init__(self, path: Path):
        self._store = open_store(path)
        self._fingerprint = self._store.fingerprint()
        self._stamps: dict[int, dict[str, Stamp]] = {}
        self._hashes: dict[int, dict[str, str]] = {}

    def stamp(self, ref: SceneRef) -> Stamp:
        """Size in bytes and modification time in ns of the part; NO_STAMP where there is no row."""
        return self._stamps_of(_bucket_of(self._store, self._fingerprint, ref)).get(ref.image_id, NO_STAMP)

    def hash(self, ref: SceneRef) -> str:
        """As `hash_of`."""
        bucket = _bucket_of(self._store, self._fingerprint, ref)
        if bucket not in self._hashes:
            found = _read(self._store, bucket)
            self._hashes[bucket] = {image_id: hash_of(regions) for image_id, regions in found.items()}
        return self._hashes[bucket].get(ref.image_id, "")

    def _stamps_of(self, bucket: int) -> dict[str, Stamp]:
        if bucket not in self._stamps:
            stamps: dict[str, Stamp] = {}
            for path in self._store.part_paths(bucket):
                stat = path.stat()
                for _, rows in self._store.parts(["image_id"], [path]):
                    stamps |= dict.fromkeys(rows["image_id"].to_pylist(), (stat.st_size, stat.st_mtime_ns))
            self._stamps[bucket] = stamps
        return self._stamps[bucket]


def _read(store: PartsFolder, bucket: int, wanted: set[str] | None = None) -> dict[str, Found]:
    if not store.part_paths(bucket):
        return {}
    rows = read_bucket(store, bucket)
    if wanted is not None:
        rows = rows.filter(pa.array([image_id in wanted for image_id in rows["image_id"].to_pylist()], pa.bool_()))
    return {row["image_id"]: read_regions(row) for row in rows.to_pylist()}


def _bucket_of(store: PartsFolder, fingerprint: str, ref: SceneRef) -> int:
    """As samclr.scenes.buckets.buckets_of, with the ids of a store of this fingerprint read once."""
    bucket = store.bucket_of(ref.locality_key)
    return _places(store.path, fingerprint).get(ref.image_id, bucket) if may_lie_elsewhere(store, [ref]) else bucket


@lru_cache(maxsize=1)
def _places(path: Path, fingerprint: str) -> dict[str, int]:
    """The bucket of each image of a store, as long as it has this fingerprint."""
    return open_store(path).places()
