"""Near-duplicates in a folder of vectors: pairs over a threshold that their pictures confirm, as groups."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from samclr.embedding.duplicates import find_groups
from samclr.embedding.lookup import Place, places_of, refuse_none
from samclr.embedding.mapped import Kind
from samclr.embedding.same_picture import Thumb, are_same, thumb_of
from samclr.embedding.vectors import REPLACED, Vectors
from samclr.errors import ScenesError, name_some
from samclr.log import say
from samclr.processes.threads import num_threads
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.refs import SceneRef

THRESHOLD = 0.95
MAX_GROUP = 100
THUMBS_KEPT = 50_000  # of 4 KB
PAIRS_AT_ONCE, ROWS_AT_ONCE = 65_536, 16_384  # of pairs and of pictures that are compared at a time
Watch = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Groups of near-duplicates, what each keeps first. num_split: groups that were too large, and taken apart."""

    groups: list[list[Place]]
    num_split: int

    def left_out(self) -> list[str]:
        """Ids of the images that are not kept, in their order."""
        return sorted({place.id for group in self.groups for place in group[1:]})


def find_copies(
    vectors: Vectors,
    *,
    threshold: float = THRESHOLD,
    kind: Kind = "image",
    max_group: int = MAX_GROUP,
    refs: Sequence[SceneRef] | None = None,
    watch: Watch | None = None,
) -> Copies:
    """Groups of near-duplicates; each keeps the image, or region, of most pixels, the first where equal.

    refs: the scenes, whose pictures then have to be the same, too (samclr.embedding.same_picture); None goes by the
    vectors alone. watch: told again and again how many pairs of pictures were compared or are now; what it raises ends
    the search.

    Raises:
        UsageError: there are no vectors of this kind. PartsError: a part is damaged.
        ScenesError: none of the folder's images is among the scenes; those that are not are in no group, which is said.
    """
    refuse_none(vectors, kind)
    table = vectors.rows(kind)
    order = np.argsort(-table["area_px"].to_numpy(), kind="stable")
    pictures = None if refs is None else _Pictures(vectors, kind, refs, watch or _let_be)
    found = find_groups(vectors.matrix(kind), threshold, order=order, max_group=max_group, check=pictures)
    if pictures is not None and pictures.unreadable:
        told = [f"{image_id} ({text})" for image_id, text in sorted(pictures.unreadable.items())]
        what = "1 image cannot be used, and is" if len(told) == 1 else f"{len(told):,} images cannot be used, and are"
        say(f"{what} in no group: {name_some(told)}")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = np.flatnonzero(found.group >= 0)
    rows = rows[np.lexsort((rank[rows], found.group[rows]))]
    cuts = np.flatnonzero(np.diff(found.group[rows])) + 1
    groups = [places_of(vectors, kind, part) for part in np.split(rows, cuts)] if len(rows) else []
    return Copies(groups=sorted(groups, key=lambda group: -len(group)), num_split=found.num_split)


def _let_be(num_pairs: int) -> None:
    """Watch nothing."""


class _Pictures:
    """Tells of pairs of rows whether their pictures are the same; keeps thumbs of the rows looked at last.

    Attributes:
        unreadable: why, by id, of images that could not be decoded, or were replaced; they are the same as none, and
            so are images that are not among the scenes.
    """

    def __init__(self, vectors: Vectors, kind: Kind, refs: Sequence[SceneRef], watch: Watch):
        by_id = {ref.image_id: ref for ref in refs}
        embedded = set(vectors.rows("image")["id"].to_pylist())
        missing = sorted(embedded - by_id.keys())
        if missing:
            what = "1 image of {0} is" if len(missing) == 1 else f"{len(missing):,} images of {{0}} are"
            text = f"{what.format(vectors.path)} not among the {len(refs):,} scenes"
            if len(missing) == len(embedded):
                raise ScenesError(f"{text}: {name_some(missing)}; name the scenes that it was made of")
            say(f"{text}, and in no group: {name_some(missing)}")
        self._vectors, self._kind, self._refs = vectors, kind, by_id
        self._watch, self._num_pairs = watch, 0
        self._thumbs: OrderedDict[int, Thumb | None] = OrderedDict()
        self.unreadable: dict[str, str] = {}

    def __call__(self, first: Int[np.ndarray, "p"], second: Int[np.ndarray, "p"]) -> Bool[np.ndarray, "p"]:
        answers = np.zeros(len(first), bool)
        start = 0
        while start < len(first):
            one, other = first[start : start + PAIRS_AT_ONCE], second[start : start + PAIRS_AT_ONCE]
            num = pairs_of_rows(one, other, ROWS_AT_ONCE)
            one, other = one[:num], other[:num]
            self._num_pairs += len(one)
            rows = np.unique(np.concatenate([one, other]))
            self._read(rows)
            thumbs = {row: thumb for row in rows.tolist() if (thumb := self._thumbs[row]) is not None}
            place = np.full(rows[-1] + 1, -1)
            place[list(thumbs)] = np.arange(len(thumbs))
            readable = np.flatnonzero((place[one] >= 0) & (place[other] >= 0))
            if len(readable):
                told = are_same([*thumbs.values()], place[one[readable]], place[other[readable]])
                answers[start + readable] = told
            start += num
        return answers

    def _read(self, rows: Int[np.ndarray, "n"]) -> None:
        """Have the thumbs of these rows; an image is decoded once for all its rows among them."""
        missing: dict[str, list[tuple[int, Place]]] = {}
        new = [row for row in rows.tolist() if row not in self._thumbs]
        for row, place in zip(new, places_of(self._vectors, self._kind, new), strict=True):
            missing.setdefault(place.id, []).append((row, place))
        with ThreadPoolExecutor(num_threads()) as pool:
            for thumbs in pool.map(self._decode, missing.items()):
                self._thumbs.update(thumbs)
        for row in rows.tolist():
            self._thumbs.move_to_end(row)
        while len(self._thumbs) > max(THUMBS_KEPT, len(rows)):
            self._thumbs.popitem(last=False)

    def _decode(self, item: tuple[str, list[tuple[int, Place]]]) -> dict[int, Thumb | None]:
        image_id, rows = item
        self._watch(self._num_pairs)
        if image_id not in self._refs:
            return {row: None for row, _ in rows}
        try:
            scene = load_scene(self._refs[image_id])
        except DecodeError as error:
            self.unreadable[image_id] = str(error)
            return {row: None for row, _ in rows}
        pixels, known = scene.pixels, self._vectors.content_hashes.get(image_id)
        is_too_small = any(one.box_xyxy[2] > pixels.shape[1] or one.box_xyxy[3] > pixels.shape[0] for _, one in rows)
        if (known and known != scene.content_hash) or is_too_small:
            self.unreadable[image_id] = REPLACED
            return {row: None for row, _ in rows}
        return {row: thumb_of(pixels, None if place.region is None else place.box_xyxy) for row, place in rows}


def pairs_of_rows(first: Int[np.ndarray, "p"], second: Int[np.ndarray, "p"], most: int) -> int:
    """How many of the pairs, from the first on, are of at most so many rows together; one at least."""
    rows, place = np.unique(np.stack([first, second], 1), return_index=True)  # place: where a row is first met
    if len(rows) <= most:
        return len(first)
    return max(int(np.sort(place)[most]) // 2, 1)
