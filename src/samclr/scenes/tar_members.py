"""The members of a tar file, read from its headers: nothing that a header claims is believed without a bound.

tarfile stops in silence at an end mark or a damaged header, and some hostile headers keep it busy for ever; so it reads
single blocks here (`TarInfo.frombuf`), and is the oracle in the tests.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
ZEROS_AT_ONCE = 1 << 20
MAX_EXTRA_BYTES = 1 << 20  # of a long name or a pax header
GNU_SPARSE_MORE, GNU_SPARSE_MORE_IN_EXTENSION = 482, 504  # bytes that tell whether an extension block follows


@dataclass(frozen=True, kw_only=True)
class TarMember:
    """One member. kind: of what cannot be read where it lies, None for a file; span: its first byte and its length."""

    name: str
    kind: str | None
    span: tuple[int, int]


class TarReader:
    """Iterates over the members of all archives in a file, those after an end mark too (`cat a.tar b.tar`).

    Attributes:
        bytes_after_end: bytes after the last end mark that are not a tar.
    """

    def __init__(self, file: IO[bytes]):
        self._file, self._num_bytes = file, file.seek(0, os.SEEK_END)
        self.bytes_after_end = 0

    def __iter__(self) -> Iterator[TarMember]:
        """Folders are left out.

        Raises:
            ValueError: the file ends or a header is damaged before the end mark; what came before has been yielded.
        """
        start = at = 0  # of the archive, of the header
        common: dict[str, str] = {}
        own: dict[str, str] = {}
        while True:
            block = self._read(at, BLOCK)
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                start = at = self._next_archive(block, at, start)
                if not at:
                    return
                common, own = {}, {}
                continue
            data, size = self._data_start(info, at), self._size(info, own.get("size", common.get("size")), at)
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                if info.type == tarfile.GNUTYPE_LONGNAME:
                    own.setdefault("path", _text(self._extra(data, size).split(b"\0")[0]))
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                own |= _pax_records(self._extra(data, size))
            elif info.type == tarfile.XGLTYPE:
                common |= _pax_records(self._extra(data, size))
            else:
                settings, own = common | own, {}
                has_data = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
                size = size if has_data else 0
                if not info.isdir():
                    name = settings.get("GNU.sparse.name") or settings.get("path") or info.name
                    yield TarMember(name=name, kind=_kind(info, settings), span=(data, size))
            at = data + -(-size // BLOCK) * BLOCK
            if data + size > self._num_bytes:
                raise ValueError(f"it ends {data + size - self._num_bytes:,} bytes before its last member does")

    def _read(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        return bytes(self._file.read(length))

    def _next_archive(self, block: bytes, at: int, start: int) -> int:
        """Where the next archive begins, 0 if this was the last; ValueError if `block` is not an end mark."""
        if not block:
            whole = "it ends without an end mark, as an incompletely copied file does"
            raise ValueError(whole if at else "it is empty")
        if block.strip(b"\0"):
            if at == 0 or at != start:
                raise ValueError(f"no header where one should be, at byte {at:,}")
            self.bytes_after_end = self._num_bytes - at  # a signature, or what lay there before
            return 0
        while chunk := self._read(at, ZEROS_AT_ONCE):
            empty = len(chunk) - len(chunk.lstrip(b"\0"))
            if empty < len(chunk):
                return at + empty // BLOCK * BLOCK
            at += len(chunk)
        return 0

    def _data_start(self, info: tarfile.TarInfo, at: int) -> int:
        """After the header, and after the extensions of old GNU sparse files."""
        data = at + BLOCK
        more = info.type == tarfile.GNUTYPE_SPARSE and self._read(at + GNU_SPARSE_MORE, 1) not in (b"", b"\0")
        while more:
            more = self._read(data + GNU_SPARSE_MORE_IN_EXTENSION, 1) not in (b"", b"\0")
            data += BLOCK
        return data

    def _size(self, info: tarfile.TarInfo, stated: str | None, at: int) -> int:
        if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE) or stated is None:
            size = info.size
        else:
            size = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else -1
        if size < 0:
            raise ValueError(f"a header claims {stated or info.size} bytes, at byte {at:,}")
        return size

    def _extra(self, data: int, size: int) -> bytes:
        if size > MAX_EXTRA_BYTES:
            raise ValueError(f"a header claims a name or a list of settings of {size:,} bytes, at byte {data:,}")
        return self._read(data, size)


def _pax_records(extra: bytes) -> dict[str, str]:
    """The settings of a pax header. Raises ValueError if it is damaged."""
    found, at = {}, 0
    while at < len(extra) and extra[at]:
        space = extra.find(b" ", at, at + 10)
        length = int(extra[at:space]) if space > 0 and extra[at:space].isdigit() else 0
        end = at + length
        if not space < end <= len(extra):
            raise ValueError("a pax header is damaged")
        name, _, value = extra[space + 1 : end - 1].partition(b"=")
        found[_text(name)] = _text(value)
        at = end
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _kind(info: tarfile.TarInfo, settings: dict[str, str]) -> str | None:
    if info.islnk() or info.issym():
        return "links"
    if info.type == tarfile.GNUTYPE_SPARSE or any(name.startswith("GNU.sparse.") for name in settings):
        return "sparse files"
    return None if info.isreg() else "neither files nor folders"
