"""What protocols on sets with several classes an image are given."""

from dataclasses import dataclass
from typing import Any, ClassVar

from samclr.config.kinds import Kind
from samclr.datasets.multilabel import MultilabelSet
from samclr.evaluation.protocols.base import ConfigT, Protocol, Task


@dataclass(frozen=True, kw_only=True)
class MultilabelTask(Task):
    """A set with several classes an image, whole: each protocol takes its own subset, and says which."""

    kind: ClassVar[Kind] = "multilabel"

    multilabel: MultilabelSet

    @classmethod
    def of(cls, opened: MultilabelSet, **given: Any) -> "MultilabelTask":
        """Of the whole set."""
        return cls(multilabel=opened, **given)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.multilabel.name

    def counts(self) -> dict[str, int]:
        """Images and classes."""
        one = self.multilabel
        return {"num_train": len(one.train.refs), "num_test": len(one.test.refs), "num_classes": len(one.classes)}

    def details(self) -> dict[str, Any]:
        """What the protocols' details are read with."""
        return {"classes": list(self.multilabel.classes), "protocols": {}}


class MultilabelProtocol(Protocol[MultilabelTask, ConfigT]):
    """A protocol on images with several classes each."""
