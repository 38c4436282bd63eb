"""Which scene an imported entry means: by its whole path, never by its base name; what was loosened is counted."""

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
    """scene_of: from an entry's name to its scene. loosened: how many matched only so. unmatched, ambiguous: names."""

    scene_of: dict[str, str] = field(default_factory=dict)
    loosened: Counter[str] = field(default_factory=Counter)
    unmatched: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


def match_names(names: Iterable[str], image_ids: Iterable[str]) -> Matches:
    """One scene for each name, if exactly one name means it; a leading folder that all names share may be left out."""
    names, ids, found = list(names), list(image_ids), Matches()
    prefix = _shared_folder(names)
    views: dict[str, Callable[[str], str]] = {"": lambda name: name, **_chained()}
    open_names, taken = names, set[str]()
    for without in [0, *(at + 1 for at, letter in enumerate(prefix) if letter == "/")]:
        if found.scene_of or found.ambiguous:
            break
        for kind, view in views.items():
            scenes, wanted = _grouped(ids, view), _grouped(open_names, view, without)
            for seen, mine in wanted.items():
                fitting = [scene for scene in scenes.get(seen, []) if scene not in taken]
                if len(fitting) == 1 and len(mine) == 1:
                    found.scene_of[mine[0]] = fitting[0]
                    taken.add(fitting[0])
                    why = [
                        text for text in (kind, f"the folder {prefix[:without]} left out" if without else "") if text
                    ]
                    found.loosened.update([", ".join(why)] if why else [])
                elif fitting:
                    found.ambiguous += mine
            done = found.scene_of.keys() | set(found.ambiguous)
            open_names = [name for name in open_names if name not in done]
    found.unmatched = open_names
    return found


def _chained() -> dict[str, Callable[[str], str]]:
    steps = list(LOOSER.items())

    def upto(count: int) -> Callable[[str], str]:
        def view(name: str) -> str:
            for _, step in steps[:count]:
                name = step(name)
            return name

        return view

    return {kind: upto(number) for number, (kind, _) in enumerate(steps, start=1)}


def _shared_folder(names: list[str]) -> str:
    folders = [name.replace("\\", "/").split("/")[:-1] for name in names]
    shared = [parts[0] for parts in zip(*folders, strict=False) if len(set(parts)) == 1]
    first = folders[0] if folders else []
    count = next((k for k, part in enumerate(first) if k >= len(shared) or part != shared[k]), len(first))
    return "".join(f"{part}/" for part in first[:count])


def _grouped(names: Iterable[str], view: Callable[[str], str], without: int = 0) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(view(name[without:]), []).append(name)
    return groups
