"""Lists of images: text files with one id a line, as `samclr select` and `samclr duplicates` write them.

An id is that of the image in its scenes: for a folder, the path below it. A list is a source of scenes,
`LIST.txt@SCENES`, or `LIST.txt` alone where its own lines `# scenes: PATH` say of which scenes it is. It also names
what to leave out (`pretrain --exclude`). A path that exists is always that path.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from samclr.errors import ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.refs import SceneRef
from samclr.storage.files import regular, write_text

LIST_SUFFIX = ".txt"
SCENES_LINE = "# scenes: "
_OF_SCENES = re.compile(r"(?P<file>.*?\.txt)@(?P<scenes>.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class SceneList:
    """A list as a source of scenes. scenes: the sources whose images it picks from."""

    file: Path
    scenes: tuple[Path, ...]


def as_list(source: Path) -> SceneList | None:
    """The list that a source names; None if it is another kind of source. The file is read if it says of which scenes.

    Raises:
        ScenesError: there is no such list, or nothing says of which scenes it is.
    """
    if os.path.lexists(source):
        if source.suffix.lower() != LIST_SUFFIX or not source.is_file():
            return None
        scenes = tuple(Path(line.removeprefix(SCENES_LINE)) for line in _lines(source) if line.startswith(SCENES_LINE))
        if not scenes:
            raise ScenesError(
                f"{source} does not say of which scenes it is; type {source}@SCENES, a folder for example"
            )
        if nested := [one for one in scenes if one.suffix.lower() == LIST_SUFFIX or _OF_SCENES.fullmatch(str(one))]:
            raise ScenesError(f"{source} says that it is of {nested[0]}, another list; name its scenes there")
        return SceneList(file=source, scenes=scenes)
    found = _OF_SCENES.fullmatch(str(source))
    return found and SceneList(file=Path(found["file"]), scenes=(Path(found["scenes"]),))


def without_lists(sources: Iterable[Path]) -> list[Path]:
    """The sources, with those that a list picks from in place of each list."""
    found: list[Path] = []
    for source in sources:
        listed = as_list(source)
        found += [source] if listed is None else without_lists(listed.scenes)
    return found


def read_list(path: Path) -> list[str]:
    """The ids that a list names, in its order. Lines that begin with # are remarks; a name in double quotes is JSON.

    Raises:
        ScenesError: it cannot be read, or a quoted line is not JSON.
    """
    found = []
    for number, line in enumerate(_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith('"'):
            try:
                line = json.loads(line)
            except ValueError as error:
                raise ScenesError(f"line {number} of {path} begins with a quote, and is not JSON: {error}") from None
        found.append(line)
    return found


def write_list(path: Path, image_ids: Iterable[str], scenes: Sequence[Path], remark: str) -> None:
    """Write a list that `read_list` gives back and that says of which scenes it is, where these are known."""
    head = [f"# {remark}", *(f"{SCENES_LINE}{source}" for source in without_lists(scenes))]
    write_text(path, "\n".join([*head, *map(_line, image_ids)]) + "\n")


def picked(refs: Sequence[SceneRef], file: Path) -> list[SceneRef]:
    """The scenes that a list names, in their own order. Raises ScenesError if there are none."""
    named = set(read_list(file))
    found = [ref for ref in refs if ref.image_id in named]
    _name_missing(named, refs, file, len(found))
    return found


def left_in(refs: Sequence[SceneRef], file: Path) -> list[SceneRef]:
    """The scenes that a list does not name: all, which is said, where it names nothing, as there are no duplicates.

    Raises:
        ScenesError: it names images, and none of the scenes, or it names all of them.
    """
    named = set(read_list(file))
    if not named:
        say_once(f"{file} names no image: nothing is left out")
        return list(refs)
    found = [ref for ref in refs if ref.image_id not in named]
    _name_missing(named, refs, file, len(refs) - len(found))
    if not found:
        raise ScenesError(f"{file} leaves out all {len(refs):,} scenes")
    return found


def _name_missing(named: set[str], refs: Sequence[SceneRef], file: Path, num_found: int) -> None:
    """Say which names of a list are no scene's, and refuse a list of other scenes."""
    if not named:
        raise ScenesError(f"{file} names no image; expected one id a line")
    if not num_found:
        raise ScenesError(
            f"none of the {len(named):,} names in {file} is one of the {len(refs):,} scenes: it has "
            f"{name_some(sorted(named), 2)}; they have {name_some([ref.image_id for ref in refs[:2]])}"
        )
    if missing := sorted(named - {ref.image_id for ref in refs}):
        are = "name in {0} is no scene's" if len(missing) == 1 else "names in {0} are no scene's"
        say_once(f"{len(missing):,} {are.format(file)}: {name_some(missing)}")


def _lines(path: Path) -> list[str]:
    try:
        text = regular(path).read_bytes().decode("utf-8-sig", "backslashreplace")  # as ids have odd bytes
    except OSError as error:
        raise ScenesError(f"the list {path} cannot be read: {error.strerror or error}") from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _line(image_id: str) -> str:
    plain = image_id.isprintable() and image_id == image_id.strip() and not image_id.startswith(("#", '"'))
    return image_id if plain and image_id else json.dumps(image_id)
