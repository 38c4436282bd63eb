"""The process of one task: `python -m samclr.study.worker DIR NAME`, NAME a run or a region store of the study.

It leaves at once when the process that started it is gone: its standard input, a pipe, ends then.
"""

import os
import sys
import threading
from pathlib import Path

from samclr.study.folder import open_study
from samclr.study.runs import Outcome, carry_out, make_store

STATUS: dict[Outcome, int] = {"done": 0, "failed": 3, "missing": 4, "busy": 75, "stopped": 143}


def main(arguments: list[str]) -> int:
    """Carry out the task and return its outcome as an exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder, plan = open_study(Path(arguments[0]))
    for run in plan.runs():
        if run.name == arguments[1]:
            return STATUS[carry_out(folder, plan, run)]
    (store,) = (store for store in plan.stores if store.name == arguments[1])
    return STATUS[make_store(folder, plan, store)]


def outcome_of(status: int) -> Outcome:
    """The outcome that an exit status tells; whatever else ends a process is a failure."""
    return next((outcome for outcome, number in STATUS.items() if number == status), "failed")


def _end_with_parent() -> None:
    while os.read(0, 1):  # unbuffered: a lock of sys.stdin would be held at the end
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
