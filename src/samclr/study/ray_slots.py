"""`samclr study --engine ray`: a study's tasks on the machines of a Ray cluster that share its folder."""

import signal
from pathlib import Path
from typing import Any

from samclr.processes.ray_cluster import ClusterWatch, join_cluster
from samclr.study.engine import PATIENCE_S
from samclr.study.folder import StudyFolder
from samclr.study.worker import start_process

LOST = 1


class RaySlots:
    """A Ray task for each of ours; it starts the same process as on one machine. A GPU each where there are some.

    Joins the cluster of RAY_ADDRESS, or starts Ray on this machine.
    """

    def __init__(self, parallel: int | None, num_threads: int):
        """Raises UsageError if Ray is not installed, or its cluster cannot be joined."""
        self.ray = ray = join_cluster()
        self._watch = ClusterWatch(ray)
        resources = ray.cluster_resources()
        gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        self.count = parallel or gpus or max(1, cpus // num_threads)
        self.num_threads = num_threads
        self._remote = ray.remote(num_cpus=min(num_threads, cpus), num_gpus=1 if gpus else 0, max_retries=2)(run_child)

    def start(self, folder: StudyFolder, name: str, slot: int) -> Any:
        return self._remote.remote(
            str(folder.path.absolute()), str(folder.log(name).absolute()), name, self.num_threads
        )

    def poll(self, handle: Any) -> int | None:
        self._watch.check()
        ready, _ = self.ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            return int(self.ray.get(handle))
        except self.ray.exceptions.RayError:
            return LOST

    def stop(self, handle: Any) -> None:
        self.ray.cancel(handle)


def run_child(folder: str, log: str, name: str, num_threads: int) -> int:
    """On a machine of the cluster: the task's process, ended with this task."""
    child = start_process(Path(folder), Path(log), name, num_threads)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait(PATIENCE_S)
