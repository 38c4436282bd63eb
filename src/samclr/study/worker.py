"""The process of one task, a run or a region store of a study.

On this machine it is forked from a server that has imported everything once (`start_task`), or, where the system
offers no such server or its libraries do not bear it (Windows, macOS), begun anew; on a cluster it is
`python -m samclr.study.worker DIR NAME`. Each way it leaves at once when the process that started it is gone.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from samclr.log import name_options, show_remarks
from samclr.study.folder import open_study
from samclr.study.runs import Outcome, carry_out, make_store

START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
STATUS: dict[Outcome, int] = {"done": 0, "failed": 3, "missing": 4, "busy": 75, "stopped": 143}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def carry_out_task(folder: Path, name: str) -> int:
    """Execute a run or make a store; returns the outcome as an exit status. Remarks go to the task's log."""
    show_remarks()
    name_options(False)  # a study's settings stand in its file; few of them are options
    study, plan = open_study(folder)
    try:
        for run in plan.runs():
            if run.name == name:
                return STATUS[carry_out(study, plan, run)]
        (store,) = (store for store in plan.stores if store.name == name)
        return STATUS[make_store(study, plan, store)]
    except KeyboardInterrupt:
        return STATUS["stopped"]


def outcome_of(status: int) -> Outcome:
    """The outcome that an exit status stands for; whatever else ends a process is a failure."""
    return next((outcome for outcome, number in STATUS.items() if number == status), "failed")


def start_task(folder: Path, log: Path, name: str, num_threads: int, gpu: str | None) -> BaseProcess:
    """Start a task's process on this machine; what it says goes to `log`."""
    context: Any = get_context(START_METHOD)
    process: BaseProcess = context.Process(target=_run_task, args=(folder, log, name, gpu))
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(num_threads)))  # read once, when libraries are imported
    try:
        if START_METHOD == "forkserver":
            from multiprocessing import forkserver

            context.set_forkserver_preload(["samclr.study.worker"])
            forkserver.ensure_running()
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return process


def _run_task(folder: Path, log: Path, name: str, gpu: str | None) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches it through its parent alone
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    parent = parent_process()
    assert parent is not None
    _leave_after(parent.join)
    sys.exit(carry_out_task(folder, name))


def start_process(folder: Path, log: Path, name: str, num_threads: int) -> subprocess.Popen[bytes]:
    """Start a task's process from any program, as a Ray task is."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "samclr.study.worker", str(folder), name],
            stdin=subprocess.PIPE,  # never written to: the child leaves when it ends
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(num_threads)),
            start_new_session=True,
        )


def _leave_after(wait: Callable[[], object]) -> None:
    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _leave_after(lambda: os.read(0, 1))  # unbuffered: a lock of sys.stdin would be held at the end
    sys.exit(carry_out_task(Path(sys.argv[1]), sys.argv[2]))
