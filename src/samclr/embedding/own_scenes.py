"""The scenes that vectors were made of, by what was named or by what the vectors remember."""

from collections.abc import Sequence
from pathlib import Path

from samclr.datasets.sources import list_scenes, refuse_missing
from samclr.embedding.vectors import Vectors
from samclr.errors import ScenesError, UsageError, name_some
from samclr.log import option_of, say, tell
from samclr.scenes.refs import SceneRef

Sources = tuple[tuple[Path, ...], str | None]  # and the column of Parquet files


def scenes_of(
    vectors: Vectors, named: Sequence[Path], image_column: str | None, what_for: str, remedy: str | None = None
) -> Sources:
    """The scenes that were named, else those that the vectors remember, which is told.

    what_for: why they are needed, as the message says it. remedy: how to name them, where no option does.

    Raises:
        UsageError: none were named, and the vectors remember none. ScenesError: they are not where they were.
    """
    if named:
        return tuple(named), image_column
    origin, remedy = vectors.origin, remedy or f"name them with {option_of('scenes')}"
    if origin is None or not origin.scenes:
        raise UsageError(f"{what_for}, and {vectors.path} does not remember its scenes; {remedy}")
    found_at = tuple(map(Path, origin.found_at))
    try:
        refuse_missing(found_at)
    except ScenesError as error:
        raise ScenesError(f"{_moved(vectors, error)}; {remedy}") from None
    tell(f"scenes: {name_some(list(origin.scenes))}, as {vectors.path} remembers them")
    return found_at, origin.image_column


def scenes_if_there(vectors: Vectors, named: Sequence[Path]) -> tuple[Path, ...]:
    """Likewise where it goes without: none if the vectors remember none, or, said, if those are not there."""
    origin = vectors.origin
    if named or origin is None:
        return tuple(named)
    found_at = tuple(map(Path, origin.found_at))
    try:
        if found_at:
            refuse_missing(found_at)
    except ScenesError as error:
        say(_moved(vectors, error))
        return ()
    return found_at


def refs_of(
    vectors: Vectors, named: Sequence[Path], image_column: str | None, what_for: str
) -> tuple[tuple[Path, ...], list[SceneRef]]:
    """As `scenes_of`, and their images."""
    scenes, column = scenes_of(vectors, named, image_column, what_for)
    return scenes, list_scenes(scenes, column)


def _moved(vectors: Vectors, error: ScenesError) -> str:
    origin = vectors.origin
    given = "" if origin is None else name_some(list(origin.scenes))
    return f"the scenes that {vectors.path} was made of, {given}, are not there now: {str(error).partition(';')[0]}"
