"""How many threads computations take."""

import os


def num_threads() -> int:
    """As OMP_NUM_THREADS has it, which may list one number a level of nesting (4,2); else one a core."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else os.cpu_count() or 1
