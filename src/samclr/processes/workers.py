"""Worker processes: spawned and stopped together, with an error message when one of them dies."""

import ast
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from samclr.errors import PartsError
from samclr.log import name_options, option_of, options_are_named, remarks_are_shown, say_once, show_remarks
from samclr.processes.stopping import Flag, follow, signals_held

NAME = "samclr-worker"
UNGUARDED_STATUS = 87  # of a worker whose import of the user's script came to what starts workers


class _WorkerProcess(SpawnProcess):
    """A process that knows, from before it imports the user's script, that it is to be a worker."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named | {"name": NAME})

    def start(self) -> None:
        with signals_held():
            super().start()


class _WorkerContext(SpawnContext):
    Process = _WorkerProcess


class _Started:
    as_worker = False


def shared_flag() -> Any:
    """A flag that worker processes see, too."""
    return get_context("spawn").Event()


@contextmanager
def worker_processes(count: int, stop: Flag, doing: str, option: str) -> Iterator[ProcessPoolExecutor]:
    """`count` processes that share the cores and follow `stop`, a `shared_flag`. An error, or a second Ctrl-C, in the
    block ends them at once.

    Raises:
        PartsError: one of them died, or a user's script has no guard around what it runs. `option` gives fewer.
    """
    if current_process().name == NAME and not _Started.as_worker:
        sys.exit(UNGUARDED_STATUS)  # still importing the script; the process that started this one says so
    require_guard(option)
    context = _WorkerContext()
    number, threads = context.Value("i", 0), max(1, (os.cpu_count() or 1) // count)
    start = number, threads, stop, remarks_are_shown(), options_are_named()
    processes: list[BaseProcess] = []
    try:
        with ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=start) as pool:
            try:
                yield pool
            except BrokenProcessPool:
                processes += (pool._processes or {}).values()
                raise
            except BaseException:
                _end_now(pool)
                raise
    except BrokenProcessPool:
        raise PartsError(_why_broken(processes, doing, option)) from None


def require_guard(option: str) -> None:
    """Raise PartsError for a user's script that other processes could not import. `option` gives fewer processes."""
    if (script := _unguarded_script()) is not None:
        raise PartsError(_guard_text(script, option))


def unstated_workers(usual: int) -> int:
    """Processes for work whose user did not say how many: `usual`, but one for a script that they could not import."""
    if usual == 1 or (script := _unguarded_script()) is None:
        return usual
    say_once(
        f'{script} has no `if __name__ == "__main__":` around what it runs, so images are prepared in one process, '
        f"not {usual}; add it, or give {option_of('workers')} 1 to hear no more of it"
    )
    return 1


def end_with_parent() -> None:
    """Leave when the parent was killed; a pool's workers would otherwise wait for work for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start(number: Any, threads: int, stop: Flag, with_remarks: bool, with_options: bool) -> None:
    """Give this process its number, by which it picks a GPU, and its share of the cores; stop with the parent."""
    _Started.as_worker = True
    follow(stop)
    if with_remarks:
        show_remarks()
    name_options(with_options)
    with number.get_lock():
        os.environ["LOCAL_RANK"] = str(number.value)
        number.value += 1
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported
    if (torch := sys.modules.get("torch")) is not None:  # a user's script that imports it at its top already has
        torch.set_num_threads(threads)
    end_with_parent()


def _why_broken(processes: Iterable[BaseProcess], doing: str, option: str) -> str:
    if any(process.exitcode == UNGUARDED_STATUS for process in processes):
        return _guard_text(str(getattr(sys.modules["__main__"], "__file__", "the script")), option)
    return (
        f"a worker process died while {doing}, perhaps because memory ran out; what was done is kept: "
        f"rerun the same command with fewer {option}"
    )


def _guard_text(script: str, option: str) -> str:
    return (
        f"the worker processes could not start: each imports {script} again, which has no "
        f'`if __name__ == "__main__":` around what it runs; add it, or give {option} 1'
    )


def _unguarded_script() -> str | None:
    """The user's script, if workers that import it would come back to this very place."""
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if script is None or getattr(main, "__spec__", None) is not None or hasattr(sys, "ps1"):
        return None  # a notebook, an interactive session, or `python -m`, none of which are imported again
    try:
        tree = ast.parse(Path(script).read_bytes())
    except (OSError, SyntaxError, ValueError):  # not a file of Python, such as the command of a package on Windows
        return None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return None if "__name__" in names else str(script)


def _end_now(pool: ProcessPoolExecutor) -> None:
    """Wait for no worker: their locks end with them, and files appear whole or not at all."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
