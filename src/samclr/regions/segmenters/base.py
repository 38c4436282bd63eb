"""What every segmenter is: regions of a batch of scenes, and what the job asks before it begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from samclr.config.serialise import Settings
from samclr.regions.records import ImageRegions, SegmentError
from samclr.scenes.decode import Scene
from samclr.scenes.refs import LabelFile, SceneRef


class Segmenter:
    """Finds the regions of a batch of scenes. Made with (segmenter, options); `segment` alone must be written.

    Attributes:
        scenes_per_call: how many at a time make it quicker; a job that is told to stop ends after them.
    """

    scenes_per_call: int = 8

    def __init__(self, segmenter: str, options: Any):
        """segmenter: as --segmenter names it. options: of the class that the spec names.

        Raises:
            UsageError: its model or device is not there.
        """

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """One answer a scene, in the order given; a scene that cannot be segmented gives a SegmentError."""
        raise TypeError(f"{type(self).__name__} segments nothing")

    def complete(self, ref: SceneRef, scene: Scene) -> Scene:
        """The scene with what else this segmenter reads of it, such as its label map; called by several threads.

        Raises:
            DecodeError: that cannot be read; the text becomes the row's status.
        """
        return scene

    def take_times(self) -> dict[str, float]:
        """Seconds spent in each stage since the last call, for the job's report."""
        return {}

    def take_counts(self) -> dict[str, float]:
        """What else was counted of the scenes since the last call, for `say_counted`."""
        return {}

    @classmethod
    def say_counted(cls, options: Any, counts: Mapping[str, float]) -> None:
        """Say at the job's end what its counts, added up over all processes, give reason to; others' are among them."""

    @classmethod
    def check(cls, segmenter: str, options: Any, refs: Sequence[SceneRef]) -> None:
        """Raise an error, before any work, if these scenes cannot be segmented."""

    @classmethod
    def label_of(cls, options: Any, ref: SceneRef) -> LabelFile | None:
        """The label that this segmenter reads of a scene beside its image, so that a store notices a replaced one.

        Raises:
            LabelError: it is not clear which that is.
        """
        return None

    @classmethod
    def settled(cls, options: Any, refs: Sequence[SceneRef]) -> Settings:
        """Options with what was left to the scenes decided by them, so that the store keeps it."""
        decided: Settings = options
        return decided

    @classmethod
    def on_cluster(cls, options: Any, has_gpus: bool) -> Settings:
        """Options with what was left to the device decided for a cluster's actors, each with a GPU or none: the machine
        that starts the job may be of another kind."""
        decided: Settings = options
        return decided

    @classmethod
    def prepared(cls, options: Any, refs: Sequence[SceneRef]) -> Sequence[SceneRef]:
        """The scenes as its workers get them, with what is looked up once for all of them. Called after `check`.

        Raises:
            ScenesError: what it reads for that cannot be read.
        """
        return refs

    @classmethod
    def for_trial(cls, options: Any) -> Settings:
        """Options with which the job makes one where its workers will do the work: to fetch and check what they load
        without holding it on a device."""
        trial: Settings = options
        return trial

    @classmethod
    def facts(cls, segmenter: str, options: Any) -> dict[str, Any]:
        """What a store keeps of its maker beside the settings, such as a hash of the weights."""
        return {}

    @classmethod
    def notes(cls, options: Any, refs: Sequence[SceneRef]) -> dict[str, Any]:
        """What a new store's manifest keeps beside its maker, and is not compared when the store is continued."""
        return {}

    @classmethod
    def why_other(cls, then: dict[str, Any], now: dict[str, Any]) -> str:
        """Why a store that `then` made is not continued by `now`, where the two makers do not tell: `was begun ...`."""
        return ""
