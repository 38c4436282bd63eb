"""Files beside the checksums of their release."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def differing(root: Path, files: Sequence[str], md5_of: Mapping[str, str]) -> list[str]:
    """What is wrong with each file whose MD5 sum is not the release's."""
    from torchvision.datasets.utils import check_integrity

    return [
        f"{file} {'differs from the release (MD5)' if (root / file).exists() else 'is missing'}"
        for file in files
        if not check_integrity(root / file, md5_of[file])
    ]
