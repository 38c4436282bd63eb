"""What a run would take: measured on a few steps of random pixels; nothing is packed or written."""

from dataclasses import replace
from pathlib import Path

from samclr.config.pretrain import PretrainConfig
from samclr.config.sizing import StepMemory, fit_length, most_rows
from samclr.models.devices import own_draws
from samclr.models.resolve import resolve_config
from samclr.runs.saved import has_checkpoint, load_config, newest_step
from samclr.training.costs import CardMemory, Costs, costs_of, num_images_of
from samclr.training.devices import advice_on_memory, create_fabric
from samclr.training.memory import fit_to_memory, measure_memory
from samclr.training.pace import measure_pace
from samclr.training.start import fit_to_folder

CARD_GB = 24.0  # of a usual card


def estimate(config: PretrainConfig, run: Path) -> Costs:
    """What `pretrain` tells at its start. Of several devices, one is tried with its share."""
    saved = load_config(run) if has_checkpoint(run) else None
    config, refs = fit_to_folder(resolve_config(config, saved=saved), run, listed=True)
    ranks = config.runtime.num_devices * config.runtime.num_nodes
    one = replace(
        config,
        optim=replace(config.optim, global_batch_size=max(config.optim.global_batch_size // ranks, 2)),
        runtime=replace(config.runtime, num_devices=1, num_nodes=1),
        model=config.model if saved is None else replace(config.model, pretrained=None),
    )
    fabric = create_fabric(one)
    with advice_on_memory(config.runtime), own_draws(fabric.device):
        one = fit_to_memory(fabric, one, refs, announce=True)
        pace, kind = measure_pace(fabric, one), fabric.device.type
        card = _on_card(one, measure_memory(fabric, one))
    config = replace(config, runtime=replace(config.runtime, micro_batch_size=one.runtime.micro_batch_size))
    config = fit_length(config, num_images_of(config, run, refs), kind, pace.step_s)
    return replace(costs_of(config, run, refs, pace, kind, newest_step(run) or 0), card=card)


def _on_card(config: PretrainConfig, memory: StepMemory) -> CardMemory:
    """Of a usual card, whatever there is here: what the backward pass keeps is the same on each."""
    rows = config.optim.global_batch_size * config.views.regions_per_image
    fitting = most_rows(rows, memory, CARD_GB * 1e9)
    return CardMemory(
        card_gb=CARD_GB,
        rows=rows,
        all_rows_mb=memory.of(rows) / 1e6,
        fitting_rows=fitting,
        fitting_mb=memory.of(fitting) / 1e6 if fitting else None,
    )
