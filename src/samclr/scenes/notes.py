"""What a listing skipped or had to choose, collected and reported once at its end: nothing is dropped silently."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from samclr.errors import name_some
from samclr.log import option_of
from samclr.scenes.refs import PLUGIN_SUFFIXES

# Files that lie beside images and are none; to count them would drown what matters.
COMPANIONS = (
    *(".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".md", ".rst", ".html", ".htm"),
    *(
        ".log",
        ".py",
        ".sh",
        ".ini",
        ".db",
        ".mat",
        ".npy",
        ".npz",
        ".pkl",
        ".pt",
        ".bib",
        ".css",
        ".js",
        ".idx",
        ".xmp",
    ),
)
COMPANION_NAMES = ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "makefile", "checksums")
EXTRA_OF = {"pillow_heif": "samclr[heif]", "pillow_jxl": "samclr[jxl]"}
SHOWN = 8


@dataclass(kw_only=True)
class ListingNotes:
    """Counts of one listing.

    Attributes:
        files: files of folders that are not read, by their suffix.
        members: members of tars that look like images and are not taken, by the reason.
        columns: Parquet files for each column that was taken and those it was preferred to.
        empty: Parquet files without rows.
        num_parquet: Parquet files whose column was looked for.
    """

    files: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)
    columns: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)
    num_parquet: int = 0

    def pass_over(self, names: Iterable[str]) -> None:
        """Count files of a folder that are not read."""
        for name in map(PurePath, names):
            suffix = name.suffix.lower()
            if suffix not in COMPANIONS and (suffix or name.name.lower() not in COMPANION_NAMES):
                self.files[suffix or "without a suffix"] += 1

    def take_column(self, file: str, name: str, others: tuple[str, ...], num_rows: int) -> None:
        """Note a Parquet file's column, and that it has no rows."""
        self.num_parquet += 1
        if not num_rows:
            self.empty.append(file)
        elif others:
            self.columns[name, others] += 1

    def lines(self) -> list[str]:
        """A sentence for each remark."""
        lines = []
        if self.files:
            lines.append(f"{_passed_over(self.files, 'file')}{self._remedy()}")
        if self.members:
            lines.append(_passed_over(self.members, "tar member"))
        for (name, others), count in self.columns.items():
            lines.append(
                f"{_count(count, 'Parquet file')} with several columns that may hold the images: {name} is used, "
                f"not {', '.join(others)}; {option_of('image_column')} names another"
            )
        if self.empty:
            lines.append(f"{_count(len(self.empty), 'Parquet file')} without rows: {name_some(self.empty)}")
        return lines

    def _remedy(self) -> str:
        extras = sorted({EXTRA_OF[PLUGIN_SUFFIXES[s]] for s in self.files if s in PLUGIN_SUFFIXES})
        return f"; to read some of them: pip install {' '.join(extras)}" if extras else ""


def _passed_over(counts: "Counter[str]", what: str) -> str:
    named = [f"{reason} ({count:,})" for reason, count in sorted(counts.items(), key=_largest_first)]
    verb = "was" if counts.total() == 1 else "were"
    return f"{_count(counts.total(), what)} {verb} skipped: {name_some(named, SHOWN)}"


def _largest_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
