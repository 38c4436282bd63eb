"""In which bucket of a folder of parts each image has its row, or gets one."""

import os
from collections.abc import Sequence
from pathlib import Path

from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder, bucket_of_part


def buckets_of(folder: PartsFolder, refs: Sequence[SceneRef], damaged: dict[Path, str] | None = None) -> list[int]:
    """The bucket of each image: the one that has its row, else the one that its row goes to.

    Before 0.2 a row of a file of many images had a bucket by the file's path as it was typed; it stays there. An image
    that is a file has had its row by its id in every version, so that none is looked for, unless the folder has grown.

    damaged: where given, parts whose ids cannot be read are noted here; else they raise PartsError.
    """
    places = folder.places(damaged) if may_lie_elsewhere(folder, refs) else {}
    found = (places.get(ref.image_id) for ref in refs)
    return [folder.bucket_of(ref.locality_key) if at is None else at for ref, at in zip(refs, found, strict=True)]


def may_lie_elsewhere(folder: PartsFolder, refs: Sequence[SceneRef]) -> bool:
    """Whether an image may have its row in another bucket than `bucket_of` its key."""
    return folder.has_grown or any(ref.row is not None for ref in refs)


def by_bucket(folder: PartsFolder, refs: Sequence[SceneRef], may_heal: bool) -> dict[int, list[SceneRef]]:
    """The images of each bucket; under torchrun each rank begins elsewhere, so that locks are rarely met.

    may_heal: buckets with a part whose ids cannot be read are among them, so that it is made anew; else it raises
        PartsError.
    """
    damaged: dict[Path, str] = {}
    numbers = buckets_of(folder, refs, damaged if may_heal else None)
    buckets: dict[int, list[SceneRef]] = {bucket_of_part(path.stem): [] for path in damaged}
    for ref, bucket in zip(refs, numbers, strict=True):
        buckets.setdefault(bucket, []).append(ref)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    order = sorted(buckets)
    first = len(order) * rank // world
    return {bucket: buckets[bucket] for bucket in order[first:] + order[:first]}
