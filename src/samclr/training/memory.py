"""What a step takes of a device's memory, counted before it is tried: the micro-batch is chosen by it."""

import gc
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from samclr.bank.bank import missing_bytes
from samclr.config.pretrain import PretrainConfig
from samclr.config.sizing import FREE_SHARE, StepMemory, fit_memory
from samclr.log import option_of, tell
from samclr.methods.base import Method
from samclr.methods.create import create_method
from samclr.models.backbone import count_parameters
from samclr.scenes.refs import SceneRef
from samclr.training.micro_batches import embed
from samclr.training.pace import random_batch
from samclr.views.placement import DEVICE_SHARE

BYTES_A_PARAMETER = 16  # the weight, its gradient and two optimiser moments, float32
BYTES_A_VALUE = 12  # of a view's pixels on the device: as cropped, augmented and normalised
FEW_IMAGES = (2, 4)  # what is kept for the backward pass is counted for these


def fit_to_memory(
    fabric: Fabric, config: PretrainConfig, refs: Sequence[SceneRef], announce: bool = False
) -> PretrainConfig:
    """The configuration with a micro-batch that fits in the free memory, where it is open. All ranks call it together.

    With activation checkpointing, which is asked for by hand, all rows are taken at once.
    """
    if "micro_batch_size" not in config.auto:
        return config
    rows = config.optim.global_batch_size * config.views.regions_per_image // fabric.world_size
    free = free_bytes(fabric.device, config, refs)
    memory = StepMemory(fixed=0, a_row=0) if config.runtime.activation_checkpointing else measure_memory(fabric, config)
    config = fabric.broadcast(fit_memory(config, rows, memory, free))
    size = config.runtime.micro_batch_size
    if announce and fabric.is_global_zero and size is not None:
        tell(
            f"{option_of('micro_batch_size')} is {size}: all {rows} rows at once are estimated at "
            f"{memory.of(rows) / 1e9:.1f} GB, {size} at {memory.of(size) / 1e9:.1f} GB, and {FREE_SHARE:.0%} of the "
            f"free {free / 1e9:.1f} GB may be taken; batch norm sees {size} rows at a time"
        )
    return config


def free_bytes(device: torch.device, config: PretrainConfig, refs: Sequence[SceneRef]) -> int:
    """Free memory of a GPU, less the bank where that is put there."""
    free = torch.cuda.mem_get_info(device)[0]
    if config.data.codec != "raw" or config.runtime.bank_on not in ("auto", "device"):
        return free
    bank = missing_bytes(None, refs, config.data.max_side)
    return free - bank if config.runtime.bank_on == "device" or bank <= DEVICE_SHARE * free else free


def measure_memory(fabric: Fabric, config: PretrainConfig) -> StepMemory:
    """Count what the method keeps for its backward pass of a few images; the weights are thrown away.

    Counted on the device in the run's precision, from the tensors that autograd saves, parameters and buffers aside.
    """
    method = create_method(config, 1)
    fabric.strategy.precision.convert_module(method).to(fabric.device)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*method.parameters(), *method.buffers())}
    saved = [_saved_bytes(fabric, method, config, images, own) for images in FEW_IMAGES]
    rows = [images * config.views.regions_per_image for images in FEW_IMAGES]
    a_row = (saved[1] - saved[0]) // (rows[1] - rows[0])
    all_rows = config.optim.global_batch_size * config.views.regions_per_image // fabric.world_size
    values = all_rows * sum(group.num_views * 3 * group.size_px**2 for group in config.groups)
    fixed = count_parameters(method) * BYTES_A_PARAMETER + values * BYTES_A_VALUE
    del method
    gc.collect()
    if fabric.device.type == "cuda":
        torch.cuda.empty_cache()
    return StepMemory(fixed=fixed + max(saved[0] - rows[0] * a_row, 0), a_row=a_row)


def _saved_bytes(fabric: Fabric, method: Method, config: PretrainConfig, images: int, own: set[int]) -> int:
    """Bytes of the tensors that autograd saves when a few images are encoded, but `own` storages, each once."""
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = random_batch(config, images, fabric.device)
    part = fabric.strategy.precision.convert_input((batch.pixels, *method.regions_of(batch)))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        embedded = embed(fabric, method, part, batch.step)  # held, so that no storage is counted for two
    del embedded
    return sum(sizes.values())
