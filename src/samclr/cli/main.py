"""The command line: parse, run, and turn every error into one line and an exit status."""

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from samclr._version import __version__
from samclr.cli.old_words import renewed
from samclr.config.serialise import idle_settings
from samclr.errors import ConfigError, SamclrError, UsageError
from samclr.log import fail, printable_stderr, remarks_on_stderr, say
from samclr.processes.stopping import Stopped
from samclr.storage.files import NO_ROOM, no_room

TORCH_HAS_NO_MEMORY = ("can't allocate memory", "out of memory")
LESS_MEMORY = "give smaller sizes (px), smaller batches or fewer workers"
DESCRIPTION = """Contrastive pre-training on complex scenes, with both views from one segmented region.

Example: samclr segment photos/ --out photos.regions
         samclr pretrain samclr --scenes photos/ --regions photos.regions --out runs/photos
         samclr evaluate runs/photos --on cifar10/
         samclr report runs/photos

`samclr --version` prints the version; --debug, with any command, shows the traceback of an error.
"""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `samclr`. Exit status 0, 1 for a failure, 2 for wrong usage, 143 when stopped by SIGTERM."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    with remarks_on_stderr():
        status = _run(given, debug)
    sys.exit(status)


def _run(given: list[str], debug: bool) -> int:
    """The command's exit status."""
    try:
        if given == ["--version"]:
            print(f"samclr {__version__}", flush=True)
            return 0
        _refuse_empty(given)
        _refuse_old_words(given)
        given = renewed(given)
        with printable_stderr() if not all(map(str.isprintable, given)) else nullcontext():
            try:
                command = _parsed(given or ["--help"])
            finally:
                sys.stdout.flush()  # of --help
        for remark in idle_settings(command, _typed(given)):
            say(remark)
        status: int = command.run()
        sys.stdout.flush()
    except SamclrError as error:
        fail(_with_option(error, given), debug)
        status = 2 if isinstance(error, UsageError | ConfigError) else 1
    except Stopped as stop:
        say(str(stop))
        status = stop.status
    except KeyboardInterrupt:
        say("interrupted; run the same command again to resume")
        status = 130
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        sys.stdout = None
        status = 0
    except OSError as error:
        fail(_of_system(error), debug)
        status = 1
    except Exception as error:  # a fault of ours: still one line, with the way to the rest
        if str(error).startswith("Symlink loop from "):  # pathlib's words before Python 3.13
            fail(f"{error}: a link that leads back to itself", debug)
        elif _is_of_memory(error):
            what = str(error).partition("\n")[0]
            fail(f"out of memory{f' ({what})' if what else ''}; {LESS_MEMORY}", debug)
        else:
            fail(f"unexpected {type(error).__name__}: {error}; run again with --debug for the traceback", debug)
        status = 1
    return status


def _is_of_memory(error: Exception) -> bool:
    """Whether Python, numpy (a MemoryError of its own) or torch could not have the memory that it asked for."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in TORCH_HAS_NO_MEMORY)


def _parsed(given: list[str]) -> Any:
    from samclr.cli.commands import (  # here, as a package that adds to them may be broken
        STYLE,
        Command,
        FromConfig,
        Pretrain,
    )

    options = {"prog": "samclr", "description": DESCRIPTION, "args": given, "config": STYLE}
    if "from-config" not in given:
        return tyro.cli(Command, **options)  # type: ignore[call-overload]
    command, overrides = tyro.cli(Command, return_unknown_args=True, **options)  # type: ignore[call-overload]
    if not overrides:
        return command
    if not (isinstance(command, Pretrain) and isinstance(command.recipe, FromConfig)):
        return tyro.cli(Command, **options)  # type: ignore[call-overload]  # which says what is wrong with them
    return replace(command, recipe=replace(command.recipe, overrides=tuple(overrides)))


def _of_system(error: OSError) -> str:
    if error.errno in NO_ROOM:
        if not error.filename:  # of what is printed: all else is written inside `room_for`
            place = os.path.realpath("/dev/stdout")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # at its end Python would try once more, and print a traceback
        return str(no_room(Path(error.filename or place), error))
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def _refuse_empty(given: list[str]) -> None:
    """An empty word, of a shell variable that is not set for instance, would be taken for the current folder."""
    for before, word in zip(["samclr", *given], given, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            raise UsageError(f"an empty value follows {word.strip() or before}; expected a name, a number or a path")


def _refuse_old_words(given: list[str]) -> None:
    """`samclr study NAME`, as of 0.1, is answered by what it is now."""
    first = (given[1:2] or [""])[0]
    if given[:1] == ["study"] and first and first[0] != "-" and first not in ("list", "run", "status", "page"):
        raise UsageError(f"samclr study {first} is samclr study run {first} since 0.2; list, status and page stay")


def _with_option(error: SamclrError, given: list[str]) -> str:
    """The message; a setting at its start that the user typed as an option is shown as that option."""
    setting = getattr(error, "setting", None)
    if setting is None:
        return str(error)
    shown = f"--{setting.replace('_', '-')}" if setting in _typed(given) else setting
    return shown + str(error).removeprefix(setting)


def _typed(given: list[str]) -> set[str]:
    """Names of the settings that the user typed as options: `--min-area-px=20` is min_area_px."""
    options = {word.partition("=")[0][2:].replace("-", "_") for word in given if word.startswith("--")}
    return options | {name.removeprefix("no_") for name in options}
