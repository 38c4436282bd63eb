"""Images with their labels: what every reader of labelled sets gives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from samclr.draws import epoch_order
from samclr.scenes.reading import content_hash, read_bytes
from samclr.scenes.refs import SceneRef

SUBSET_SEED = 0


@dataclass(frozen=True, kw_only=True)
class LabelledSplit:
    """Images with labels, not decoded yet. labels: [n] numbers of classes."""

    refs: Sequence[SceneRef]
    labels: Int[np.ndarray, "n"]

    def subset(self, num: int | None) -> "LabelledSplit":
        """A seeded random subset, the same in every run; all images where `num` is None or larger."""
        if num is None or num >= len(self.refs):
            return self
        chosen = np.sort(epoch_order(SUBSET_SEED, 0, len(self.refs))[:num])
        return LabelledSplit(refs=[self.refs[i] for i in chosen], labels=self.labels[chosen])

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any image, label or their order."""
        digest = hashlib.sha256(self.labels.astype(np.int64).tobytes())
        for ref in self.refs:
            digest.update(content_hash(read_bytes(ref)).encode())
        return digest.hexdigest()[:16]
