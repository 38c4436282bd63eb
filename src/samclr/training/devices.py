"""Devices, precision and ranks, by Lightning Fabric: what surrounds a training step."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from samclr.config.devices import TrainingPrecision
from samclr.config.pretrain import OptimConfig, PretrainConfig, RuntimeConfig
from samclr.errors import ConfigError, RunError
from samclr.log import option_of
from samclr.methods.base import Method
from samclr.methods.ranks import largest_over_ranks, leave_ranks, num_ranks

FABRIC_PRECISION: dict[TrainingPrecision, Any] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
    "bfloat16-true": "bf16-true",
    "float16-true": "16-true",
    "float64": "64-true",
}
AGREE_EVERY = 20  # steps between two moments at which ranks compare whether to save or to stop


def create_fabric(config: PretrainConfig) -> Fabric:
    """Devices, ranks and precision; also torch's threads. Under torchrun and SLURM it joins their ranks.

    Raises:
        RunError: there is no such device or precision here.
        ConfigError: the batch does not divide evenly among the ranks, or takes more memory than there is; or torchrun
            started another number of ranks than is asked for, or nothing started the other machines.
    """
    runtime = config.runtime
    if runtime.num_threads is not None:
        torch.set_num_threads(runtime.num_threads)
    many = runtime.num_devices * runtime.num_nodes > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1
    _check_ranks(runtime)
    accelerator, _, number = runtime.device.partition(":")
    if number and many:
        raise ConfigError(f"device is {runtime.device}, but several devices are asked for; give device {accelerator}")
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=[int(number)] if number else runtime.num_devices,
            num_nodes=runtime.num_nodes,
            precision=FABRIC_PRECISION[runtime.precision],
            strategy=DDPStrategy(gradient_as_bucket_view=True) if many else "auto",
        )
        _check_machines(runtime, fabric)
        fabric.launch()
    except (ValueError, RuntimeError, TypeError, ImportError) as error:
        raise RunError(
            f"cannot use device {runtime.device!r}, num_devices {runtime.num_devices}, num_nodes {runtime.num_nodes}, "
            f"precision {runtime.precision!r}: {error}"
        ) from None
    if fabric.device.type == "mps" and runtime.precision != "float32":  # Fabric would train in float32 and say nothing
        raise RunError(f"precision {runtime.precision} is not available on mps; give {option_of('precision')} float32")
    atexit.register(leave_ranks)
    images, ranks = config.optim.global_batch_size, fabric.world_size
    if images % ranks:
        raise ConfigError(
            f"global_batch_size {images} does not divide among {ranks} devices; give a multiple of {ranks}"
        )
    _check_memory(config, fabric)
    return fabric


def _check_ranks(runtime: RuntimeConfig) -> None:
    """Ranks that torchrun started are as many as the settings say, which fitted the batch to them."""
    if not dist.is_torchelastic_launched():
        return
    started, on_this = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if started != runtime.num_devices * runtime.num_nodes:
        raise ConfigError(
            f"num_devices is {runtime.num_devices} and num_nodes {runtime.num_nodes}, but torchrun started {started} "
            f"ranks, {on_this} of them here; give {option_of('num_devices')} {on_this} and {option_of('num_nodes')} "
            f"{started // on_this}",
            "num_devices",
        )


def _check_machines(runtime: RuntimeConfig, fabric: Fabric) -> None:
    """Something has started the other machines' ranks; without them the launch waits for ever."""
    alone = isinstance(getattr(fabric.strategy, "cluster_environment", None), LightningEnvironment)
    if runtime.num_nodes > 1 and alone and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= os.environ.keys():
        raise ConfigError(
            f"num_nodes is {runtime.num_nodes}, but nothing started the other machines; run the command under torchrun "
            f"or SLURM's srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each machine",
            "num_nodes",
        )


