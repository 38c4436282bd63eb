"""Options that several commands share."""

from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from samclr.config.kinds import KINDS, EvaluationKind
from samclr.config.serialise import Settings, Threads

Scenes = Annotated[
    tuple[Path, ...],
    arg(
        help="Folders of images, Parquet files, tar shards, hub:OWNER/NAME, data sets as NAME[:SPLIT]@ROOT "
        "(samclr data list), or parts of these as LIST.txt@SCENES; several are joined.",
        metavar="PATH...",
    ),
]
Column = Annotated[
    str | None,
    arg(help="Column of Parquet files that holds the images; detected by default.", metavar="NAME"),
]
Json = Annotated[bool, FlagCreatePairsOff, arg(help="Print the result as JSON (docs/reference/json.md).")]


def sets_options(
    values: Any, metavar: str, help_of: Callable[[EvaluationKind], str], after: type[Settings] = Settings
) -> Any:
    """A class with the options of `after` and of each kind of sets to measure on, for a command to derive from."""
    options = [
        (kind.setting, Annotated[values, arg(help=help_of(kind), metavar=metavar)], ()) for kind in KINDS.values()
    ]
    return make_dataclass("SetsOptions", options, bases=(after,), frozen=True, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Fill(Settings):
    """Options of the jobs that work through all images."""

    workers: Annotated[Threads | None, arg(help="Worker processes; by default one per core.")] = None
    retry_errors: Annotated[bool, arg(help="Retry images that failed before.")] = False
    replace_changed: Annotated[
        bool, arg(help="Redo the rows of images whose file was replaced, instead of stopping.")
    ] = False
    strict: Annotated[bool, arg(help="End with status 1 if any image failed.")] = False

    def options(self, default_workers: int | None = None, is_last: bool = True) -> Any:
        """As the job takes them. is_last: see FillOptions."""
        import os

        from samclr.scenes.fill import FillOptions

        return FillOptions(
            retry_errors=self.retry_errors,
            replace_changed=self.replace_changed,
            num_workers=self.workers or default_workers or os.cpu_count() or 1,
            is_last=is_last,
        )
