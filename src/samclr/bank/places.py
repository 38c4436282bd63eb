"""Where a bank is kept by default, and where none may be."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from samclr.config.cache import cache_folder
from samclr.config.pretrain import Codec
from samclr.datasets.names import local_folder, short_name, source_key
from samclr.datasets.scene_lists import without_lists
from samclr.errors import UsageError


def default_bank(scenes: Sequence[Path], max_side: int | None, codec: Codec = "raw") -> Path:
    """One bank for each list of sources, size and form."""
    form = [str(max_side)] if codec == "raw" else [str(max_side), codec]
    scenes = without_lists(scenes)  # a part of the scenes shares the bank of all
    key = "\n".join([*(source_key(source) for source in scenes), *form])
    name = re.sub(r'[<>:"|?*\\]', "-", short_name(scenes[0])) or "root"
    return cache_folder() / "banks" / f"{name}-{hashlib.sha256(os.fsencode(key)).hexdigest()[:12]}"


def refuse_inside_scenes(made: Path, scenes: Sequence[Path], flag: str) -> None:
    """Raise UsageError if a folder or file to write is inside a folder of images, which is never written to."""
    for source in without_lists(scenes):
        folder = local_folder(source)
        if folder is not None and made.resolve().is_relative_to(folder):
            raise UsageError(f"{flag} {made} is inside the scenes {source}; name a folder elsewhere")
