"""What a run is to read, and its directory, looked at before torch is imported: a wrong path is refused at once."""

from pathlib import Path

from samclr.bank.places import refuse_inside_scenes
from samclr.config.model import AUTO
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.datasets.scene_lists import read_list
from samclr.datasets.sources import refuse_missing
from samclr.errors import ConfigError
from samclr.log import option_of
from samclr.models.names import refuse_unknown
from samclr.models.weights_files import check_pretrained
from samclr.runs.directory import refuse_other_things
from samclr.runs.saved import has_checkpoint
from samclr.views.sources import regions_wanted


def check_inputs(config: PretrainConfig, run: Path) -> None:
    """See that what a run is to read is there, without reading it, and that its directory may be one.

    Raises:
        UsageError: the strategy needs regions and none were named, or the run directory lies inside the scenes.
        ScenesError, PartsError: scenes, regions or the list of scenes to exclude are missing.
        ConfigError: backbone or weights are, or none were named for a recipe that continues weights.
        EvaluationError: the set of `knn_on` or of `dense_on` is missing.
        RunError: something else than a run stands where the run directory is to be.
    """
    refuse_inside_scenes(run, config.data.scenes, option_of("out"))
    regions_wanted(config.data, config.views)
    refuse_missing(config.data.scenes)
    if config.data.exclude is not None:
        read_list(config.data.exclude)
    if config.model.backbone != AUTO:
        refuse_unknown(config.model.backbone)
    if not has_checkpoint(run):  # which holds all weights
        check_pretrained(config.model.pretrained)
    if config.model.pretrained is None and config.recipe in RECIPES and RECIPES[config.recipe].continues:
        raise ConfigError(f"{config.recipe} continues trained weights; name them with {option_of('pretrained')}")
    if config.runtime.knn_on is not None:
        from samclr.datasets.labelled import refuse_missing_set

        refuse_missing_set(config.runtime.knn_on)
    if config.measuring.dense_on is not None:
        from samclr.evaluation.inputs import open_dense_set

        open_dense_set(config.measuring.dense_on)
    refuse_other_things(run)
