"""Which of the scenes a run trained on, in the order in which training numbers them."""

from collections.abc import Sequence
from pathlib import Path

from samclr.config.pretrain import PretrainConfig
from samclr.datasets.names import absolute
from samclr.errors import ScenesError
from samclr.log import say
from samclr.scenes.refs import SceneRef
from samclr.views.data import trained_scenes

LEFT_OUT = "the run excludes it, holds it out, or was made of others"


def scenes_in_training(
    refs: Sequence[SceneRef], scenes: Sequence[Path], image_column: str | None, config: PretrainConfig | None
) -> Sequence[SceneRef]:
    """The scenes of the run, less those that it excludes and holds out; without a run all that are shown.

    Says so where the scenes shown are not those of the run. refs: of `scenes`, which are shown.
    """
    if config is None:
        return refs
    data, shown = config.data, {ref.image_id for ref in refs}
    is_own = (tuple(map(absolute, scenes)), image_column) == (tuple(data.scenes), data.image_column)
    try:
        trained = trained_scenes(data, refs if is_own else None)
    except ScenesError as error:
        return _as_if_its_own(refs, config, f"the run's scenes cannot be listed: {str(error).partition(';')[0]}")
    num_shown = sum(ref.image_id in shown for ref in trained)
    if num_shown == 0:
        return _as_if_its_own(refs, config, "none of these scenes is among those that the run trained on")
    if num_shown < len(trained):
        say(f"{len(trained) - num_shown:,} of the {len(trained):,} scenes that the run trained on are not among these")
    return trained


def _as_if_its_own(refs: Sequence[SceneRef], config: PretrainConfig, why: str) -> Sequence[SceneRef]:
    say(f"{why}; views are shown as if it were trained on these")
    try:
        return trained_scenes(config.data, refs)
    except ScenesError:  # its list of exclusions is gone, or of other scenes
        return refs
