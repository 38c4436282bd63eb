"""Pre-training: one loop that reads from top to bottom."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from samclr.config.normalisation import normalisation_of
from samclr.config.pretrain import PretrainConfig
from samclr.draws import layers_seed
from samclr.errors import RunError
from samclr.log import option_of, say, tell
from samclr.methods.create import backbone_of, create_method, follow_weights
from samclr.methods.ranks import mean_over_ranks, num_ranks
from samclr.models.devices import own_draws
from samclr.models.resolve import resolve_config
from samclr.processes.stopping import stop_signals
from samclr.runs.checkpoint import load_checkpoint, save_checkpoint
from samclr.runs.directory import SUMMARY_FILE, MetricsLog, locked_run, open_run, read_json, write_json
from samclr.runs.extension import is_stage_of, refuse_shortened, stages
from samclr.runs.saved import has_checkpoint, load_config, newest_step, read_config, saved_config
from samclr.runs.start_weights import note_start
from samclr.storage.bus_errors import bus_error_is_said
from samclr.storage.files import room_for
from samclr.training.devices import advice_on_memory, agree, clip_gradients, create_fabric, set_up, step_optimizer
from samclr.training.first_rank import FirstRank, lost_ranks_are_said
from samclr.training.head_warmup import head_alone
from samclr.training.loggers import log_rows, open_loggers, writers_fail_once
from samclr.training.measures import Measures
from samclr.training.micro_batches import backward
from samclr.training.monitor import (
    CollapseMonitor,
    identical_pairs_warning,
    not_reached_remark,
    refuse_without_carried,
    refuse_without_negatives,
    sample_counts,
)
from samclr.training.optim import create_optimizer, schedule_step, set_rates
from samclr.training.progress import TrainingProgress
from samclr.training.start import fit_to_folder, say_extension, settle
from samclr.views.data import TrainingData, bank_path, num_workers, prepare_data
from samclr.views.loader import ViewLoader
from samclr.views.make_batch import make_batch
from samclr.views.placement import open_cropper
from samclr.views.plan import ViewPlan
from samclr.views.sources import regions_wanted

FLUSH_STEPS = 20  # steps whose metrics are fetched from the device at once


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """The state of a run when `pretrain` returns.

    stopped: SIGTERM or Ctrl-C ended it early.
    speaks: of the ranks that trained together this is the first, which tells what there is to tell.
    """

    run: Path
    steps_done: int
    num_steps: int
    stopped: bool
    data_counts: dict[str, int]
    speaks: bool = True


def pretrain(
    config: PretrainConfig, run: Path, announce: bool = False, check: Callable[[TrainingData], None] | None = None
) -> PretrainResult:
    """Train until the last step, or resume from the run's checkpoint. The same call on the same run resumes it.

    What the configuration leaves open (`auto`) is as the run has it; where there is no run yet, it is decided by
    folder, device and a measured rate. A finished run that is asked for more steps is extended.

    announce: tell before the first step what the run takes: images, steps, time, disk, memory.
    check: is called with the images and regions before the run is made, and raises where they are not to be taken.

    Raises:
        ConfigError: the backbone does not take such views, or there are no negatives; nothing was made then.
        RunError: another process trains in the run directory, it has other settings or other data, or the loss is no
            longer finite.
        ScenesError, PartsError, UsageError: as prepare_data.
    """
    regions_wanted(config.data, config.views)
    config, refs = fit_to_folder(config, run, listed=announce)
    fabric = create_fabric(config)
    saved = load_config(run) if has_checkpoint(run) else None
    config = resolve_config(config, tell=fabric.is_global_zero, saved=saved)
    bank = bank_path(config) if config.data.scenes else Path()
    quiet = bus_error_is_said(bank), writers_fail_once(), room_for(run), own_draws(fabric.device)
    with _held(run, fabric), ExitStack() as stack:
        for context in (*quiet, lost_ranks_are_said()):
            stack.enter_context(context)
        config = open_run(run, config, write=False)
        if fabric.is_global_zero:
            say_extension(config, run)
        config = settle(fabric, config, run, refs, announce)
        done = newest_step(run) or 0
        for stage in stages(config):
            if stage is config or done < stage.optim.steps:
                result = _train(fabric, stage, config, run, announce, check)
                if result.stopped:
                    break
        return result


@contextmanager
def _held(run: Path, fabric: Fabric) -> Iterator[None]:
    """The first rank locks the run directory for all; if that is refused, it is refused to all."""
    with ExitStack() as stack:
        with FirstRank(fabric).alone() as is_here:
            if is_here:
                stack.enter_context(locked_run(run))
        yield


def _train(
    fabric: Fabric,
    config: PretrainConfig,
    whole: PretrainConfig,
    run: Path,
    announce: bool,
    check: Callable[[TrainingData], None] | None,
) -> PretrainResult:
    """One stage of a run, `config`; `whole` is the run with all its extensions."""
    data = prepare_data(config)
    if check is not None:
        check(data)
    num_steps = config.num_steps(data.bank.num_images)
    drawn, pairs = sample_counts(config, num_steps, lambda step: data.planner.plan(step).counts)
    refuse_without_carried(config, drawn)
    if not has_checkpoint(run):
        refuse_without_negatives(config, data.bank.num_images)
    open_run(run, whole, write=fabric.is_global_zero)  # a start that is refused leaves no run directory
    _check_same_data(run, data, write=fabric.is_global_zero)
    refuse_shortened(whole, data.bank.num_images)
    if fabric.is_global_zero:
        if warning := identical_pairs_warning(drawn["identical_pairs"], pairs):
            say(warning)
        _warn_of_large_batch(config, data)
        if announce and data.regions is not None:
            tell(f"{len(data.regions.area_px):,} regions after the filter, in {data.bank.num_images:,} images")
    checkpoint = load_checkpoint(run)
    method = create_method(config, num_steps, with_weights=checkpoint is None)  # a resumed run has its own
    if fabric.is_global_zero and (remark := not_reached_remark(method)):
        say(remark)
    if checkpoint is None and fabric.is_global_zero:
        note_start(run, config.model)
    optimizer = create_optimizer(method, config.optim)
    totals: dict[str, int] = {}
    first_step = 0
    if checkpoint is not None:
        first_step = _restore(checkpoint, method, whole, totals)
    normalisation = normalisation_of(backbone_of(method))
    method, optimizer = set_up(fabric, method, optimizer, config.runtime)
    if checkpoint is not None:  # now that the weights are where and what its state has to be
        optimizer.optimizer.load_state_dict(checkpoint["optimizer"])

    cropper, note = open_cropper(data.bank, fabric.device, config.runtime.bank_on, num_workers(config))
    if note and fabric.is_global_zero:
        tell(note)
    loader = ViewLoader(
        data.planner,
        cropper,
        range(first_step, num_steps),
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )
    monitor = CollapseMonitor()
    measures = Measures(fabric, config, run, data, num_steps)
    measures.begin(backbone_of(method.module, config.exported), first_step)
    with (first := FirstRank(fabric)).alone() as is_here, ExitStack() as opened:
        metrics_log = opened.enter_context(closing(MetricsLog(run, first_step))) if is_here else None
        loggers = opened.enter_context(open_loggers(config, run, first_step)) if is_here else []
        logs = opened.pop_all()
    pending_rows: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
    chance_loss: float | None = None
    last_saved = time.monotonic()
    steps_done = first_step

    def flush() -> None:
        names = [(number, name) for number, (_, tensors) in enumerate(pending_rows) for name in tensors]
        values = mean_over_ranks([pending_rows[number][1][name] for number, name in names])
        rows = [dict(row) for row, _ in pending_rows]
        for (number, name), value in zip(names, values, strict=True):
            if name == "loss" or not math.isnan(value):  # NaN: the batch had no such pairs
                rows[number][name] = value
        pending_rows.clear()
        if metrics_log is not None:
            metrics_log.write(rows)
            log_rows(loggers, rows)
        for row in rows:
            if warning := monitor.check(row["step"], row, chance_loss):
                progress.warn(warning)
        if rows:
            progress.show(rows[-1])

    def save() -> None:
        flush()
        with first.alone() as is_here:
            if is_here:
                _save(run, method, optimizer, config, steps_done, totals)

    bar = TrainingProgress(num_steps, first_step, fabric.is_global_zero)
    with logs, bar as progress, stop_signals() as stop, advice_on_memory(config.runtime):
        step_end = time.perf_counter()
        for plan, crops in loader:
            rate = set_rates(optimizer, schedule_step(plan.step, config.extensions), num_steps, config.optim)
            batch = make_batch(plan, crops, fabric.device, normalisation)
            optimizer.zero_grad()
            torch.manual_seed(layers_seed(config.seed, plan.step, fabric.global_rank))
            with head_alone(method.module, plan.step, config.optim):
                output = backward(fabric, method, batch, config.runtime.micro_batch_size)
            gradient_norm = clip_gradients(fabric, method, optimizer, config.optim)
            chance_loss = output.chance_loss
            if step_optimizer(fabric, optimizer):
                method.module.after_step(plan.step, output.pending)
                follow_weights(method.module, config.optim)

            steps_done = plan.step + 1
            for name, count in plan.counts.items():
                totals[name] = totals.get(name, 0) + count
            row = {"step": plan.step, "epoch": _epoch(plan.step, config, data), "lr": rate}
            row |= plan.counts | _speed(plan, loader, step_end)
            row |= measures.row(steps_done, backbone_of(method.module, config.exported))
            pending_rows.append((row, {"loss": output.loss, "gradient_norm": gradient_norm} | output.metrics))
            if len(pending_rows) == FLUSH_STEPS or fabric.device.type == "cpu":
                flush()
            measures.after(steps_done, backbone_of(method.module, config.exported))
            stopping, saving = agree(
                fabric, plan.step, stop.is_set(), time.monotonic() - last_saved >= config.runtime.checkpoint_every_s
            )
            if stopping or saving:
                save()
                last_saved = time.monotonic()
            if stopping:
                break
            step_end = time.perf_counter()
        else:
            save()
            measures.finish()
    counts = data.counts()
    summary: dict[str, Any] = data.facts() | {"plan_counts": totals}
    summary |= {"steps_done": steps_done, "num_steps": num_steps, "torch": torch.__version__}
    if metrics_log is not None:
        summary = read_json(run / SUMMARY_FILE, {}) | summary | {"errors": data.bank.errors}
        write_json(run / SUMMARY_FILE, summary, sealed=True)
    stopped, speaks = steps_done < num_steps, fabric.is_global_zero
    return PretrainResult(
        run=run, steps_done=steps_done, num_steps=num_steps, stopped=stopped, data_counts=counts, speaks=speaks
    )


def _warn_of_large_batch(config: PretrainConfig, data: TrainingData) -> None:
    size, images = config.optim.global_batch_size, data.bank.num_images
    if size > images:
        remedy = f"give {option_of('global_batch_size')} {images:,} or less" if images > 1 else "add images"
        keeps = getattr(config.method, "same_image_negatives", "keep") == "keep"
        own = ": to a contrastive loss it is its own negative then" if keeps else ""
        say(f"a batch of {size:,} of {images:,} images shows every image more than once{own}; {remedy}")


def _check_same_data(run: Path, data: TrainingData, write: bool) -> None:
    summary = read_json(run / SUMMARY_FILE, {})
    for name, now in data.fingerprints().items():
        known = summary.get(name, now)  # older runs lack some
        if known != now:
            what = "masks of its regions" if name == "masks_fingerprint" else "images or regions"
            raise RunError(
                f"{run} was started on other {what} (fingerprint {known}, now {now}); "
                f"name another {option_of('out')}, or restore the scenes and the region store"
            )
    if write:
        write_json(run / SUMMARY_FILE, summary | data.facts(), sealed=True)


def _restore(
    checkpoint: dict[str, Any], method: torch.nn.Module, config: PretrainConfig, totals: dict[str, int]
) -> int:
    saved = checkpoint.get("config")  # 0.1 saved none; open_run has compared config.json beside it
    if saved is not None and not is_stage_of(read_config(json.loads(saved)), config):
        raise RunError(f"the checkpoint was written under other settings; name another {option_of('out')}")
    method.load_state_dict(checkpoint["method"])
    totals.update(checkpoint["plan_counts"])
    return int(checkpoint["steps_done"])


def _save(
    run: Path, method: Any, optimizer: Any, config: PretrainConfig, steps_done: int, totals: dict[str, int]
) -> None:
    state = {
        "steps_done": steps_done,
        "config": json.dumps(saved_config(config)),
        "method": method.module.state_dict(),
        "optimizer": optimizer.optimizer.state_dict(),
        "plan_counts": dict(totals),
    }
    save_checkpoint(run, state)


def _epoch(step: int, config: PretrainConfig, data: TrainingData) -> float:
    return round((step + 1) * config.optim.global_batch_size / data.bank.num_images, 4)


def _speed(plan: ViewPlan, loader: ViewLoader, step_start: float) -> dict[str, float]:
    """Views a second of all ranks together, whose shares are of one size, and the share of time spent waiting."""
    views = num_ranks() * sum(group.boxes_xyxy.shape[0] * group.boxes_xyxy.shape[1] for group in plan.groups)
    seconds = time.perf_counter() - step_start
    return {"views_per_s": round(views / seconds, 1), "wait_frac": round(loader.last_wait_s / seconds, 4)}
