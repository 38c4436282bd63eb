"""Every error a user can cause, as one tree.

    SamclrError            exit status 1
    |-- UsageError         exit status 2: the command itself is wrong
    |-- ConfigError        a setting, or a config.json, is out of its range
    |-- ScenesError        no images, a wrong path, a file that was replaced
    |-- FilesError       a file that cannot be written whole, read back, or locked
    |-- PartsError         a bank or region store that cannot be opened or filled
    |-- RegionError        a region or a label map that cannot be right
    |-- RunError           a run directory that cannot be started, resumed or read
    |-- EvaluationError    a labelled set or a backbone that cannot be measured
    `-- PluginError        a method, segmenter, data set or protocol that cannot be registered

A message says what was given, what was expected, and what to type instead.
"""

import difflib
from collections.abc import Iterable


class SamclrError(Exception):
    """Base of all errors whose message is meant for the user."""


class UsageError(SamclrError):
    """The command line does not make sense as a whole."""


class ConfigError(SamclrError):
    """A setting is out of its range, or a configuration file does not fit this version.

    setting: the name of the one setting that is to blame; where the message begins with it, the command line shows it
        as an option.
    """

    def __init__(self, message: str, setting: str | None = None):
        super().__init__(message)
        self.setting = setting


class ScenesError(SamclrError):
    """The scenes cannot be listed or are not the ones that were packed or segmented."""


class FilesError(SamclrError):
    """A file cannot be written whole, read back, kept inside its folder, or locked."""


class PartsError(SamclrError):
    """A folder of parts (bank, region store) cannot be opened, filled or read."""


class RegionError(SamclrError):
    """A region, a mask or a label map contradicts itself or its image."""


class RunError(SamclrError):
    """A run directory cannot be started, resumed or read."""


class EvaluationError(SamclrError):
    """A labelled set or a backbone cannot be measured."""


class PluginError(SamclrError):
    """A method, segmenter, data set or protocol of another package, or its spec, cannot be used."""


def name_some(names: list[str], limit: int = 5) -> str:
    """Join the first names for a message and count the rest: `a, b and 7 more`."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def one_of(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *before, last = names
    return f"{', '.join(before)} or {last}" if before else last


def did_you_mean(name: str, known: Iterable[str], most: int = 12, otherwise: str = "") -> str:
    """The end of a message about an unknown name: the nearest that are known, else all, if they are at most `most`.

    otherwise: what to do where none of them was meant.
    """
    names = {one.removeprefix("--"): one for one in known}
    near = difflib.get_close_matches(name.removeprefix("--"), names, n=2)
    if near:
        meant = f"; did you mean {one_of(names[one] for one in near)}?"
        return f"{meant} Otherwise {otherwise}" if otherwise else meant
    if otherwise:
        return f"; {otherwise}"
    return f"; expected one of {', '.join(names.values())}" if 0 < len(names) <= most else ""
