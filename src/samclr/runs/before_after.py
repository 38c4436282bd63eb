"""What a run was worth before and after: figures measured while it trains, and the weights that it keeps for them.

before-after.json in the run directory holds all of it; the weights of the start and of the best step lie beside it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from samclr.config.methods import Weights
from samclr.config.pretrain import PretrainConfig
from samclr.errors import RunError
from samclr.log import option_of
from samclr.runs.saved import checkpoint_checksum, newest_step, require_teacher
from samclr.storage.files import read_json, remove_if_free, write_bytes, write_json
from samclr.storage.tensors import apart

FILE, FOLDER, FORMAT = "before-after.json", "kept", 1
Part = Literal["validation", "test", "held-out"]
KeptName = Literal["start", "best"]
LONG_KEY = 4  # of `chosen` in older files, with the set's name in second place
_NAME = re.compile(r"(start|best)-(\d{8,})-([0-9a-f]{16})\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure of the weights after some steps.

    Attributes:
        step: steps done; 0 is the start.
        part: of the set: what the best step is chosen on, what the table shows, or the scenes held out.
        on: name of the set.
        images: fingerprint of what was measured on, its settings too.
        figure: its name; title: as tables show it.
        value: a share from 0 to 1 or, where is_share is false, another number.
        n: images.
        answers: for each image the numbers whose sums over images the figure is made of; None where there are none.
    """

    step: int
    part: Part
    on: str
    images: str
    figure: str
    title: str
    value: float
    n: int
    is_share: bool = True
    answers: list[list[float]] | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[int, str, str, str]:
        """Equal for what would be measured twice, whatever its set is called."""
        return self.step, self.part, self.images, self.figure


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A line of the table. Gains are of the end, or of the best step, over the start: (gain, low, high)."""

    on: str
    title: str
    n: int
    is_share: bool
    start: float
    end: float
    best: float | None = None
    end_gain: tuple[float, float | None, float | None]
    best_gain: tuple[float, float | None, float | None] | None = None

    def cells(self, best_step: int | None) -> dict[str, str]:
        """As tables show it."""
        cells = {
            "measured on": self.on,
            "figure": self.title,
            "images": f"{self.n:,}",
            "start": self._shown(self.start),
        }
        cells |= {"end": self._shown(self.end), "end over start": self._gained(self.end_gain)}
        if best_step is not None:
            cells["best"] = "" if self.best is None else self._shown(self.best)
            cells["best over start"] = "" if self.best_gain is None else self._gained(self.best_gain)
        return cells

    def _shown(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.is_share else f"{abs(round(value, 9)):.3g}"

    def _gained(self, gain: tuple[float, float | None, float | None]) -> str:
        value, low, high = gain
        scale, digits = (100, "+.1f") if self.is_share else (1, "+.3g")
        ends = "" if low is None or high is None else f" ({scale * low:{digits}} to {scale * high:{digits}})"
        return f"{scale * value:{digits}}{ends}"


@dataclass(kw_only=True)
class BeforeAfter:
    """What before-after.json holds.

    Attributes:
        settings: fingerprint of the run's settings and scenes, but for its length.
        rows: all that was measured.
        chosen_by: the figure that the best step is chosen by, in words; None where none is.
        chosen: the same as the key of its measurements has it; None in files of before it was noted.
        best_step: steps done when it was best.
        table: the comparison at the end; empty before it.
        end_step: steps of the table's end.
    """

    settings: str
    rows: list[Measurement] = field(default_factory=list)
    chosen_by: str | None = None
    chosen: list[str] | None = None
    best_step: int | None = None
    table: list[Compared] = field(default_factory=list)
    end_step: int | None = None

    def write(self, run: Path) -> None:
        """In one move, with a checksum."""
        write_json(run / FILE, {"format": FORMAT} | asdict(self), sealed=True, indent=None)

    def cells(self) -> list[dict[str, str]]:
        """The table's lines as text."""
        return [line.cells(self.best_step) for line in self.table]

    def sentence(self) -> str:
        """What the end, or the best step where that is another one, gained over the start and what it forgot.

        Where the start is the best, it says so, and speaks of the end.
        """
        is_best = self.best_step not in (None, 0, self.end_step)
        what = f"The best step, {self.best_step:,}," if is_best else f"The end, step {self.end_step:,},"
        if self.best_step == 0:
            what = f"No step was better than the start. {what}"
        gained: list[str] = []
        forgotten: list[str] = []
        kept: list[str] = []
        for line in self.table:
            gain = line.best_gain if is_best else line.end_gain
            if gain is None or not line.is_share or line.on == HELD_OUT:
                continue
            if abs(gain[0]) < LEAST_SHOWN:
                kept.append(f"{line.title} on {line.on}")
            else:
                (forgotten if gain[0] < 0 else gained).append(_words(line, gain))
        if not (gained or forgotten or kept):
            return ""
        parts = [
            f"has {verb} {' and '.join(some)}"
            for verb, some in (("gained", gained), ("forgotten", forgotten), ("kept", kept))
            if some
        ]
        return f"{what} {' and '.join(parts)}, against its start."

    def caption(self) -> str:
        """How the best step was chosen, in words; empty where none was."""
        return "" if self.best_step is None else f"Best step: {self.best_step:,}, by {self.chosen_by}."


