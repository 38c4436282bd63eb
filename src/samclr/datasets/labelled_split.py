"""Images with their labels: what every reader of labelled sets gives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from samclr.draws import epoch_order
from samclr.errors import EvaluationError, name_some
from samclr.scenes.decode import DecodeError, read_image
from samclr.scenes.reading import content_hash
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
        """Changes with any image, label or their order. Raises EvaluationError for images that cannot be read."""
        digest, broken = hashlib.sha256(self.labels.astype(np.int64).tobytes()), []
        for ref in self.refs:
            try:
                digest.update(content_hash(read_image(ref)).encode())
            except DecodeError as error:
                broken.append(f"{ref.image_id} ({error})")
        refuse_broken(broken)
        return digest.hexdigest()[:16]


def refuse_broken(broken: list[str]) -> None:
    """Raise EvaluationError if any image is broken: a result over other images than those named would be none."""
    if broken:
        raise EvaluationError(
            f"{len(broken)} of the labelled images cannot be read: {name_some(broken)}; fix or remove them"
        )
