"""What the first rank does alone while the others wait, and what becomes of the others when one rank ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning_fabric import Fabric

from samclr.errors import ConfigError, RunError, SamclrError
from samclr.methods.ranks import num_ranks

LONGEST_WAIT = timedelta(days=30)  # collectives give up after half an hour; measuring on a large set takes longer


class FirstRank:
    """Work of the first rank of a run."""

    def __init__(self, fabric: Fabric, waits_long: bool = False):
        """waits_long: the work may take hours; all ranks say so together."""
        self.is_here = fabric.is_global_zero
        self._group: Any = None  # of all ranks
        if waits_long and num_ranks() > 1:
            self._group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """All ranks enter the block together, and leave it together. Yields whether this rank is the one that works.

        Raises:
            RunError, ConfigError: in the others, with the words of what failed in the first, where it is raised as is.
        """
        failure: Exception | None = None
        try:
            yield self.is_here
        except Exception as error:
            failure = error
        if num_ranks() > 1:
            told = [None if failure is None else _words(failure)]
            dist.broadcast_object_list(told, 0, group=self._group)
            if failure is None and told[0] is not None:
                text, setting = told[0]
                failure = RunError(text) if setting is None else ConfigError(text, setting)
        if failure is not None:
            raise failure


def _words(error: Exception) -> tuple[str, str | None]:
    if isinstance(error, SamclrError):
        return str(error), getattr(error, "setting", None)
    return f"the first rank failed with {type(error).__name__}: {error}", None


@contextmanager
def lost_ranks_are_said() -> Iterator[None]:
    """Turns what torch says when another rank is gone into a RunError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if num_ranks() == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise RunError(
            f"another of the {num_ranks()} ranks has ended, or cannot be reached; its own message says why. Rerun the "
            f"same command to resume ({str(error).splitlines()[0].partition('. ')[0]})"
        ) from None
