"""Settings of the anchor, which holds a backbone's patches to what they were."""

from dataclasses import dataclass
from typing import Annotated, Literal

from samclr.config.serialise import CountsWith, Positive, Settings, Steps, StepsOrZero

AnchorKind = Literal["none", "gram", "feature", "both"]
WITH_ANCHOR = CountsWith("anchor", other_than=("none",))


@dataclass(frozen=True, kw_only=True)
class AnchorConfig(Settings):
    """A term beside the method's loss that holds the patches of the global views to those of other weights.

    Attributes:
        anchor: What is held: gram = the cosines between all patches of a view (DINOv3, 2025), which leaves the features
            free to turn; feature = the direction of each patch's features; both; none.
        anchor_gram_weight: Weight of the mean squared difference of the cosines; DINOv3 has 2.
        anchor_feature_weight: Weight of the mean of 1 - cosine of a patch's features with the anchor's.
        anchor_of: The weights that hold: start = those that the run began with; lagged = those of the momentum encoder
            (of the trained one, for methods without), copied every anchor_refresh_steps steps, as in DINOv3.
        anchor_refresh_steps: Steps between two such copies.
        anchor_start_step: First step with the term; until then it costs nothing.
        anchor_warmup_steps: Steps of linear warm-up of the weights from there.
        anchor_schedule: Weights after warm-up: constant, or on a cosine to zero at the end of the run.
    """

    anchor: AnchorKind = "none"
    anchor_gram_weight: Annotated[Positive, CountsWith("anchor", ("gram", "both"))] = 2.0
    anchor_feature_weight: Annotated[Positive, CountsWith("anchor", ("feature", "both"))] = 2.0
    anchor_of: Annotated[Literal["start", "lagged"], WITH_ANCHOR] = "start"
    anchor_refresh_steps: Annotated[Steps, CountsWith("anchor_of", ("lagged",))] = 10_000
    anchor_start_step: Annotated[StepsOrZero, WITH_ANCHOR] = 0
    anchor_warmup_steps: Annotated[StepsOrZero, WITH_ANCHOR] = 0
    anchor_schedule: Annotated[Literal["constant", "cosine"], WITH_ANCHOR] = "constant"
