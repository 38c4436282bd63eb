"""Ray clusters: joining one, and noticing that it is gone.

A driver whose cluster has lost its head waits, and is ended by Ray after a minute without a word to the user. Jobs
therefore ask now and then whether the head still answers.
"""

import logging
import os
import re
import socket
import time
from typing import Any

from samclr.errors import PartsError, UsageError
from samclr.log import option_of

CHECK_EVERY_S = 5.0
_HOST_AND_PORT = re.compile(r"(ray://)?(?P<host>.+):(?P<port>\d+)")
LOST_AFTER_S = 30.0  # Ray itself ends the process after 60


def join_cluster() -> Any:
    """The module `ray`, joined to the cluster of RAY_ADDRESS, or started on this machine.

    Raises:
        UsageError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(f"{option_of('engine')} ray needs Ray: pip install 'samclr[ray]'") from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            if found := _HOST_AND_PORT.fullmatch(address):  # Ray itself tries an address for minutes
                socket.create_connection((found["host"].strip("[]"), int(found["port"])), CHECK_EVERY_S).close()
            ray.init(logging_level=logging.WARNING)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise UsageError(
                f"cannot join the Ray cluster {address or 'of this machine'} ({type(error).__name__}: {first}); start "
                f"one with `ray start --head`, set RAY_ADDRESS to its address, or unset it to use this machine alone"
            ) from None
    return ray


def has_gpus(ray: Any) -> bool:
    """Whether actors of the joined cluster each take a GPU."""
    return bool(ray.cluster_resources().get("GPU", 0) > 0)


class ClusterWatch:
    """Whether the cluster's head still takes connections; Ray's own calls answer from memory when it is gone."""

    def __init__(self, ray: Any):
        host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
        self._address = host.strip("[]"), int(port)
        self._asked = self._answered = time.monotonic()

    def check(self) -> None:
        """To be called often; asks every few seconds. Raises PartsError if the head was silent for LOST_AFTER_S."""
        now = time.monotonic()
        if now - self._asked < CHECK_EVERY_S:
            return
        try:
            with socket.create_connection(self._address, timeout=CHECK_EVERY_S):
                self._answered = now
        except OSError:
            if now - self._answered > LOST_AFTER_S:
                raise PartsError(
                    f"the Ray cluster is lost: its head at {self._address[0]}:{self._address[1]} has not answered for "
                    f"{now - self._answered:.0f} s; what was done is kept: start the cluster again and rerun the same "
                    f"command to resume"
                ) from None
        self._asked = time.monotonic()
