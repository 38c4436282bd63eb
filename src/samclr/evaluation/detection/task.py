"""The task of the kind `detection`: a backbone and a set of instances."""

from dataclasses import dataclass
from typing import Any, ClassVar

from samclr.config.kinds import Kind
from samclr.evaluation.detection.instances import InstanceSet
from samclr.evaluation.protocols.base import ConfigT, Protocol, Task


@dataclass(frozen=True, kw_only=True)
class DetectionTask(Task):
    """A set of instances, whole: each protocol takes its own subset, and says which."""

    kind: ClassVar[Kind] = "detection"

    instances: InstanceSet

    @classmethod
    def of(cls, opened: InstanceSet, **given: Any) -> "DetectionTask":
        """Of the whole set."""
        return cls(instances=opened, **given)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.instances.name

    def counts(self) -> dict[str, int]:
        """Images and classes."""
        one = self.instances
        return {"num_train": len(one.train), "num_test": len(one.val), "num_classes": len(one.classes)}

    def details(self) -> dict[str, Any]:
        """What the protocols' details are read with."""
        return {"classes": self.instances.classes, "protocols": {}}


class DetectionProtocol(Protocol[DetectionTask, ConfigT]):
    """A protocol on images with a box and a class for each object."""
