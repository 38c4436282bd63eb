"""kNN and linear probe on cached features, beside scikit-learn: seconds and memory for 1e4 to 1e6 features.

    OMP_NUM_THREADS=2 python benchmarks/features.py [--features 10000 100000 1000000] [--width 512] [--tasks knn ...]

Features are generated and mapped from a file, 1,000 classes, 1,000 test features. kNN finds 200 neighbours by cosine
similarity, and scikit-learn's brute-force KNeighborsClassifier does the same; the probe trains for one epoch, swept for
one with a fifth held out and one with all, few labels for one with a tenth. Each is a process of its own; `peak` is the
memory without a file behind it (RssAnon) at most, less what it had before it began. Pages of the mapped file come on
top where the machine has room for them, and leave when it has not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_CLASSES, NUM_TEST, K = 1_000, 1_000, 200
TASKS = ("knn", "scikit-learn's kNN", "probe", "swept", "few labels")


def write_features(path: Path, count: int, width: int, seed: int) -> None:
    """A class's features lie about its centre; written some at a time."""
    centres = np.random.default_rng(0).normal(0, 1, (NUM_CLASSES, width)).astype(np.float32)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (count, width))
    for first in range(0, count, 10_000):
        random = np.random.default_rng((seed, first))
        rows = np.arange(first, min(first + 10_000, count))
        out[rows] = centres[rows % NUM_CLASSES] + random.normal(0, 4, (len(rows), width)).astype(np.float32)
    out.flush()


def rss_anon() -> int:
    """Memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not say what memory is a process's own")


def watched(work: Callable[[], float]) -> dict[str, float]:
    """Seconds and peak bytes of `work`, and what it gives."""
    before, peak, stop = rss_anon(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], rss_anon() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begin
    stop.set()
    watcher.join()
    return {"seconds": seconds, "peak": peak[0], "result": result}


def measure(task: str, train_path: Path, test_path: Path) -> dict[str, float]:
    """One task on mapped features."""
    import torch
    from sklearn.neighbors import KNeighborsClassifier

    from samclr.config import ProbeConfig
    from samclr.evaluation.linear import linear_probe
    from samclr.evaluation.neighbours import knn_predict

    # Copy-on-write, so that torch takes the map; nobody writes.
    train, test = (np.load(path, mmap_mode="c") for path in (train_path, test_path))
    labels, truth = np.arange(len(train)) % NUM_CLASSES, np.arange(len(test)) % NUM_CLASSES
    tensors = [torch.from_numpy(values) for values in (train, labels, test, truth)]

    def knn() -> float:
        return float(
            (knn_predict(tensors[2], tensors[0], tensors[1], NUM_CLASSES, K, 0.1) == tensors[3]).float().mean()
        )

    def probe() -> float:
        return linear_probe(*tensors, NUM_CLASSES, ProbeConfig(probe_epochs=1)).top1[-1]

    def swept() -> float:
        return linear_probe(*tensors, NUM_CLASSES, ProbeConfig(probe_epochs=1, probe_sweep=(0.1,))).top1[-1]

    def few_labels() -> float:
        rows = np.sort(np.random.default_rng(0).permutation(len(train))[: len(train) // 10])
        return linear_probe(*tensors, NUM_CLASSES, ProbeConfig(probe_epochs=1), rows).top1[-1]

    def sklearn_knn() -> float:
        model = KNeighborsClassifier(
            K, weights=lambda distance: np.exp((1 - distance) / 0.1), algorithm="brute", metric="cosine"
        )
        return float(model.fit(train, labels).score(test, truth))

    work = dict(zip(TASKS, (knn, sklearn_knn, probe, swept, few_labels), strict=True))[task]
    return watched(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tasks", nargs="+", default=TASKS[:3], choices=TASKS)
    parser.add_argument("--limit-s", type=float, default=400, help="no peer runs longer")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        task, train, test = arguments.one
        print(json.dumps(measure(task, Path(train), Path(test))))
        return
    print(f"features of {arguments.width}  task                  seconds  peak MB   top-1")
    with tempfile.TemporaryDirectory() as name:
        test = Path(name) / "test.npy"
        write_features(test, NUM_TEST, arguments.width, 1)
        for count in arguments.features:
            train = Path(name) / "train.npy"
            write_features(train, count, arguments.width, 2)
            for task in arguments.tasks:
                command = [sys.executable, __file__, "--one", task, str(train), str(test)]
                try:
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=False, timeout=arguments.limit_s
                    )
                except subprocess.TimeoutExpired:
                    print(f"{count:15,}  {task:20} over {arguments.limit_s:.0f}", flush=True)
                    continue
                if done.returncode:
                    print(f"{count:15,}  {task:20} failed: {done.stderr.strip().splitlines()[-1:]}", flush=True)
                    continue
                found = json.loads(done.stdout)
                row = f"{found['seconds']:8.1f} {found['peak'] / 1e6:8.0f} {found['result']:7.1%}"
                print(f"{count:15,}  {task:20} {row}", flush=True)


if __name__ == "__main__":
    main()
