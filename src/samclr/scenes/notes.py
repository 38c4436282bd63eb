"""What a listing skipped or had to choose, collected and reported once at its end: nothing is dropped silently."""

import re
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
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?\.parquet", re.S)  # as Hugging Face's datasets call them
SHOWN = 8


@dataclass(kw_only=True)
class ListingNotes:
    """Counts of one listing.

    Attributes:
        files: files of folders that are not read, by their suffix.
        members: members of tars that look like images and are not taken, by the reason.
        columns: Parquet files for each column that was taken and those it was preferred to.
        empty: Parquet files without rows.
        shards: the numbers of Parquet files called NAME-00000-of-00002.parquet, by their name and how many there are.
        num_parquet: Parquet files whose column was looked for.
    """

    files: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)
    columns: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)
    shards: dict[tuple[str, int], set[int]] = field(default_factory=dict)
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
        if shard := SHARD.fullmatch(file):
            self.shards.setdefault((shard[1], int(shard[3])), set()).add(int(shard[2]))
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
        for (name, count), there in self.shards.items():
            if missing := [f"{name}-{k:05d}-of-{count:05d}.parquet" for k in range(count) if k not in there]:
                lines.append(
                    f"{len(missing):,} of {count:,} Parquet files of one set are missing: {name_some(missing)}"
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
