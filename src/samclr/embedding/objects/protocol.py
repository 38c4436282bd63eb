"""Every object looks for its like: the task, and the protocol.

The vectors are those of `samclr embed`, by the same code. It stands in this room, as evaluation is below it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float

from samclr.config.embedding import EVERY_REGION, EmbedConfig
from samclr.config.kinds import Kind
from samclr.config.serialise import to_dict
from samclr.datasets.objects import ObjectScenes
from samclr.draws import seeded_subset
from samclr.embedding.embedders import Item, crop_vectors, fit_embedding, pooled_vectors
from samclr.embedding.objects.find import Found, find_objects, objects_fingerprint, read_scenes
from samclr.embedding.objects.scores import scored
from samclr.errors import EvaluationError
from samclr.evaluation.dense_features import PART_SCENES
from samclr.evaluation.mapped import in_parts, is_sound, make_arrays, map_array
from samclr.evaluation.protocols.base import Outcome, Protocol, Task
from samclr.evaluation.protocols.objects_spec import ObjectsConfig
from samclr.evaluation.sizes import say_fewer
from samclr.models.fingerprints import cache_key


@dataclass(frozen=True, kw_only=True)
class ObjectsTask(Task):
    """A set with objects, whole: each protocol takes its own subset, and says which."""

    kind: ClassVar[Kind] = "objects"

    objects: ObjectScenes

    @classmethod
    def of(cls, opened: ObjectScenes, **given: Any) -> "ObjectsTask":
        """Of the test scenes."""
        return cls(objects=opened, **given)

    @property
    def name(self) -> str:
        """The set's name."""
        return self.objects.name

    def counts(self) -> dict[str, int]:
        """Images and classes; nothing is trained."""
        return {"num_train": 0, "num_test": len(self.objects.refs), "num_classes": len(self.objects.classes)}

    def details(self) -> dict[str, Any]:
        """What the protocols' details are read with."""
        return {"classes": list(self.objects.classes), "protocols": {}}


class Objects(Protocol[ObjectsTask, ObjectsConfig]):
    """Every object looks for its like among the others' vectors."""

    def check(self, task: ObjectsTask) -> None:
        """The backbone has feature maps to pool, or takes crops of the size."""
        self._embedding(task)

    def measure(self, task: ObjectsTask) -> list[Outcome]:
        """One outcome; its measures are those of docs/evaluation.md."""
        config, one = self.config, task.objects
        say_fewer(one.name, "test images", config.objects_num_test, len(one.refs))
        numbers = seeded_subset(config.objects_seed, len(one.refs), config.objects_num_test)
        found = [find_objects(one, number, config) for number in numbers]
        num = sum(len(image.classes) for image in found)
        if num < 2:
            raise EvaluationError(
                f"{one.name} has {num} objects of {config.objects_min_area_px} px and more in {len(numbers)} images; "
                f"expected at least two"
            )
        mark = objects_fingerprint(found)
        vectors = self._vectors(task, numbers, found, mark)
        scores, counts, details = scored(found, vectors, len(one.classes), task.config.interval)
        counts |= {"num_test": len(numbers), "num_objects": num}
        return [Outcome(scores=scores, counts=counts, details=details, test_fingerprint=mark)]

    def _embedding(self, task: ObjectsTask) -> EmbedConfig:
        asked = EmbedConfig(image_px=self.config.objects_px, regions_by=self.config.objects_by, dtype="float32")
        return fit_embedding(task.backbone, asked, {"regions_by": "objects_by", "image_px": "objects_px"})

    def _vectors(
        self, task: ObjectsTask, numbers: list[int], found: list[Found], mark: str
    ) -> Float[np.ndarray, "n d"]:
        """Of all objects, image by image, mapped from the cache, where they are put if they were not there."""
        config = self._embedding(task)
        path = task.cache / "objects" / f"{cache_key(task.backbone, task.device, mark, to_dict(config))}.npy"

        def rows(part: range) -> Iterator[tuple[Float[np.ndarray, "r d"]]]:
            own = slice(part.start, part.stop)
            for scene, image in zip(read_scenes(task.objects, numbers[own]), found[own], strict=True):
                if len(image.classes):
                    item = scene, image.regions, range(len(image.classes))
                    yield (_of_regions(task.backbone, item, config, task.device),)

        if not is_sound(path):
            make_arrays([path], in_parts(len(numbers), PART_SCENES), rows)
        return np.asarray(map_array(path).numpy(), np.float64)


def _of_regions(backbone: Any, item: Item, config: EmbedConfig, device: torch.device) -> Float[np.ndarray, "r d"]:
    if config.regions_by == "crop":
        (vectors,) = crop_vectors(backbone, [item], config, EVERY_REGION, device)
    else:
        (vectors,) = pooled_vectors(backbone, [item], config, device)
    return vectors[1:].astype(np.float32)


def build(config: ObjectsConfig) -> Objects:
    """See ProtocolSpec.build."""
    return Objects(config)
