"""Which scene an imported entry means: by its whole path, never by its base name; loosened matches are counted."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

LOOSER: dict[str, Callable[[str], str]] = {  # each on top of those above it
    "backslashes read as slashes, a leading ./ dropped": lambda name: PurePosixPath(name.replace("\\", "/")).as_posix(),
    "percent signs decoded": unquote,
    "Unicode normalised": lambda name: unicodedata.normalize("NFC", name),
    "letter case ignored": str.casefold,
}


@dataclass(kw_only=True)
class Matches:
    """scene_of: from an entry's name to its scene. loosened: how many matched only so. The others: names."""

    scene_of: dict[str, str] = field(default_factory=dict)
    loosened: Counter[str] = field(default_factory=Counter)
    unmatched: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    without_prefix: list[str] = field(default_factory=list)


def match_names(
    names: Iterable[str], image_ids: Iterable[str], strip_prefix: str = "", add_prefix: str = ""
) -> Matches:
    """One scene for each name, if exactly one name means it.

    strip_prefix: folders that names may have before the scenes' own paths, as the user states; nothing else is left
    out, since `cam2/1.jpg` is not the scene `1.jpg` of another camera. add_prefix: folders that the scenes' paths have
    before all names, once those are stripped.
    """
    ids, found, open_names = list(image_ids), Matches(), list(names)
    stripped, added = _as_folder(strip_prefix), _as_folder(add_prefix)
    if stripped:
        found.without_prefix = [name for name in open_names if not name.replace("\\", "/").startswith(stripped)]
    taken = set[str]()
    for kind, view in {"": _as_is, **_chained()}.items():
        scenes, wanted = _grouped(ids, view), _grouped(open_names, view, stripped, added)
        open_names = []
        for seen, mine in wanted.items():
            fitting = [scene for scene in scenes.get(seen, []) if scene not in taken]
            if len(fitting) == 1 and len(mine) == 1:
                found.scene_of[mine[0]] = fitting[0]
                found.loosened.update([kind] if kind else [])
            elif fitting:
                found.ambiguous += mine
            else:
                open_names += mine
        taken = set(found.scene_of.values())
    found.unmatched = open_names
    return found


def _as_folder(prefix: str) -> str:
    return prefix.replace("\\", "/").rstrip("/") + "/" if prefix else ""


def _as_is(name: str) -> str:
    return name


def _chained() -> dict[str, Callable[[str], str]]:
    steps = list(LOOSER.items())

    def upto(count: int) -> Callable[[str], str]:
        def view(name: str) -> str:
            for _, step in steps[:count]:
                name = step(name)
            return name

        return view

    return {kind: upto(number) for number, (kind, _) in enumerate(steps, start=1)}


def shared_folder(names: list[str]) -> str:
    """The leading folders that all names have in common, with a slash at the end; empty if there are none."""
    folders = [name.replace("\\", "/").split("/")[:-1] for name in names]
    low, high = min(folders, default=[]), max(folders, default=[])
    count = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return "".join(f"{part}/" for part in low[:count])


def _grouped(
    names: Iterable[str], view: Callable[[str], str], stripped: str = "", added: str = ""
) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        own = name[len(stripped) :] if stripped and name.replace("\\", "/").startswith(stripped) else name
        groups.setdefault(view(added + own), []).append(name)
    return groups
