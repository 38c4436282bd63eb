"""What needs much memory takes its turn, and what needs more than there is is refused."""

import threading
import time

import pytest

from samclr.processes import memory_share as module
from samclr.processes.memory_share import UNIT, TooLargeError, memory_share


@pytest.fixture(autouse=True)
def four_units(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "machine_memory", lambda: 4 * UNIT / module.SHARE + 1)


@pytest.mark.parametrize(("units", "most"), [(4, 1), (2, 2), (1, 4), (0.5, 6)])
def test_no_more_at_a_time_than_the_share_holds(units, most):
    running, seen = [], []
    start = threading.Barrier(6)

    def work():
        start.wait()
        with memory_share(int(units * UNIT)):
            running.append(1)
            seen.append(len(running))
            time.sleep(0.3)
            running.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert max(seen) == most


def test_more_than_the_share_is_refused():
    with pytest.raises(TooLargeError, match=r"about 2\.68 GB of memory, here at most 2\.15 GB"), memory_share(5 * UNIT):
        pass


def test_a_containers_limit_counts():
    assert 0 < module.machine_memory() <= module.psutil.virtual_memory().total
