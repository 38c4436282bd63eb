"""Which scenes are near-duplicates: by a list, or by the vectors as `samclr duplicates` has it, in the background."""

import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from samclr.datasets.scene_lists import read_list
from samclr.embedding.copies import MAX_GROUP, THRESHOLD, find_copies
from samclr.embedding.vectors import Vectors
from samclr.errors import SamclrError
from samclr.log import say
from samclr.scenes.refs import SceneRef

State = Literal["waiting", "working", "ready", "failed"]
MOST_IMAGES, MOST_PAIRS = 50_000, 3_000_000  # that are compared for a page: some minutes
NO_GROUP = -1


class GivenUpError(SamclrError):
    """There are more pairs than are compared for a page, or nobody waits for them any more."""


class NearDuplicates:
    """Of n scenes the groups of near-duplicates, the one to keep first.

    Attributes:
        state: waiting until somebody asks; then working, and in the end ready or failed.
        text: what the page says of it.
        group: [n] the number of each scene's group, NO_GROUP for none. rank: [n] its place among all in groups.
        kept: [n] whether it is the one that its group keeps.
    """

    def __init__(self, refs: Sequence[SceneRef], vectors: Vectors | None, listed: Path | None):
        """listed: a list of images that are left out; it stands in for the vectors.

        Raises:
            ScenesError: the list cannot be read.
        """
        self._refs, self._vectors = refs, vectors
        self.state: State = "waiting"
        self.text = ""
        self.group = np.full(len(refs), NO_GROUP)
        self.rank, self.kept = np.arange(len(refs)), np.zeros(len(refs), bool)
        self._beginning, self._is_closed = threading.Lock(), False
        if listed is not None:
            self._take(listed)

    def begin(self) -> None:
        """Find the groups, unless that was begun."""
        with self._beginning:
            if self.state != "waiting" or self._vectors is None:
                return
            self.state, self.text = "working", "comparing vectors ..."
            threading.Thread(target=self._find, args=(self._vectors,), daemon=True).start()

    def close(self) -> None:
        """Let go of what is under way."""
        self._is_closed = True

    def _take(self, listed: Path) -> None:
        names = set(read_list(listed))
        found = np.array([ref.image_id in names for ref in self._refs], bool)
        self.group = np.where(found, 0, NO_GROUP)
        missing = len(names) - int(found.sum())
        if missing:
            say(f"{missing:,} of {len(names):,} names in {listed} are no scene's")
        self.state, self.text = "ready", f"those that {listed.name} leaves out"

    def _find(self, vectors: Vectors) -> None:
        command = f"samclr duplicates {shlex.quote(str(vectors.path))} --out twice.txt"
        beyond = f"too many for a page: run {command}, and start samclr explore with --duplicates twice.txt"
        try:
            num = len(vectors.rows("image"))
            if num > MOST_IMAGES:
                raise GivenUpError(f"{num:,} images are {beyond}")
            found = find_copies(vectors, refs=self._refs, watch=lambda num_pairs: self._watch(num_pairs, beyond))
            numbers = {ref.image_id: number for number, ref in enumerate(self._refs)}
            group, rank, kept = np.full_like(self.group, NO_GROUP), np.zeros_like(self.rank), np.zeros_like(self.kept)
            members = [[numbers[place.id] for place in one] for one in found.groups]
            for number, one in enumerate(members):
                group[one], kept[one[0]] = number, True
            listed = np.array([member for one in members for member in one], np.int64)
            rank[listed] = np.arange(len(listed))
            self.group, self.rank, self.kept = group, rank, kept
            split = f", chains of over {MAX_GROUP} taken apart" if found.num_split else ""
            self.text = (
                f"{len(members):,} groups of near-duplicates (similarity of {THRESHOLD} and more, and the same "
                f"picture){split}; the one to keep comes first. {command} lists the others"
            )
            self.state = "ready"
        except SamclrError as error:
            self.text = f"no near-duplicates: {error}"
        finally:
            if self.state != "ready":
                self.state, self.text = "failed", self.text or "the comparison ended early"

    def _watch(self, num_pairs: int, beyond: str) -> None:
        self.text = f"comparing pictures: {num_pairs:,} pairs so far ..."
        if self._is_closed:
            raise GivenUpError("the explorer ends")
        if num_pairs > MOST_PAIRS:
            raise GivenUpError(f"over {MOST_PAIRS:,} pairs of pictures are {beyond}")
