"""The commands about data sets: which are known, and whether a copy is complete.

Each imports what it needs when it runs, so that --help is instant.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg, subcommand

from samclr.cli.options import Json
from samclr.config.serialise import Settings
from samclr.datasets.catalogue import DATASETS, DataSetSpec
from samclr.datasets.names import DATA_VARIABLE
from samclr.log import say, show, show_json, show_table

SetName = str
if not TYPE_CHECKING:
    SetName = Literal[tuple(DATASETS)]
FETCHED = ", ".join(name for name, data_set in DATASETS.items() if data_set.download is not None)


@dataclass(frozen=True, kw_only=True)
class ListSets(Settings):
    """List the data sets known by name: splits and uses; with --json also layouts, terms and sources.

    --scenes takes NAME@ROOT, or NAME:SPLIT@ROOT for another split than the one marked *.

    Example: samclr data list
    """

    json: Json = False

    def run(self) -> int:
        """Run the command."""
        sets = list(DATASETS.values())
        if self.json:
            show_json({"data_sets": [_facts(one) for one in sets]})
        else:
            rows = [{"name": one.name, "splits": _splits(one), "for": ", ".join(one.uses)} for one in sets]
            show_table("data sets (* the split that NAME@ROOT means)", rows)
        return 0


def _splits(data_set: DataSetSpec) -> str:
    marked = [(one.name + "*" * (one.name == data_set.scene_split), one.num_images) for one in data_set.splits]
    return ", ".join(f"{name} {count:,}" for name, count in marked)


def _facts(data_set: DataSetSpec) -> dict[str, Any]:
    splits = [{"split": one.name, "num_images": one.num_images} for one in data_set.splits]
    told = {"layout": data_set.layout, "terms": data_set.terms, "got_at": data_set.got_at}
    return {
        "name": data_set.name,
        "splits": splits,
        "scene_split": data_set.scene_split,
        "uses": data_set.uses,
        **told,
    }


@dataclass(frozen=True, kw_only=True)
class Check(Settings):
    """Compare a copy of a data set with its release: counts, label maps, sizes on a sample, known checksums.

    Ends with status 1 if it is not complete, and says what is missing and where to get it.

    Example: samclr data check cityscapes --root data/cityscapes
    """

    name: Annotated[Positional[SetName], arg(help="A data set of `samclr data list`.")]
    root: Annotated[Path | None, arg(help="Folder that holds the set; by default looked up in $SAMCLR_DATA.")] = None
    download: Annotated[bool, arg(help=f"Download it into --root first ({FETCHED}).")] = False
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.datasets.check import check_set
        from samclr.errors import UsageError

        data_set, variable = DATASETS[self.name], os.environ.get(DATA_VARIABLE)
        if self.root is None and variable is None:
            raise UsageError(f"no folder is given for {self.name}: add --root DIR, or set ${DATA_VARIABLE}")
        if self.download:
            from samclr.datasets.download import download

            download(data_set, self.root or Path(str(variable)))
        found = check_set(data_set, self.root)
        rows = [
            {"split": one.split, "images": one.images, "expected": one.expected, "labels": one.labels}
            | {"state": one.state}
            for one in found.splits
        ]
        faults = [*found.faults, *(f"{one.split}: {fault}" for one in found.splits for fault in one.faults)]
        if self.json:
            names = {"images": "num_images", "expected": "num_expected", "labels": "num_labels"}
            facts: dict[str, Any] = {"name": self.name, "root": found.root}
            splits = [{names.get(name, name): value for name, value in row.items()} for row in rows]
            facts |= {"is_complete": found.complete, "splits": splits, "faults": faults, "got_at": data_set.got_at}
            show_json(facts)
            return 0 if found.complete else 1
        if rows:
            show_table(f"{data_set.title} in {found.root}", rows)
        for fault in faults:
            show(f"  {fault}")
        if found.complete:
            say(f"complete: {data_set.title}")
            return 0
        say(f"incomplete: {data_set.title}, layout {data_set.layout}; get it from: {data_set.got_at}")
        if data_set.download is not None:
            say(f"samclr data check {self.name} --root DIR --download fetches it")
        return 1


@dataclass(frozen=True, kw_only=True)
class Data(Settings):
    """List the known data sets, or check a copy of one.

    Example: samclr data check camvid --root data/camvid
    """

    command: Annotated[
        Annotated[ListSets, subcommand("list")] | Annotated[Check, subcommand("check")],
        arg(name=""),
    ]

    def run(self) -> int:
        """Run the command."""
        return self.command.run()
