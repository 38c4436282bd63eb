"""The user's cache folder: banks, region indices and features, all of which can be deleted at any time."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from samclr.errors import UsageError


def cache_folder() -> Path:
    """$SAMCLR_CACHE, or the place this system keeps caches in."""
    return Path(os.environ.get("SAMCLR_CACHE") or platformdirs.user_cache_dir("samclr"))


def default_bank(scenes: Sequence[Path], max_side: int | None) -> Path:
    """One bank for each list of sources and size."""
    key = "\n".join([*(str(path.resolve()) for path in scenes), str(max_side)])
    name = scenes[0].resolve().name or "root"
    return cache_folder() / "banks" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def refuse_inside_scenes(made: Path, scenes: Sequence[Path], flag: str) -> None:
    """Raise UsageError if a folder we write lies in a folder of images, which stays as it is."""
    for source in scenes:
        if made.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{flag} {made} lies inside the scenes {source}; name a folder elsewhere")
