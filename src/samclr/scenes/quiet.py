"""Silence for what Pillow remarks on odd metadata, in as many threads as there are."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

EVERYWHERE = "(?:)"  # a pattern that fits any module, by which this filter is told from the user's own
_LOCK = threading.Lock()


class _Inside:
    """How many threads are in the block, and the lists that have the filter: `catch_warnings` makes a new one."""

    count = 0
    filters: ClassVar[list[Any]] = []


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """No warning is shown in the block, nor is one an error; once no thread is in such a block, all are as before.

    `warnings.catch_warnings` puts back the filters that it found, which in a thread may be another thread's.
    """
    with _LOCK:
        warnings.filterwarnings("ignore", module=EVERYWHERE)
        own = warnings.filters[0]
        _Inside.count += 1
        _Inside.filters.append(warnings.filters)
    try:
        yield
    finally:
        with _LOCK:
            _Inside.count -= 1
            if _Inside.count == 0:
                for filters in (*_Inside.filters, warnings.filters):
                    while own in filters:
                        filters.remove(own)
                _Inside.filters.clear()
