"""Damage done to files on purpose."""

from pathlib import Path

import numpy as np


def flip_a_bit(path: Path, random: np.random.Generator, before: bytes | None = None) -> None:
    """Damage a file, or what it was `before`, at a random place."""
    content = bytearray(path.read_bytes() if before is None else before)
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(content)
