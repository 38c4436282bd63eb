"""Settings of vectors: one of each image and region, by a frozen backbone. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Literal

from samclr.config.serialise import CountsWith, InputSide, NotNegative, Settings
from samclr.config.views import FilterConfig

RegionsBy = Literal["pool", "crop"]
VectorType = Literal["float16", "float32"]
EVERY_REGION = FilterConfig(min_area_px=0, containment_frac=1.0)


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(Settings):
    """How images and regions become vectors.

    Attributes:
        image_px: Shorter side of the image as the backbone gets it, in px; with crop, both sides of each crop.
        regions_by: Vectors of regions: pool = the mean of the image's patch features under the exact mask, of all
            regions in one pass; crop = the backbone's features of each region's padded box, a pass each.
        window_cells: With pool: regions that cover less than this, in cells of the feature map, are pooled in windows
            of the image at a finer scale, as far as the image has it; 0 pools all in the image as a whole.
        dtype: Numbers of the vectors: float16 takes half the room.
    """

    image_px: InputSide = 256
    regions_by: RegionsBy = "pool"
    window_cells: Annotated[NotNegative, CountsWith("regions_by", ("pool",))] = 1.0
    dtype: VectorType = "float16"
