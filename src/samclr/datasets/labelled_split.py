"""Images with their labels: what every reader of labelled sets gives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from samclr.datasets.names import NamedSource
from samclr.draws import seeded_subset
from samclr.errors import EvaluationError, name_some
from samclr.scenes.decode import DecodeError, read_image
from samclr.scenes.reading import content_hash
from samclr.scenes.refs import SceneRef

SUBSET_SEED = 0


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """Images with labels of some kind, not decoded yet."""

    refs: Sequence[SceneRef]
    labels: Int[np.ndarray, "n *kind"]

    def subset(self: "SplitT", num: int | None) -> "SplitT":
        """A seeded random subset, the same in every run; all images where `num` is None or larger."""
        if num is None or num >= len(self.refs):
            return self
        chosen = seeded_subset(SUBSET_SEED, len(self.refs), num)
        return replace(self, refs=[self.refs[i] for i in chosen], labels=self.labels[chosen])

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


SplitT = TypeVar("SplitT", bound=ImageSplit)


@dataclass(frozen=True, kw_only=True)
class LabelledSplit(ImageSplit):
    """Images with a class each. labels: [n] numbers of classes."""

    labels: Int[np.ndarray, "n"]


def refuse_broken(broken: list[str]) -> None:
    """Raise EvaluationError if any image is broken: a result over other images than those named would be none."""
    if broken:
        raise EvaluationError(
            f"{len(broken)} of the labelled images cannot be read: {name_some(broken)}; fix or remove them"
        )


def refuse_tested(
    source: NamedSource, trained: str, own: Sequence[SceneRef], tested: str, others: Sequence[SceneRef]
) -> None:
    """Raise EvaluationError if images of the split that is trained on are in the one that is tested on as well."""
    both = sorted({ref.image_id for ref in own} & {ref.image_id for ref in others})
    if both:
        raise EvaluationError(
            f"{source.data_set.title} is trained on {trained} and tested on {tested}, and {len(both):,} images are in "
            f"both: {name_some(both)}; restore the lists of images in {source.root}, or type another split to "
            f"train on, as {source.data_set.name}:SPLIT@ROOT"
        )
