"""The region store that views are drawn from."""

from samclr.config.pretrain import DataConfig, ViewsConfig
from samclr.errors import UsageError
from samclr.log import option_of
from samclr.regions.store import open_store
from samclr.storage.parts import PartsFolder


def regions_wanted(data: DataConfig, views: ViewsConfig) -> PartsFolder | None:
    """The store, opened, where views are drawn from regions or carry some, else None.

    Raises:
        UsageError: the views need regions and none were named. PartsError: they are not a region store.
    """
    if not views.reads_regions:
        return None
    if data.regions is None:
        needing = f"carried_regions {views.carried_regions}" if views.carried_regions else f"strategy {views.strategy}"
        raise UsageError(
            f"{needing} needs regions: run `samclr segment SCENES --out STORE` (the paper's "
            f"segmenter is --segmenter sam-hq-vit-h) and add {option_of('regions')} STORE"
        )
    return open_store(data.regions)