def _check_memory(config: PretrainConfig, fabric: Fabric) -> None:
    """Settings of which each is legal may together ask for more than any machine has: of views, bytes, then floats."""
    import psutil

    rows = config.optim.global_batch_size * config.views.regions_per_image // fabric.world_size
    numbers = rows * sum(group.num_views * 3 * group.size_px**2 for group in config.groups)
    needed, has = numbers * (5 if fabric.device.type == "cpu" else 1), psutil.virtual_memory().total
    if needed > has:
        raise ConfigError(
            f"a step's views take {needed / 1e9:,.0f} GB, and this machine has {has / 1e9:,.0f} GB of memory; lower "
            f"global_batch_size ({config.optim.global_batch_size}), regions_per_image "
            f"({config.views.regions_per_image}), num_views ({config.group.num_views}) or size_px "
            f"({config.group.size_px})"
        )


def set_up(fabric: Fabric, method: Method, optimizer: torch.optim.Optimizer, runtime: RuntimeConfig) -> tuple[Any, Any]:
    """Put method and optimiser on the device. On several GPUs batch norm is synchronised; on CPUs torch has no such.

    What the loss does not reach learns no longer: several ranks would wait for its gradients. The optimiser, which
    passes it by, keeps its place for it, so that checkpoints of older runs fit.

    Raises:
        ConfigError: the backbone cannot compute activations again.
    """
    backbone = method.online_encoder.backbone
    for name in method.not_reached:
        backbone.get_parameter(name).requires_grad_(False)
    if runtime.activation_checkpointing:
        if not hasattr(backbone, "set_grad_checkpointing"):
            raise ConfigError(f"{type(backbone).__name__} does not support activation_checkpointing; timm's models can")
        backbone.set_grad_checkpointing(True)  # type: ignore[operator]
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    if runtime.compile:
        for encoder in (method.online_encoder, getattr(method, "momentum_encoder", None)):
            if encoder is not None:
                encoder.compile_backbone()
        if (anchor := getattr(method, "anchor", None)) is not None:
            anchor.compile_backbone()
    wrapped, optimizer = fabric.setup(method, optimizer)
    wrapped.mark_forward_method("embed")
    return wrapped, optimizer


def clip_gradients(fabric: Fabric, method: Any, optimizer: Any, config: OptimConfig) -> Tensor:
    """Scale the gradients down to a norm, of all together or each parameter's; returns the norm of all before that."""
    whole = config.clip_norm is not None and config.clip_per == "model"
    largest = config.clip_norm if whole else torch.finfo(torch.float32).max
    norm = fabric.clip_gradients(method, optimizer, max_norm=largest, error_if_nonfinite=False)
    assert norm is not None
    if config.clip_norm is not None and config.clip_per == "parameter":
        for parameter in method.parameters():
            nn.utils.clip_grad_norm_(parameter, config.clip_norm)
    return norm.detach()


def step_optimizer(fabric: Fabric, optimizer: Any) -> bool:
    """Step; False where half-precision gradients overflowed and the step was left out."""
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    before = None if scaler is None else scaler.get_scale()
    optimizer.step()
    return scaler is None or scaler.get_scale() >= before


@contextmanager
def advice_on_memory(runtime: RuntimeConfig) -> Iterator[None]:
    """Turns the device's running out of memory into a RunError that says what takes less."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        options = [
            f"a smaller {option_of('micro_batch_size')}",
            option_of("activation_checkpointing"),
            f"{option_of('precision')} bfloat16",
        ]
        if runtime.bank_on in ("auto", "device"):
            options.insert(0, f"{option_of('bank_on')} map (the bank may lie on the device)")
        raise RunError(
            f"the device has too little memory ({str(error).splitlines()[0]}); the last checkpoint is kept: rerun "
            f"with {', '.join(options[:-1])} or {options[-1]}"
        ) from None


def agree(fabric: Fabric, step: int, *wishes: bool) -> tuple[bool, ...]:
    """What any rank wants, all do. Several ranks compare every twentieth step; until then none acts."""
    if num_ranks() == 1:
        return wishes
    if (step + 1) % AGREE_EVERY:
        return (False,) * len(wishes)
    return tuple(bool(w) for w in largest_over_ranks(torch.tensor(wishes, dtype=torch.int32, device=fabric.device)))
