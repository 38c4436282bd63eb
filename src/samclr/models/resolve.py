"""From the settings a user gives to those a run has: what backbone and method decide is filled in, once."""

from dataclasses import replace

from samclr.config.pretrain import PretrainConfig
from samclr.log import say
from samclr.models.sizes import fit_views
from samclr.models.weights import with_normalisation


def resolve_config(config: PretrainConfig, tell: bool = True) -> PretrainConfig:
    """The configuration as config.json states it: sizes that the backbone takes, its input's normalisation, and which
    weights are exported.

    tell: say what was rounded or assumed.

    Raises:
        ConfigError: the backbone takes no such views, or its file of weights cannot be read.
    """
    config = fit_views(config, tell)
    model, assumed = with_normalisation(config.model)
    if assumed and tell:
        say(assumed)
    return replace(config, model=replace(model, exported=config.exported))
