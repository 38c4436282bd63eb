"""Progress of training: a bar on the command line's terminal, a remark now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

from samclr.log import remarks_are_shown, say, tell

LINE_EVERY_S = 30.0


def views_rate(least: float, most: float | None = None) -> str:
    """Views a second, or a span of them, with a decimal where they are few: "0.6 to 1.1 views/s"."""
    texts = [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in (least, most) if value is not None]
    return f"{' to '.join(texts)} views/s"


class TrainingProgress:
    """Shows step, loss, views/s and the share of time spent waiting for data; of several ranks, the first does."""

    def __init__(self, num_steps: int, first_step: int, is_shown: bool = True):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._num_steps, self._is_shown = num_steps, is_shown
        self._has_bar = is_shown and remarks_are_shown() and sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("pre-training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._has_bar,
        )
        self._task = self._bar.add_task("", total=num_steps, completed=first_step, state="")
        self._last_line = time.monotonic()

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, row: dict[str, Any]) -> None:
        """Show the latest row of metrics."""
        if not self._is_shown:
            return
        state = f"loss {row['loss']:.3f}  {views_rate(row['views_per_s'])}  waiting {row['wait_frac']:.0%}"
        if "knn_top1" in row:
            state += f"  kNN {row['knn_top1']:.1%}"
        done = row["step"] + 1
        self._bar.update(self._task, completed=done, state=state)
        now = time.monotonic()
        if not self._has_bar and (now - self._last_line > LINE_EVERY_S or done == self._num_steps):
            tell(f"step {done}/{self._num_steps}  {state}")
            self._last_line = now

    def warn(self, text: str) -> None:
        """Say something above the bar."""
        if self._is_shown:
            say(f"warning: {text}")
