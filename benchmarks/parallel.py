"""Data-parallel training against one process: N processes of one thread each, the batch of each the same.

    python benchmarks/parallel.py [--processes 2] [--px 64] [--batch 64] [--backbone resnet18] [--steps 12]
        [--repeats 5] [--device cpu] [--precision float32]

Runs `samclr pretrain simclr --num-devices N --num-threads 1 --workers 1` on generated 2048x1024 scenes and takes the
median step after three, of each run; then the median of the repeats, between which the kinds of run take turns.
`linear` is the share of N times one process, with its least and greatest. Beside it what the machine gives the same
processes without any exchange: N runs of one device at once, which share its memory and clock.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from views import KINDS, write_scenes

from samclr.runs.directory import read_metrics

WARM_UP = 3


def start(scenes: Path, out: Path, devices: int, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    """One run of samclr pretrain."""
    command = [
        sys.executable, "-m", "samclr", "pretrain", "simclr", "--scenes", scenes, "--out", out,
        "--backbone", arguments.backbone, "--size-px", arguments.px, "--global-batch-size", arguments.batch * devices,
        "--steps", arguments.steps + WARM_UP, "--num-devices", devices, "--num-threads", 1, "--workers", 1,
        "--device", arguments.device, "--precision", arguments.precision,
    ]  # fmt: skip
    if arguments.backbone.startswith("resnet"):
        command += ["--stem", "conv3x3-stride2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SAMCLR_CACHE": str(out.parent / "cache")}
    return subprocess.Popen([str(word) for word in command], env=environment, stderr=subprocess.PIPE, text=True)


def views_per_s(run: Path) -> float:
    """Of one process, the median step."""
    return median(row["views_per_s"] for row in read_metrics(run)[WARM_UP:])


def finish(processes: list[subprocess.Popen[str]]) -> None:
    """Wait for all; an error ends the benchmark and the rest of them."""
    for process in processes:
        _, errors = process.communicate()
        if process.returncode:
            for other in processes:
                other.kill()
            raise SystemExit(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[2], help="besides one")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64, help="images of each process")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(KINDS["png"], folder / "scenes")
        counts = (1, *arguments.processes)
        together: dict[int, list[float]] = {number: [] for number in counts}
        apart: dict[int, list[float]] = {number: [] for number in counts}
        for repeat in range(arguments.repeats):
            for number in counts:
                outs = [folder / f"apart-{number}-{place}-{repeat}" for place in range(number)]
                finish([start(folder / "scenes", out, 1, arguments) for out in outs])
                apart[number].append(sum(views_per_s(out) for out in outs))
                out = folder / f"together-{number}-{repeat}"
                finish([start(folder / "scenes", out, number, arguments)])
                together[number].append(views_per_s(out))
    print("processes  views/s  linear   least  greatest  of as many runs at once")
    for number in counts:
        speed = median(together[number])
        shares = [many / one / number for many, one in zip(together[number], together[1], strict=True)]
        linear, machine = speed / number / median(together[1]), speed / median(apart[number])
        print(f"{number:9} {speed:8.1f} {linear:7.1%} {min(shares):7.1%} {max(shares):9.1%} {machine:24.1%}")


if __name__ == "__main__":
    main()
