"""Rows that newer ones took the place of, taken out of companions that other programs read as they lie there.

Readers of samclr let the newest row of an image count; bank and region store, which nobody else reads, leave the older
ones where they are. Of a part with outdated rows what still counts is published as a new part, and then the old one is
removed. So at every moment each image is in some part, and a process that is killed leaves rows twice at most, until
the next one ends.
"""

import shutil
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from samclr.log import say
from samclr.storage.checksums import read_parquet
from samclr.storage.files import remove_if_free
from samclr.storage.parts import COMPANIONS, OK, PartsFolder, bucket_of_part


@runtime_checkable
class CompanionWork(Protocol):
    """Work that writes companions of its parts, as a folder of vectors has them."""

    def keep_only(self, companion: Path, image_ids: set[str]) -> None:
        """Leave other images out of a companion that is not put in place yet."""
        ...


def drop_outdated(folder: PartsFolder, work: object) -> None:
    """Take outdated rows, and files that no part has, out of a folder whose companions are read by others.

    A bucket that another process works at is left to that one.
    """
    if folder.kind not in COMPANIONS or not isinstance(work, CompanionWork):
        return
    places, outdated = dict[str, int](), dict[int, set[str]]()
    for stem, rows in folder.parts(["image_id"]):
        for image_id in rows["image_id"].to_pylist():
            if image_id in places:
                outdated.setdefault(places[image_id], set()).add(image_id)
            places[image_id] = bucket_of_part(stem)
    for bucket in sorted(outdated.keys() | folder.strays().keys()):
        with folder.lock(bucket) as has_it:
            if has_it:
                elsewhere = {image_id for image_id in outdated.get(bucket, ()) if places[image_id] != bucket}
                _drop(folder, bucket, elsewhere, work)


def _counting(folder: PartsFolder, bucket: int, elsewhere: set[str]) -> dict[Path, set[str]]:
    """Of each part with outdated rows the images whose rows still count; `elsewhere` have theirs in a later bucket."""
    images: dict[Path, list[tuple[str, str]]] = {}
    newest: dict[str, Path] = {}
    for path in folder.part_paths(bucket):
        (_, rows) = next(folder.parts(["image_id", "status"], [path]))
        images[path] = list(zip(rows["image_id"].to_pylist(), rows["status"].to_pylist(), strict=True))
        newest |= dict.fromkeys((image_id for image_id, _ in images[path] if image_id not in elsewhere), path)
    return {
        path: {image_id for image_id, _ in some if newest.get(image_id) == path}
        for path, some in images.items()
        if any(status == OK and newest.get(image_id) != path for image_id, status in some)
    }


def _drop(folder: PartsFolder, bucket: int, elsewhere: set[str], work: CompanionWork) -> None:
    """Of a locked bucket."""
    gone: list[Path] = []
    for path, counting in _counting(folder, bucket, elsewhere).items():
        if counting:
            rows = read_parquet(path)
            kept = rows.filter(pa.array([one in counting for one in rows["image_id"].to_pylist()], pa.bool_()))

            def make_part(companion: Path, path: Path = path, kept: pa.Table = kept) -> pa.Table:
                shutil.copyfile(folder.companion(path.stem), companion)
                work.keep_only(companion, set(kept["image_id"].to_pylist()))
                return kept

            folder.publish(bucket, make_part)
        gone.append(path)
    if stay := [path for path in gone if not remove_if_free(path)]:
        say(f"{stay[0]} is open in another program and holds outdated rows; rerun the command when that has ended")
    for companion in folder.strays().get(bucket, []):
        remove_if_free(companion)  # what is open now is a stray next time
