"""Worker processes: spawned and stopped together, with an error message when one of them dies."""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from samclr.errors import PartsError
from samclr.log import name_options, options_are_named, remarks_are_shown, show_remarks
from samclr.processes.stopping import Flag, follow


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
    context = get_context("spawn")
    number, threads = context.Value("i", 0), max(1, (os.cpu_count() or 1) // count)
    start = number, threads, stop, remarks_are_shown(), options_are_named()
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=start) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise PartsError(_why_broken(doing, option)) from None
        except BaseException:
            _end_now(pool)
            raise


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


def _why_broken(doing: str, option: str) -> str:
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if script is not None and getattr(main, "__spec__", None) is None and not _is_guarded(script):
        return (
            f"the worker processes could not start: each imports {script} again, which has no "
            f'`if __name__ == "__main__":` around what it runs; add it, or use one worker'
        )
    return (
        f"a worker process died while {doing}, perhaps because memory ran out; what was done is kept: "
        f"rerun the same command with fewer {option}"
    )


def _is_guarded(script: str) -> bool:
    try:
        return "__main__" in Path(script).read_text(errors="replace")
    except OSError:  # an interactive session or a notebook, which workers do not import
        return True


def _end_now(pool: ProcessPoolExecutor) -> None:
    """Wait for no worker: their locks end with them, and files appear whole or not at all."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
