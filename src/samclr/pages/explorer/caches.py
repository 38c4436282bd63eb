"""What the server keeps in memory, each with a limit in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps what was made, the least recently used leave first once `limit_bytes` are exceeded."""

    def __init__(self, limit_bytes: int, size_of: Callable[[Value], int]):
        """size_of: bytes that a value takes."""
        self.limit_bytes, self.num_bytes = limit_bytes, 0
        self._size_of, self._kept, self._lock = size_of, OrderedDict[Hashable, Value](), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there. Two threads may make the same one at a time."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value
                self.num_bytes += self._size_of(value)
            while self.num_bytes > self.limit_bytes and self._kept:
                self.num_bytes -= self._size_of(self._kept.popitem(last=False)[1])
        return value


class Kept:
    """The results asked for last. One is made at a time, so that requests for the same one wait for it."""

    def __init__(self, most: int):
        """most: results that are kept."""
        self._most, self._found, self._making = most, OrderedDict[Hashable, Any](), threading.RLock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result of a key, made if it is not there."""
        with self._making:
            if key not in self._found:
                self._found[key] = make()
                while len(self._found) > self._most:
                    self._found.popitem(last=False)
            self._found.move_to_end(key)
            return self._found[key]
