"""The lists of a JSON object of any size, element by element, with the place of each in its file.

COCO's annotations of train2017 are 450 MB of JSON, 4 GB once parsed. Read so, a few megabytes are held at a time, and
an element is read again from its place alone.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from samclr.errors import ScenesError

BLOCK = 4 << 20  # bytes read at a time
MAX_ELEMENT = 64 << 20  # bytes of one element, or of one value that is not a list
LONGEST_REST = 3  # of a number that a block ends in, what may follow without being one yet: 2 of 2.5, 2.5 of 2.5e+3
_SPACE = re.compile(r"[ \t\n\r]*")
_BOM = "\xef\xbb\xbf"  # of UTF-8, as Latin-1 shows it


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """One element of a list: the key that the list has, the element parsed, and where its bytes lie."""

    key: str
    value: Any
    offset: int
    length: int


def elements(path: Path) -> Iterator[Element]:
    """The elements of all lists that a file's outermost object holds, in the file's order. Other values are left out.

    Raises:
        ScenesError: the file cannot be read, or is not a JSON object, or ends before it is whole.
    """
    try:
        with path.open("rb") as file:
            yield from _Reader(file, path).lists()
    except OSError as error:
        raise ScenesError(f"cannot read {path}: {error.strerror or error}") from None


class _Reader:
    """Bytes as Latin-1, in which each byte is a character, so that places in the text are places in the file."""

    def __init__(self, file: IO[bytes], path: Path):
        self.file, self.path = file, path
        self.text, self.start, self.at = "", 0, 0  # what is held, where it begins in the file, and how far it is read
        self.is_whole = False
        self.scan = json.JSONDecoder().raw_decode

    def lists(self) -> Iterator[Element]:
        while len(self.text) < len(_BOM) and self._more():
            pass
        self.at = len(_BOM) if self.text.startswith(_BOM) else 0
        self._take("{")
        if self._peek() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise self._fault("has a name that is not a text")
            self._take(":")
            if self._peek() == "[":
                yield from self._list(key)
            else:
                self._value()
            if self._take(",}") == "}":
                break
        if self._peek():
            raise self._fault("has more than one value")

    def _list(self, key: str) -> Iterator[Element]:
        self._take("[")
        if self._peek() == "]":
            self._take("]")
            return
        while True:
            self._peek()
            offset = self.start + self.at
            value = self._value()
            yield Element(key=key, value=value, offset=offset, length=self.start + self.at - offset)
            if self._take(",]") == "]":
                return

    def _peek(self) -> str:
        """The next character that is not white space, "" at the end; none is taken."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def _take(self, expected: str) -> str:
        found = self._peek()
        if not found:
            raise self._fault(f"ends where {' or '.join(expected)} is expected; it was cut short")
        if found not in expected:
            raise self._fault(f"has {found!r} where {' or '.join(expected)} is expected")
        self.at += 1
        return found

    def _value(self) -> Any:
        """The value that begins here. More is read where the text ends within it, or with a number."""
        self._peek()
        while True:
            try:
                value, end = self.scan(self.text, self.at)
            except RecursionError:
                raise self._fault("is nested too deep") from None
            except ValueError as error:
                if len(self.text) - self.at > MAX_ELEMENT:
                    raise self._fault(f"has a value that is not JSON, or larger than {MAX_ELEMENT >> 20} MB") from None
                if not self._more():
                    raise self._fault(f"has a value that is not whole, or not JSON ({error})") from None
                continue
            after = self.text[end : end + LONGEST_REST]
            if len(after) == LONGEST_REST or after.strip("eE+-.") or not self._more():
                read, self.at = self.text[self.at : end], end
                return value if read.isascii() else self._of_bytes(read)

    def _of_bytes(self, read: str) -> Any:
        """A value whose text has bytes above ASCII, which Latin-1 shows as other characters than the file's."""
        try:
            return json.loads(read.encode("latin-1"))
        except ValueError as error:
            raise self._fault(f"has a text that is not UTF-8 ({error})") from None

    def _more(self) -> bool:
        """Read on, and forget what was read before. False at the end of the file."""
        block = b"" if self.is_whole else self.file.read(BLOCK)
        self.is_whole = not block
        self.text, self.start, self.at = self.text[self.at :] + block.decode("latin-1"), self.start + self.at, 0
        return bool(block)

    def _fault(self, what: str) -> ScenesError:
        return ScenesError(f"{self.path} is not a whole JSON object: at byte {self.start + self.at:,} it {what}")
