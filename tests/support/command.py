"""The command as a user types it."""

import os
import subprocess
import sys

SMALL_FLAGS = (
    *("--backbone", "small-cnn", "--projector-out", "16", "--size-px", "24", "--global-batch-size", "8"),
    *("--min-area-px", "20", "--image-px", "24", "--device", "cpu", "--num-threads", "1", "--workers", "1"),
)


def samclr(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout, env=dict(os.environ))


def command(*arguments: object) -> list[str]:
    """The command line of `samclr ...` in this environment."""
    return [sys.executable, "-m", "samclr", *map(str, arguments)]
