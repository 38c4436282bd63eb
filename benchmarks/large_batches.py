"""Peak memory and time of one SimCLR step, whole and in micro-batches (gradient caching).

    python benchmarks/large_batches.py [--batch 256 1024 4096 8192] [--micro 256] [--whole-up-to 1024]

ResNet-18 with the conv3x3-stride2 stem, 32 px, random views. Each case runs in a process of its own, so that its peak
(resident memory on the CPU, allocated memory on CUDA) is its own; what the process holds before the step is taken off.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import torch

from samclr.config.pretrain import ModelConfig, OptimConfig
from samclr.config.recipes import RECIPES
from samclr.methods.create import create_method
from samclr.training.devices import create_fabric, set_up
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer
from samclr.views.batch import ViewBatch, ViewGroupBatch

VIEW_PX = 32


def one_step(batch_size: int, micro: int | None) -> dict[str, float]:
    """Peak bytes beyond what was there before, and seconds."""
    config = replace(
        RECIPES["simclr"].config,
        model=ModelConfig(backbone="resnet18", stem="conv3x3-stride2"),
        optim=OptimConfig(global_batch_size=batch_size),
    )
    fabric = create_fabric(config)
    method = create_method(config, 1)
    method, optimizer = set_up(fabric, method, create_optimizer(method, config.optim), config.runtime)
    pixels = torch.randn(batch_size, 2, 3, VIEW_PX, VIEW_PX, device=fabric.device)
    group = ViewGroupBatch(role="global", pixels=pixels, boxes_xyxy=torch.zeros(batch_size, 2, 4, dtype=torch.long))
    rows = torch.arange(batch_size)
    cuda = fabric.device.type == "cuda"
    before = torch.cuda.memory_allocated() if cuda else psutil.Process().memory_info().rss
    start = time.perf_counter()
    backward(fabric, method, ViewBatch(step=1, groups=(group,), image_index=rows, region_index=rows), micro)
    optimizer.step()
    if cuda:
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_bytes": peak - before, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096, 8192])
    parser.add_argument("--micro", type=int, default=256)
    parser.add_argument("--whole-up-to", type=int, default=1024, help="largest batch that is also tried in one piece")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        batch_size, micro = arguments.one
        print(json.dumps(one_step(batch_size, micro or None)))
        return
    print(f"batch  one piece, GB / s   micro-batches of {arguments.micro}, GB / s")
    for batch_size in arguments.batch:
        cells = []
        for micro in (0, arguments.micro):
            if micro == 0 and batch_size > arguments.whole_up_to:
                cells.append("not tried")
                continue
            command = [sys.executable, "-W", "ignore", __file__, "--one", str(batch_size), str(micro)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                cells.append(f"failed: {done.stderr.strip().splitlines()[-1:]}")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            cells.append(f"{found['peak_bytes'] / 1e9:.2f} / {found['seconds']:.1f}")
        print(f"{batch_size:5}  {cells[0]:20} {cells[1]}", flush=True)


if __name__ == "__main__":
    main()
