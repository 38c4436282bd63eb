"""Objects that find their like by their vectors: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from samclr.config.embedding import EmbedConfig, RegionsBy
from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown
from samclr.config.serialise import Bounds, Count, CountOrZero, InputSide, Seed

USUAL = EmbedConfig()


@dataclass(frozen=True, kw_only=True)
class ObjectsConfig(ProtocolConfig):
    """Objects of one class, or one segment as several people drew it, look for each other by the vectors that
    `samclr embed` gives them.

    Attributes:
        objects_px: Shorter side of the image as the backbone gets it, in px; with crop, both sides of each crop.
        objects_by: Vectors of objects: pool = the mean of the image's patch features under the exact mask; crop = the
            backbone's features of each object's padded box, a pass each.
        objects_min_area_px: Objects of fewer pixels are left out.
        objects_per_image: The largest objects of an image, or of each person's map of it, that take part.
        objects_num_test: Size of a seeded random subset of the test images; None takes all.
        objects_seed: Seed for this subset.
    """

    name: ClassVar[str] = "objects"

    objects_px: InputSide = USUAL.image_px
    objects_by: RegionsBy = USUAL.regions_by
    objects_min_area_px: CountOrZero = 100
    objects_per_image: Annotated[int, Bounds(at_least=1, at_most=10_000)] = 25
    objects_num_test: Count | None = None
    objects_seed: Seed = 0


SPEC = ProtocolSpec(
    title="objects",
    config=ObjectsConfig,
    build="samclr.embedding.objects.protocol:build",
    measures={
        "map": "mAP",
        "precision_at_10": "P@10",
        "map_class": "mAP, classes",
        "precision_at_10_class": "P@10, classes",
        "same_segment": "same segment",
    },
    shown=(
        Shown(measure="map", title="object mAP"),
        Shown(measure="precision_at_10", title="object P@10"),
        Shown(measure="same_segment", title="same segment"),
    ),
    prefix="objects_",
    kind="objects",
    per_class="per_class_precision",
    side="objects_px",
    order=10,
)
