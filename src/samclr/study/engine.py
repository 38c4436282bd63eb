"""Execute many runs: one process each, as many at a time as there are slots, region stores first where needed."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from samclr.config.registry import PROTOCOLS
from samclr.log import option_of
from samclr.processes.stopping import stop_signals
from samclr.study.folder import StudyFolder
from samclr.study.plan import Plan, Run
from samclr.study.runs import Outcome
from samclr.study.worker import outcome_of, start_task

POLL_S = 0.1
BUSY_S = 5.0  # before a run is asked for again that another process has under way
PATIENCE_S = 60.0  # for processes that were told to stop


class Slots(Protocol):
    """Where tasks run. `count` at a time; `start` gives a handle, `poll` its exit status once it has one."""

    count: int

    def start(self, folder: StudyFolder, name: str, slot: int) -> Any: ...

    def poll(self, handle: Any) -> int | None: ...

    def stop(self, handle: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
class LocalSlots:
    """Processes on this machine. With GPUs each slot has one, with a share of the cores otherwise."""

    count: int
    num_threads: int
    gpus: tuple[str, ...] = ()

    def start(self, folder: StudyFolder, name: str, slot: int) -> BaseProcess:
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        return start_task(folder.path.absolute(), folder.log(name).absolute(), name, self.num_threads, gpu)

    def poll(self, handle: BaseProcess) -> int | None:
        return handle.exitcode

    def stop(self, handle: BaseProcess) -> None:
        handle.terminate()


@dataclass(kw_only=True)
class Tally:
    """Names of runs by outcome, and whether a signal ended the job."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    stopped: bool = False

    def names(self, outcome: Outcome) -> list[str]:
        return [name for name, found in self.outcomes.items() if found == outcome]


@dataclass(kw_only=True)
class _Queue:
    """What is to be done still: runs in order, the stores that they wait for, and moments before which not to ask."""

    folder: StudyFolder
    plan: Plan
    runs: list[Run]
    ready_stores: set[str] = field(default_factory=set)
    not_before: dict[str, float] = field(default_factory=dict)

    def next_task(self, running: Sequence[str]) -> str | None:
        """The first run, or the store that it waits for; while this is made a later run, else help with a store."""
        stores: list[str] = []
        for run in [run for run in self.runs if self.not_before.get(run.name, 0.0) <= time.monotonic()]:
            store = run.arm.store
            if store is None or store in self.ready_stores:
                self.runs.remove(run)
                return run.name
            if store not in running:
                return store
            stores.append(store)
        return stores[0] if stores else None

    def end(self, name: str, outcome: Outcome, tally: Tally) -> None:
        run = next((run for run in self.plan.runs() if run.name == name), None)
        if run is not None:
            if outcome == "busy":
                self.runs.append(run)
                self.not_before[name] = time.monotonic() + BUSY_S
            else:
                tally.outcomes[name] = outcome
        elif outcome == "done":
            self.ready_stores.add(name)
        elif outcome != "stopped":
            for waiting in [run for run in self.runs if run.arm.store == name]:
                self.runs.remove(waiting)
                tally.outcomes[waiting.name] = self._fail_with_store(waiting)

    def _fail_with_store(self, run: Run) -> Outcome:
        store = self.folder.state(run.arm.store or "")
        unavailable = bool(store.get("unavailable"))
        self.folder.update_state(run.name, error=store.get("error"), unavailable=unavailable)
        return "missing" if unavailable else "failed"


