"""Detection on several devices: processes that Fabric starts, one a device, with the command waiting for them."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from samclr.errors import EvaluationError, SamclrError
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.evaluation.states import STOPPED
from samclr.log import name_options, option_of, options_are_named, remarks_are_shown, show_remarks
from samclr.methods.ranks import largest_over_ranks, leave_ranks, num_ranks
from samclr.processes.stopping import stop_signals, stopped
from samclr.processes.workers import require_guard


def precision_of(asked: str, device: torch.device) -> str:
    """What auto means on a device."""
    if asked != "auto":
        return asked
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_bfloat16 else "float32"


def check_devices(config: DetectionConfig, device: torch.device) -> None:
    """See that `run_on` can do what the settings ask for, before anything is measured.

    Raises:
        EvaluationError: the batch does not divide among the devices, there are fewer of them, one of them is named, or
            it has no bfloat16.
        PartsError: several are asked for by a script without a guard, which they could not import.
    """
    ranks, asked = config.detect_devices, f"{option_of('detect_devices')} is {config.detect_devices}"
    if config.detect_batch_size % ranks:
        raise EvaluationError(
            f"{option_of('detect_batch_size')} {config.detect_batch_size} does not divide among {ranks} devices; give "
            f"a multiple of {ranks}"
        )
    if device.type == "mps" and config.detect_precision == "bfloat16":
        raise EvaluationError(f"bfloat16 is not available on mps; give {option_of('detect_precision')} float32")
    if ranks == 1:
        return
    if device.type == "mps":
        raise EvaluationError(f"{asked}; there is one mps device")
    if device.index:  # of `auto` it is 0
        raise EvaluationError(
            f"{asked}, but the device is {device}; give {option_of('device')} {device.type} for the first {ranks}, or "
            f"name them in CUDA_VISIBLE_DEVICES"
        )
    if device.type == "cuda" and ranks > torch.cuda.device_count():
        raise EvaluationError(f"{asked}; this machine has {torch.cuda.device_count()}")
    require_guard(option_of("detect_devices"))


def run_on(work: Callable[[Fabric], bool], device: torch.device, num_devices: int) -> None:
    """Call `work` on each device. It returns whether it was told to stop, which is then raised here.

    Raises:
        EvaluationError: what `work` raised.
        Stopped: by SIGTERM or Ctrl-C.
    """
    many = num_devices > 1
    fabric = Fabric(
        accelerator=device.type,
        devices=num_devices if many or device.index is None else [device.index],
        precision="32-true",  # the detector itself puts its layers into bfloat16
        strategy=DDPStrategy(start_method="spawn", find_unused_parameters=True) if many else "auto",
        plugins=[LightningEnvironment()],  # a cluster's, such as SLURM's, would not have the children start
    )
    if not many:
        fabric.launch()
        with stop_signals():
            if work(fabric):
                raise stopped(STOPPED)
        return
    told, flag, was_stopped = multiprocessing.get_context("spawn").SimpleQueue(), _ToChildren(), False
    try:
        with stop_signals(flag):
            child: Any = _in_child  # which Fabric says to take no more than itself
            was_stopped = fabric.launch(child, work, told, remarks_are_shown(), options_are_named())
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not flag.is_set():  # else the signal ended a child that had not begun
            text = str(error).strip().splitlines()[-1] if told.empty() else told.get()
            raise EvaluationError(text) from None
    if was_stopped or flag.is_set():
        raise stopped(STOPPED)


class _ToChildren:
    """A flag that hands the signal on: Ctrl-C reaches children by itself, SIGTERM this process alone."""

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        if not self._is_set:
            for child in multiprocessing.active_children():
                child.terminate()
        self._is_set = True


def _in_child(fabric: Fabric, work: Callable[[Fabric], bool], told: Any, shown: bool, named: bool) -> bool:
    if shown and fabric.global_rank == 0:
        show_remarks()
    name_options(named)
    try:
        with stop_signals():
            return work(fabric)
    except SamclrError as error:
        told.put(str(error))
        raise
    finally:
        leave_ranks()


def any_wants(fabric: Fabric, wish: bool) -> bool:
    """What any rank wants, all do."""
    if num_ranks() == 1:
        return wish
    return bool(largest_over_ranks(torch.tensor(int(wish), device=fabric.device)))


def share_buffers(module: nn.Module) -> None:
    """Give all ranks the first one's statistics of batch norm, which CPUs keep each for themselves."""
    if num_ranks() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


def gathered(mine: list[Any]) -> list[Any]:
    """Of lists that each hold every n-th item, the whole one, on all ranks."""
    if num_ranks() == 1:
        return mine
    parts: list[Any] = [None] * num_ranks()
    dist.all_gather_object(parts, mine)
    whole = [None] * sum(map(len, parts))
    for rank, part in enumerate(parts):
        whole[rank :: num_ranks()] = part
    return whole
