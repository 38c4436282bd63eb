"""The user's cache folder: banks, region indices and features, all of which can be deleted at any time."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """$SAMCLR_CACHE, or the system's folder for caches."""
    return Path(os.environ.get("SAMCLR_CACHE") or platformdirs.user_cache_dir("samclr"))
