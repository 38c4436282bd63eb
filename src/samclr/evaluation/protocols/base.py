"""What a protocol is given, what it gives back, and what it must have."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.config.evaluation import EvaluationConfig
from samclr.config.kinds import Kind
from samclr.config.protocols import ProtocolConfig
from samclr.config.serialise import to_dict
from samclr.datasets.labelled import LabelledSet
from samclr.evaluation.features import split_features
from samclr.evaluation.inputs import DenseSet
from samclr.evaluation.sizes import say_fewer
from samclr.runs.results import Score

ConfigT = TypeVar("ConfigT", bound=ProtocolConfig)


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A backbone and a set to measure it on. Each kind of sets (samclr.config.kinds) has a class of its own.

    Attributes:
        kind: of the set.
        backbone: [n 3 h w] -> [n d], in evaluation mode; protocols leave it as it is.
        config: settings of all protocols.
        device: where the backbone computes.
        cache: folder for what may be computed once.
    """

    kind: ClassVar[Kind]

    backbone: nn.Module
    config: EvaluationConfig
    device: torch.device
    cache: Path

    @classmethod
    @abstractmethod
    def of(cls, opened: Any, **given: Any) -> "Task":
        """The task on a set as the kind's opener gives it. given: backbone, config, device and cache."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The set's name."""

    @property
    def fingerprints(self) -> tuple[str | None, str | None]:
        """Of the training and the test images with their labels; None where it is the protocol that chooses them."""
        return None, None

    def settings(self) -> dict[str, Any]:
        """Settings that every protocol has here."""
        return to_dict(self.config.interval)

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """num_train, num_test, num_classes."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What the protocols' details are read with: `classes`, and an empty `protocols`."""


@dataclass(frozen=True, kw_only=True)
class LabelledTask(Task):
    """A set with a class for each image, its subsets taken."""

    kind: ClassVar[Kind] = "labelled"

    labelled: LabelledSet

    @classmethod
    def of(cls, opened: LabelledSet, **given: Any) -> "LabelledTask":
        """Of the subsets that `config.data` asks for."""
        data = given["config"].data
        say_fewer(opened.name, "training images", data.num_train, len(opened.train.refs))
        say_fewer(opened.name, "test images", data.num_test, len(opened.test.refs))
        train, test = opened.train.subset(data.num_train), opened.test.subset(data.num_test)
        return cls(labelled=replace(opened, train=train, test=test), **given)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.labelled.name

    @cached_property
    def features(self) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        """Frozen features of the training and the test split at `image_px`, made once and kept in the cache."""
        sides, px = (self.labelled.train, self.labelled.test), self.config.data.image_px
        train, test = (split_features(self.backbone, split, px, self.device, self.cache) for split in sides)
        return train, test

    @cached_property
    def labels(self) -> tuple[Int[Tensor, "n"], Int[Tensor, "m"]]:
        """Numbers of classes of the training and the test split."""
        return torch.from_numpy(self.labelled.train.labels), torch.from_numpy(self.labelled.test.labels)

    @property
    def fingerprints(self) -> tuple[str | None, str | None]:
        """Of the training and the test split."""
        return self.labelled.train.fingerprint, self.labelled.test.fingerprint

    def settings(self) -> dict[str, Any]:
        """Settings that every protocol has here."""
        return to_dict(self.config.data) | to_dict(self.config.interval)

    def counts(self) -> dict[str, int]:
        """Images and classes."""
        labelled = self.labelled
        sizes = {"num_train": len(labelled.train.refs), "num_test": len(labelled.test.refs)}
        return sizes | {"num_classes": len(labelled.classes)}

    def details(self) -> dict[str, Any]:
        """What the protocols' details are read with."""
        return {"classes": self.labelled.classes, "labels": self.labelled.test.labels.tolist(), "protocols": {}}


@dataclass(frozen=True, kw_only=True)
class DenseTask(Task):
    """A set with a class for each pixel, whole: each protocol takes its own subset, and says which."""

    kind: ClassVar[Kind] = "dense"

    scenes: DenseSet

    @classmethod
    def of(cls, opened: DenseSet, **given: Any) -> "DenseTask":
        """Of the whole set."""
        return cls(scenes=opened, **given)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.scenes.name

    def counts(self) -> dict[str, int]:
        """Images and classes."""
        one = self.scenes
        return {"num_train": len(one.train), "num_test": len(one.test), "num_classes": len(one.test.classes)}

    def details(self) -> dict[str, Any]:
        """What the protocols' details are read with."""
        return {"classes": self.scenes.test.classes, "protocols": {}}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a protocol found on one set.

    Attributes:
        scores: by the names of the spec's `measures`.
        variant: what tells apart the outcomes of one protocol, such as k20_t0.07; "" of its main one.
        settings: those that decided it, if not all of the protocol's.
        counts: beside the set's: images, voters, patches.
        chosen: what the protocol chose by itself, such as a learning rate.
        details: what is too long for a row: predictions, each class's share.
        train_fingerprint, test_fingerprint: of the images, if they are not all of the set's.
    """

    scores: dict[str, Score]
    variant: str = ""
    settings: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    train_fingerprint: str | None = None
    test_fingerprint: str | None = None


TaskT = TypeVar("TaskT", bound=Task)


class Protocol(ABC, Generic[TaskT, ConfigT]):
    """A protocol with its settings. Those of third parties derive from `LabelledProtocol` or `DenseProtocol`."""

    def __init__(self, config: ConfigT):
        self.config = config

    def check(self, task: TaskT) -> None:
        """Raise EvaluationError, before any work, where the set or the backbone does not suit the protocol."""

    @abstractmethod
    def measure(self, task: TaskT) -> list[Outcome]:
        """Measure the backbone; the main outcome first."""


class LabelledProtocol(Protocol[LabelledTask, ConfigT]):
    """A protocol on images with a class each."""


class DenseProtocol(Protocol[DenseTask, ConfigT]):
    """A protocol on images with a class for each pixel."""
