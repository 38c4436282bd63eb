"""What the search of in-context segmentation costs on one core: python benchmarks/context_search.py MEMORY QUERIES"""

import sys
import time

import torch

from samclr.evaluation.neighbours import BANK_AT_ONCE, nearest_shares

WIDTH, CLASSES = 768, 21


def main(size: int, queries: int) -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    memory = torch.empty(size, WIDTH, dtype=torch.float16)
    for block in memory.split(BANK_AT_ONCE):
        block.copy_(torch.randn(block.shape, generator=random))
    shares = torch.rand(size, CLASSES, generator=random).half()
    patches = torch.randn(queries, WIDTH, generator=random)
    start = time.process_time()
    nearest_shares(patches, memory, shares, 30, 0.02)
    each = 1000 * (time.process_time() - start) / queries
    gigabytes = memory.numel() * 2 / 1e9
    print(f"{size:,} patches of width {WIDTH}, {gigabytes:.2f} GB: {each:.1f} ms of one core a patch")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
