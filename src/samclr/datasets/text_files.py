"""Lists and tables of data sets: text files that may be damaged, in another encoding, or something else altogether."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from samclr.errors import ScenesError
from samclr.storage.files import regular


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without its byte order mark.

    Raises:
        ScenesError: it cannot be read, or is not such text.
    """
    try:
        text = regular(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ScenesError(f"{path} is not text in UTF-8; fix or restore it") from None
    except OSError as error:
        raise ScenesError(f"cannot read {path}: {error.strerror or error}") from None
    if "\0" in text:
        raise ScenesError(f"{path} is not a text file; fix or restore it")
    return text


def read_lines(path: Path) -> list[str]:
    """The lines that are not empty, without the space around them. Raises ScenesError as `read_text`."""
    return [stripped for line in read_text(path).splitlines() if (stripped := line.strip())]


def read_rows(path: Path) -> Iterator[list[str]]:
    """The rows of CSV, empty ones too, one after another: tables may be of millions of lines.

    Raises:
        ScenesError: it cannot be read, or is not CSV in UTF-8.
    """
    try:
        with open(regular(path), "rb") as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
            yield from csv.reader(file, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = "a quote that is opened never closes" if "end of data" in str(error) else error
        raise ScenesError(f"cannot read {path}: {why}; expected CSV in UTF-8") from None
