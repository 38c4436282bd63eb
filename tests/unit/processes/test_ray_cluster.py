"""A cluster whose head is gone is noticed. The real thing, killed midway, is in benchmarks/hostile.py."""

import socket
import time
from types import SimpleNamespace

import pytest

from samclr.errors import PartsError
from samclr.processes import ray_cluster
from samclr.processes.ray_cluster import ClusterWatch


def test_a_head_that_is_silent_is_lost_after_a_while(monkeypatch):
    monkeypatch.setattr(ray_cluster, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(ray_cluster, "LOST_AFTER_S", 0.5)
    head = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{head.getsockname()[1]}"
    ray = SimpleNamespace(get_runtime_context=lambda: SimpleNamespace(gcs_address=address))
    watch = ClusterWatch(ray)
    for _ in range(8):
        time.sleep(0.1)
        watch.check()
    head.close()
    with pytest.raises(PartsError, match=rf"the Ray cluster is lost: its head at {address} has not .*the same command"):
        check_for(watch, 5.0)


def check_for(watch: ClusterWatch, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        watch.check()
