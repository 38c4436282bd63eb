"""Result rows on disk: which backbone and set a row is of, and files of rows that several processes add to.

A row's identity is its source (a run or file of weights by its real path, else a model's name), whether and from which
seed it is untrained, the set by its images, and the settings. Weights are told by their fingerprint: a row of a run's
earlier weights is replaced when the same is measured anew, marked until then, and never taken for the current ones.
"""

import os
from pathlib import Path
from typing import Any

from samclr.config.serialise import fingerprint
from samclr.errors import FilesError, RunError, SamclrError
from samclr.runs.directory import RESULTS_FILE
from samclr.storage.files import confined, read_json, safe_name, write_json
from samclr.storage.locks import locked

Row = dict[str, Any]
RESULTS_FORMAT = 2  # 1, of samclr 0.1, had no number, and rows without source, seed, step and model
DETAILS_FOLDER = "evaluation"
UNTRAINED = " (untrained)"
IDENTITY = (
    *("source", "untrained", "seed", "model", "on", "task", "settings", "num_train", "num_test"),
    *("train_fingerprint", "test_fingerprint"),
)
IDENTITY_OF_FIRST = ("untrained", "on", "task", "settings", "num_train", "num_test")


def results_place(out: Path | None, run: Path | None) -> Path | None:
    """The file that results are added to: the one named, else the run's, else none. Links are followed.

    Raises:
        RunError: the file cannot take results: it is a folder, or holds something else.
        FilesError: the file is damaged.
    """
    place = out or (run / RESULTS_FILE if run is not None else None)
    if place is None:
        return None
    place = Path(os.path.realpath(place))
    read_rows(place)
    return place


def read_rows(place: Path) -> list[Row]:
    """The rows of a results file of this or an older version; none if there is no such file.

    Raises:
        RunError: it is a folder, holds something else, or is of a newer format. FilesError: it is damaged.
    """
    if place.is_dir():
        raise RunError(f"{place} is a folder; name a file for results, such as {place / RESULTS_FILE}")
    saved = read_json(place, {"results": []})
    rows = saved.get("results") if isinstance(saved, dict) else None
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise RunError(f"{place} does not hold results of samclr; name another file with --out, or move it away")
    number = saved.get("format", 1)
    if not isinstance(number, int) or number > RESULTS_FORMAT:
        raise RunError(f"{place} has the format {number}, this version reads up to {RESULTS_FORMAT}; upgrade samclr")
    return [_completed(row, place) for row in rows]


def add_results(place: Path, row: Row, details: dict[str, Any], source: str | Path) -> None:
    """Add a row to a results file, and its details to a file in evaluation/ beside it, which the row then names.

    source: real path of the run or file, or a model's name. The row of the same identity is replaced; rows of the same
    source's other weights are marked `superseded`. Safe for several processes at once.
    """
    row["source"] = _relative(source, place) if isinstance(source, Path) else source
    key = fingerprint([[row.get(name) for name in IDENTITY], row["backbone_fingerprint"]])
    name = f"{place.stem}-{row['on']}-{row['task']}"
    row["details"] = f"{DETAILS_FOLDER}/{safe_name(name)}-{key}.json"
    with locked(place.parent / DETAILS_FOLDER / f"{safe_name(place.name)}.lock"):
        write_json(place.parent / row["details"], details, sealed=True, indent=None)
        old = read_rows(place)
        kept = [one for one in old if not _same(one, row)]
        for one in kept:
            if _is_of_other_weights(one, row):
                one["superseded"] = True
        write_json(place, {"format": RESULTS_FORMAT, "results": [*kept, row]}, sealed=True)
        _remove_details(place, [one for one in old if _same(one, row)], [*kept, row])


def rows_of_run(run: Path, weights: str | None = None) -> list[Row]:
    """A run's result rows, each with `is_own` (of this run, not of another target that was written here), `untrained`
    and `is_current`: untrained rows, and those of the weights that the run has now.

    weights: their fingerprint; by default that of the newest checkpoint, which is read if there are rows to judge.
    """
    rows = read_rows(Path(os.path.realpath(run / RESULTS_FILE)))
    if weights is None and any(row["source"] == "." and not row["untrained"] for row in rows):
        weights = _weights_of(run)
    for row in rows:
        row["is_own"] = row["source"] == "."
        row["is_current"] = row["untrained"] or not row["is_own"] or row.get("backbone_fingerprint") == weights
    return rows


def _weights_of(run: Path) -> str | None:
    """None where the run has no weights that can be read."""
    from samclr.models.fingerprints import weights_fingerprint
    from samclr.runs.checkpoint import load_backbone

    try:
        return weights_fingerprint(load_backbone(run))
    except SamclrError:
        return None


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("target", "on"))


def _completed(row: Row, place: Path) -> Row:
    """A row of samclr 0.1 has its source and whether it is untrained in its target's name alone.

    In a run's own results.json it is that run's, however its name was spelt.
    """
    if "source" in row:
        return row
    own = place.name == RESULTS_FILE and (place.parent / "config.json").exists()
    name = row["target"].removesuffix(UNTRAINED)
    source = "." if own else os.path.normpath(name)
    return row | {"source": source, "untrained": row["target"].endswith(UNTRAINED)}


def _same(old: Row, new: Row) -> bool:
    if "model" in old:
        return all(old.get(name) == new.get(name) for name in IDENTITY)
    sources = (new["source"], os.path.normpath(new["target"].removesuffix(UNTRAINED)))
    same_seed = not new["untrained"] or old.get("backbone_fingerprint") == new["backbone_fingerprint"]
    return old["source"] in sources and same_seed and all(old.get(name) == new.get(name) for name in IDENTITY_OF_FIRST)


def _is_of_other_weights(old: Row, new: Row) -> bool:
    trained = not old["untrained"] and not new["untrained"]
    gone = old.get("backbone_fingerprint") != new["backbone_fingerprint"]
    return trained and gone and old["source"] == new["source"]


def _relative(path: Path, place: Path) -> str:
    """So that a run may be moved together with its results."""
    real = os.path.realpath(path)
    try:
        return os.path.relpath(real, place.parent).replace(os.sep, "/")
    except ValueError:  # another drive
        return real


def _remove_details(place: Path, replaced: list[Row], kept: list[Row]) -> None:
    named = {row.get("details") for row in kept}
    for row in replaced:
        name = row.get("details")
        if isinstance(name, str) and name not in named and name.startswith(f"{DETAILS_FOLDER}/"):
            try:
                confined(place.parent, name).unlink(missing_ok=True)
            except (FilesError, OSError):  # written by hand, or held open on Windows: it stays
                continue