HELD_OUT = "scenes held out"
LEAST_SHOWN = 0.0005  # less is 0.0 points


def _words(line: Compared, gain: tuple[float, float | None, float | None]) -> str:
    value, low, high = gain
    sign = -1 if value < 0 else 1
    notes = ""
    if low is not None and high is not None:
        first, second = sorted((100 * sign * low + 0.0, 100 * sign * high + 0.0))  # no -0.0
        notes = f" ({first:.1f} to {second:.1f}{', not told apart' if low <= 0 <= high else ''})"
    return f"{100 * abs(value):.1f} points of {line.title} on {line.on}{notes}"


def read_before_after(run: Path) -> BeforeAfter | None:
    """What a run measured; None if it measured nothing.

    Raises:
        FilesError: the file is damaged. RunError: it is of a newer format, or not such a file.
    """
    saved: dict[str, Any] = read_json(run / FILE, {}, "remove it to measure again")
    if not saved:
        return None
    if saved.pop("format", None) != FORMAT:
        raise RunError(f"{run / FILE} has another format than {FORMAT}, which this version reads; upgrade samclr")
    try:
        saved["rows"] = [Measurement(**row) for row in saved["rows"]]
        if len(saved.get("chosen") or ()) == LONG_KEY:
            del saved["chosen"][1]
        saved["table"] = [Compared(**line | _gains(line)) for line in saved["table"]]
        return BeforeAfter(**saved)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{run / FILE} does not hold measurements ({error}); remove it to measure again") from None


def _gains(line: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {name: line[name] and tuple(line[name]) for name in ("end_gain", "best_gain")}


def keep_weights(run: Path, name: KeptName, step: int, weights: Mapping[str, Any]) -> None:
    """Add a backbone's weights to the run in one move. The file's name holds its step and its checksum."""
    from safetensors.torch import save  # here, as torch takes a while to import

    content = save(apart(weights))
    write_bytes(run / FOLDER / f"{name}-{step:08d}-{checkpoint_checksum(content)}.safetensors", content)


def forget_weights(run: Path, name: KeptName, but: int | None = None) -> None:
    """Remove kept weights but those of one step."""
    for path, step in _kept(run, name):
        if step != but:
            remove_if_free(path)


def kept_weights(run: Path, name: KeptName) -> dict[str, Any] | None:
    """The backbone's weights at the run's start, or at its best step; None where the run keeps none.

    Raises:
        RunError: the file is damaged.
    """
    from safetensors.torch import load

    best = None
    if name == "best":
        found = read_before_after(run)
        if found is None or found.best_step is None:
            return None
        best = found.best_step
    for path, step in _kept(run, name):
        if best is None or step == best:
            content = path.read_bytes()
            if checkpoint_checksum(content) != path.stem.split("-")[2]:
                raise RunError(f"{path} is damaged; restore it, or take other weights with {option_of('which')}")
            return load(content)
    return None


def require_weights(run: Path, config: PretrainConfig, which: Weights | None) -> None:
    """Raise RunError if the teacher of a run is asked for that has none, or the best step of one that knows none."""
    require_teacher(run, config, which)
    found = read_before_after(run) if which == "best" else None
    if which == "best" and (found is None or found.best_step is None):
        raise RunError(
            f"{run} has no best step: it was measured on no set while it trained "
            f"({option_of('knn_on')}, {option_of('dense_on')})"
        )


def steps_of(run: Path, which: Weights | None) -> int | None:
    """Steps done by a run's weights; None where it does not say."""
    if which == "start":
        return 0
    if which == "best":
        found = read_before_after(run)
        return None if found is None else found.best_step
    return newest_step(run)


def _kept(run: Path, name: KeptName) -> Sequence[tuple[Path, int]]:
    found = [(path, _NAME.fullmatch(path.name)) for path in sorted((run / FOLDER).glob(f"{name}-*.safetensors"))]
    return [(path, int(match[2])) for path, match in found if match]
