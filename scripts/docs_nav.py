"""A hook of mkdocs: a nav entry with a * stands for all pages that match, README first. New pages need no entry."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Expand the entries. Raises ValueError for one that matches nothing."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(entries: list[Any], folder: Path) -> list[Any]:
    pages: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            pages.append({name: _expanded(x, folder) if isinstance(x, list) else x for name, x in entry.items()})
        elif "*" in entry:
            found = sorted(folder.glob(entry), key=lambda path: (path.name != "README.md", path.name))
            if not found:
                raise ValueError(f"nav entry {entry!r} matches no page in {folder}")
            pages.extend(path.relative_to(folder).as_posix() for path in found)
        else:
            pages.append(entry)
    return pages