def carry_out_all(
    folder: StudyFolder, plan: Plan, runs: Sequence[Run], slots: Slots, say: Callable[[str], None]
) -> Tally:
    """Execute what is not done yet. A failed run does not stop others; SIGTERM and Ctrl-C stop all."""
    tally = Tally(outcomes={run.name: "done" for run in runs if folder.is_done(plan, run)})
    todo = [run for run in runs if run.name not in tally.outcomes]
    tally.outcomes |= {run.name: "missing" for run in todo if run.arm.missing}
    made = {store.name for store in plan.stores if "images" in folder.state(store.name)}
    queue = _Queue(folder=folder, plan=plan, runs=[run for run in todo if not run.arm.missing], ready_stores=made)
    number, total = len(tally.outcomes), len(runs)
    running: dict[int, tuple[str, Any, float]] = {}
    with stop_signals() as stop:
        try:
            while (queue.runs or running) and not stop.is_set():
                for slot in range(slots.count):
                    name = None if slot in running else queue.next_task([task for task, _, _ in running.values()])
                    if name is not None:
                        running[slot] = name, slots.start(folder, name, slot), time.monotonic()
                time.sleep(POLL_S)
                for slot, (name, handle, start) in list(running.items()):
                    status = slots.poll(handle)
                    if status is None:
                        continue
                    del running[slot]
                    outcome = outcome_of(status)
                    if outcome == "failed" and stop.is_set():  # the signal may have reached its process, too
                        outcome = "stopped"
                    if outcome == "failed":
                        _note_death(folder, name, status)
                    queue.end(name, outcome, tally)
                    if outcome != "busy":
                        number += name in tally.outcomes
                        say(_told(folder, plan, name, outcome, f"{number}/{total}", time.monotonic() - start))
        finally:
            tally.stopped = stop.is_set()
            _stop_all(slots, [handle for _, handle, _ in running.values()])
    return tally


def _stop_all(slots: Slots, handles: list[Any]) -> None:
    for handle in handles:
        slots.stop(handle)
    deadline = time.monotonic() + PATIENCE_S
    while any(slots.poll(handle) is None for handle in handles) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _note_death(folder: StudyFolder, name: str, status: int) -> None:
    """A process that could not say why it ended."""
    if not folder.state(name).get("error"):
        words = next((line for line in reversed(read_log_tail(folder.log(name)).splitlines()) if line.strip()), "none")
        how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
        if status == -9:
            how += f", as where memory runs out (then give a smaller {option_of('parallel')}, or smaller batches)"
        text = f"its process {how}; the last line of {folder.log(name)}: {words[:300]}"
        folder.update_state(name, error=text)


def _told(folder: StudyFolder, plan: Plan, name: str, outcome: Outcome, count: str, seconds: float) -> str:
    state = folder.state(name)
    run = next((run for run in plan.runs() if run.name == name), None)
    if outcome in ("failed", "missing"):
        return f"{outcome}: {name}: {state.get('error')}"
    if run is None:
        return f"{outcome}: regions {name}, {seconds:.0f} s"
    results = [result for m in plan.measurements for result in folder.results(run, m)]
    shown = [(result, one) for result in results for one in PROTOCOLS[result.protocol].shown[:1]]
    first = next((f"{r.on} {one.title} {r.scores[one.measure].value:.1%}" for r, one in shown), "")
    return f"{outcome} {count}: {name}, {seconds:.0f} s{f', {first}' if first else ''}"


def read_log_tail(log: Path, num_bytes: int = 2000) -> str:
    """The end of a log."""
    if not log.exists():
        return ""
    with open(log, "rb") as handle:
        handle.seek(max(0, log.stat().st_size - num_bytes))
        return handle.read().decode(errors="replace")


def local_slots(parallel: int | None, num_threads: int | None, num_runs: int, device: str) -> LocalSlots:
    """Slots of this machine: one a GPU, or on the CPU `parallel` with an equal share of the cores each."""
    gpus = visible_gpus() if device in ("auto", "cuda") else ()
    cores = os.cpu_count() or 1
    count = parallel or (len(gpus) if gpus else max(1, min(cores, num_runs)))
    threads = num_threads or max(1, cores // count)
    return LocalSlots(count=count, num_threads=threads, gpus=gpus)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(",")[:count] if named else [str(number) for number in range(count)])
