"""Results: typed in memory, rows on disk, in files that several processes add to.

A result is what one protocol found of one backbone on one set. Its identity is its source (a run or file of weights by
its real path, else a model's name), whether and from which seed it is untrained, the set by its images, the protocol
and its settings. Weights are told by their fingerprint: a result of a run's earlier weights is replaced when the same
is measured again, marked until then, and never taken for the current ones.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from samclr.config.kinds import Kind
from samclr.config.methods import Kept
from samclr.config.serialise import fingerprint
from samclr.errors import FilesError, RunError, SamclrError
from samclr.log import option_of
from samclr.runs.directory import RESULTS_FILE
from samclr.storage.files import confined, read_json, refuse_unwritable, room_for, safe_name, write_json
from samclr.storage.locks import locked

RESULTS_FORMAT = 3  # 1, of samclr 0.1, and 2 had one row of flat keys for all protocols: see old_results
DETAILS_FOLDER = "evaluation"
UNTRAINED, START = " (untrained)", ". (start)"  # the latter is the source of a run's results from before training


@dataclass(frozen=True, kw_only=True)
class Score:
    """A share from 0 to 1; higher is better.

    Attributes:
        value: the share.
        low, high: ends of its 95 % interval over test images; None where there is none.
        n: test images.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int

    @property
    def text(self) -> str:
        """As tables show it: 63.9% (62.9 to 64.8)."""
        interval = "" if self.low is None or self.high is None else f" ({100 * self.low:.1f} to {100 * self.high:.1f})"
        return f"{self.value:.1%}{interval}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one protocol found of one backbone on one set.

    Attributes:
        protocol: its name in the registry of protocols.
        variant: what tells apart a protocol's results, such as k20_t0.07; "" of the main one.
        kind: of the set, by its name in samclr.config.kinds. labelled: a class for each image; dense: for each pixel.
        on: name of the set.
        target: what was measured, as it was given.
        source: the same without ambiguity: a run (`.` for that which the file lies in) or file of weights by its path
            from the results file, else a model's name.
        untrained, seed: whether, and from which seed, the weights are random.
        step: that a run's weights have done, 0 of its start; None of others.
        backbone_fingerprint: of the weights.
        model: the backbone, stem and normalisation; None in files of samclr 0.1.
        scores: by measure.
        settings: all that decided the scores, beside target and set.
        counts: num_train, num_test, num_classes, and what the protocol counts.
        chosen: what the protocol chose by itself, such as a learning rate.
        train_fingerprint, test_fingerprint: of the images and labels.
        samclr: the version that measured.
        details: file, beside the results file, with predictions and each class's share.
        superseded: the source has other weights since.
    """

    protocol: str
    variant: str = ""
    kind: Kind = "labelled"
    on: str
    target: str
    source: str
    untrained: bool
    seed: int | None = None
    step: int | None = None
    backbone_fingerprint: str | None = None
    model: dict[str, Any] | None = None
    scores: dict[str, Score]
    settings: dict[str, Any]
    counts: dict[str, int]
    chosen: dict[str, Any] = field(default_factory=dict)
    train_fingerprint: str | None = None
    test_fingerprint: str | None = None
    samclr: str | None = None
    details: str | None = None
    superseded: bool = False

    @property
    def key(self) -> str:
        """Protocol and variant in one: knn_k20_t0.07. In the details it leads to this result's."""
        return f"{self.protocol}_{self.variant}" if self.variant else self.protocol

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for what is the same measurement, whatever the weights."""
        return (
            *(self.source, self.untrained, self.seed, self.model, *self._of_set),
            *(self.train_fingerprint, self.test_fingerprint),
        )

    @property
    def _of_set(self) -> tuple[Any, ...]:
        """What of the identity is known of rows of samclr 0.1 as well."""
        counts = (self.counts.get("num_train"), self.counts.get("num_test"))
        return self.untrained, self.on, self.protocol, self.variant, self.settings, *counts

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as results.json and `samclr evaluate --json` have them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "Result":
        """What `to_dict` gave. Raises KeyError or TypeError for anything else."""
        unknown = sorted(set(row) - {one.name for one in fields(cls)})
        if unknown:
            raise KeyError(f"the unknown field {unknown[0]!r}")
        return cls(**row | {"scores": {name: Score(**score) for name, score in row["scores"].items()}})


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A result in a run's results.json.

    Attributes:
        result: the result.
        is_own: it is of this run, not of another target that was written here.
        is_current: it is untrained, of the weights that the run has now (of the same `which`), or of its start or
            another target which was not measured with other weights since.
        is_start: it is of the weights that this run began with.
    """

    result: Result
    is_own: bool
    is_current: bool
    is_start: bool = False


def results_place(out: Path | None, run: Path | None) -> Path | None:
    """The file that results are added to: the one named, else the run's, else none. Links are followed.

    Raises:
        RunError: the file cannot take results: it is a folder, or holds something else.
        FilesError: the file is damaged, or cannot be written.
    """
    place = out or (run / RESULTS_FILE if run is not None else None)
    if place is None:
        return None
    place = Path(os.path.realpath(place))
    read_results(place)
    with room_for(place):
        place.parent.mkdir(parents=True, exist_ok=True)  # what cannot be made is said before anything is measured
    for one in (place, place.parent / DETAILS_FOLDER / place.name):
        if one.parent.is_dir():
            refuse_unwritable(one)
    return place


