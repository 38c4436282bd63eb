"""What a run would take: measured on a few steps of random pixels; nothing is packed or written."""

from dataclasses import replace
from pathlib import Path

from samclr.config.pretrain import PretrainConfig
from samclr.config.sizing import fit_length
from samclr.models.resolve import resolve_config
from samclr.training.costs import cost_rows
from samclr.training.devices import create_fabric
from samclr.training.pace import measure_pace
from samclr.training.start import fit_to_folder


def estimate(config: PretrainConfig, run: Path) -> list[dict[str, str]]:
    """Rows of (what, value): what `pretrain` tells at its start. Of several devices, one is tried with its share."""
    config, refs = fit_to_folder(resolve_config(config), run, listed=True)
    ranks = config.runtime.num_devices * config.runtime.num_nodes
    one = replace(
        config,
        optim=replace(config.optim, global_batch_size=max(config.optim.global_batch_size // ranks, 2)),
        runtime=replace(config.runtime, num_devices=1, num_nodes=1),
    )
    fabric = create_fabric(one)
    pace, kind = measure_pace(fabric, one), fabric.device.type
    config = fit_length(config, len(refs), kind, pace.step_s)
    among = f" on {ranks} devices, communication between them not counted" if ranks > 1 else ""
    return cost_rows(config, run, refs, pace, kind, among=among)
