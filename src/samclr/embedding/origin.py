"""What a folder of vectors remembers of its making: how scenes and backbone were named, so that both are found again.

It stands beside the manifest, in a file of its own: scenes may move, and the vectors are the same ones.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samclr.config.methods import Weights
from samclr.datasets.names import absolute
from samclr.errors import FilesError, PartsError
from samclr.storage.files import read_json, write_json

ORIGIN = "origin.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How the newest `embed` into a folder named what it worked on.

    Attributes:
        scenes: the sources as they were given. found_at: the same with absolute paths.
        image_column: of Parquet files, where one was named.
        backbone: the target as it was given. backbone_at: with an absolute path, where it was a file or folder.
        untrained, seed, which: of the target, as `open_target` takes them; seed is that of an untrained one.
    """

    scenes: tuple[str, ...] = ()
    found_at: tuple[str, ...] = ()
    image_column: str | None = None
    backbone: str
    backbone_at: str
    untrained: bool = False
    seed: int | None = None
    which: Weights | None = None


def origin_of(
    scenes: Sequence[Path], image_column: str | None, backbone: str, untrained: bool, seed: int | None, which: Any
) -> Origin:
    """What is to be remembered of these."""
    place = Path(backbone)
    return Origin(
        scenes=tuple(map(str, scenes)),
        found_at=tuple(str(absolute(source)) for source in scenes),
        image_column=image_column,
        backbone=backbone,
        backbone_at=str(place.absolute()) if place.exists() else backbone,
        untrained=untrained,
        seed=seed,
        which=which,
    )


def write_origin(folder: Path, origin: Origin) -> None:
    """Remember it, in place of what was remembered before."""
    write_json(folder / ORIGIN, asdict(origin), sealed=True)


def read_origin(folder: Path) -> Origin | None:
    """What a folder remembers; None of one that was made before vectors remembered anything.

    Raises:
        PartsError: the file is damaged.
    """
    path = folder / ORIGIN
    remedy = "remove it: then scenes and backbone are to be named"
    try:
        facts: dict[str, Any] = read_json(path, {}, remedy)
        if not facts:
            return None
        several = {name: tuple(map(str, facts[name])) for name in ("scenes", "found_at")}
        return Origin(**facts | several)
    except FilesError as error:
        raise PartsError(str(error)) from None
    except (KeyError, TypeError) as error:
        raise PartsError(f"{path} is damaged ({error!r}); {remedy}") from None