def read_results(place: Path) -> list[Result]:
    """The results in a file of this or an older version; none if there is no such file.

    Raises:
        RunError: it is a folder, holds something else, or is of a newer format. FilesError: it is damaged.
    """
    from samclr.runs.old_results import results_of_row

    if place.is_dir():
        raise RunError(f"{place} is a folder; name a file for results, such as {place / RESULTS_FILE}")
    saved = read_json(place, {"format": RESULTS_FORMAT, "results": []})
    rows = saved.get("results") if isinstance(saved, dict) else None
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise RunError(
            f"{place} does not hold results of samclr; name another file with {option_of('out')}, or move it away"
        )
    number = saved.get("format", 1)
    if not isinstance(number, int) or number > RESULTS_FORMAT:
        raise RunError(f"{place} has the format {number}, this version reads up to {RESULTS_FORMAT}; upgrade samclr")
    if number < RESULTS_FORMAT:
        return [result for row in rows for result in results_of_row(row, place)]
    try:
        return [Result.from_dict(row) for row in rows]
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{place} has a row that is not a result ({error}); restore it, or move it away") from None


def add_results(
    place: Path, results: Sequence[Result], details: dict[str, Any], source: str | Path, which: str | None = None
) -> list[Result]:
    """Add the results of one backbone on one set to a file, and their details to a file in evaluation/ beside it.

    source: real path of the run or file, or a model's name. which: of a run, if these are not the weights that it
    exports: a source of their own. Results of the same identity are replaced; those of the
    same source's other weights are marked `superseded`. Safe for several processes at once. Returns them as they stand.
    """
    first = results[0]
    source = (_relative(source, place) if isinstance(source, Path) else source) + (f" ({which})" if which else "")
    key = fingerprint([[result.identity for result in results], source, first.backbone_fingerprint])
    name = f"{DETAILS_FOLDER}/{safe_name(f'{place.stem}-{first.on}-{first.kind}')}-{key}.json"
    added = [replace(result, source=source, details=name) for result in results]
    with locked(place.parent / DETAILS_FOLDER / f"{safe_name(place.name)}.lock"):
        write_json(place.parent / name, details, sealed=True, indent=None)
        old = read_results(place)
        replaced = [one for one in old if any(_same(one, new) for new in added)]
        kept = [
            replace(one, superseded=True) if any(_is_of_other_weights(one, new) for new in added) else one
            for one in old
            if one not in replaced
        ]
        rows = [result.to_dict() for result in (*kept, *added)]
        write_json(place, {"format": RESULTS_FORMAT, "results": rows}, sealed=True)
        _remove_details(place, replaced, [*kept, *added])
    return added


def results_of_run(run: Path, weights: str | None = None) -> list[RunResult]:
    """The results in a run's results.json, each with whose numbers it holds.

    weights: their fingerprint; by default that of the newest checkpoint, which is read if there are results to judge.
    """
    results = read_results(Path(os.path.realpath(run / RESULTS_FILE)))
    if weights is None and any(result.source == "." and not result.untrained for result in results):
        weights = _weights_of(run)
    sources = {result.source for result in results}
    now = {f". ({which})": which for which in get_args(Kept)}
    present = {".": weights} | {one: _weights_of(run, now[one]) for one in sources & now.keys()}
    found = []
    for result in results:
        is_own, is_start = result.source == ".", result.source == START
        if result.source in present:
            is_current = result.untrained or result.backbone_fingerprint == present[result.source]
        else:
            is_current = not result.superseded
        found.append(RunResult(result=result, is_own=is_own, is_current=is_current, is_start=is_start))
    return found


def _weights_of(run: Path, which: Kept | None = None) -> str | None:
    """None where the run has no such weights that can be read."""
    from samclr.models.fingerprints import weights_fingerprint
    from samclr.runs.checkpoint import load_backbone

    try:
        return weights_fingerprint(load_backbone(run, which))
    except SamclrError:
        return None


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("target", "on"))


def _same(old: Result, new: Result) -> bool:
    if old.model is not None:
        return old.identity == new.identity
    sources = (new.source, os.path.normpath(new.target.removesuffix(UNTRAINED)))
    same_seed = not new.untrained or old.backbone_fingerprint == new.backbone_fingerprint
    return old.source in sources and same_seed and old._of_set == new._of_set


def _is_of_other_weights(old: Result, new: Result) -> bool:
    trained = not old.untrained and not new.untrained
    return trained and old.backbone_fingerprint != new.backbone_fingerprint and old.source == new.source


def _relative(path: Path, place: Path) -> str:
    """So that a run may be moved together with its results."""
    real = os.path.realpath(path)
    try:
        return os.path.relpath(real, place.parent).replace(os.sep, "/")
    except ValueError:  # another drive
        return real


def _remove_details(place: Path, replaced: list[Result], kept: list[Result]) -> None:
    named = {result.details for result in kept}
    for name in {result.details for result in replaced}:
        if name is not None and name not in named and name.startswith(f"{DETAILS_FOLDER}/"):
            try:
                confined(place.parent, name).unlink(missing_ok=True)
            except (FilesError, OSError):  # written by hand, or held open on Windows: it stays
                continue
