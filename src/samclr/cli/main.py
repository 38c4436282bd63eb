"""The command line: parse, run, and turn every error into one line and an exit status."""

import errno
import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from samclr._version import __version__
from samclr.cli.help import help_text
from samclr.cli.old_words import renewed
from samclr.cli.parse import MistypedError, parsed
from samclr.cli.tree import Node, follow
from samclr.config.serialise import empty_settings, idle_settings
from samclr.errors import ConfigError, SamclrError, UsageError
from samclr.log import fail, printable_stderr, remarks_on_stderr, say, show_all_letters
from samclr.processes.stopping import Stopped, ended_by_sigterm
from samclr.storage.files import NO_ROOM, no_room

TORCH_HAS_NO_MEMORY = ("can't allocate memory", "out of memory")
LESS_MEMORY = "use smaller sizes (px), smaller batches or fewer workers"
DESCRIPTION = """Contrastive pre-training on complex scenes, with both views from one segmented region.

Example: samclr segment photos/ --out photos.regions
         samclr pretrain samclr --scenes photos/ --regions photos.regions --out runs/photos
         samclr evaluate runs/photos --on cifar10/
         samclr report runs/photos
"""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `samclr`. Status 0; 1 for a failure; 2 for wrong usage; 130 after Ctrl-C, 143 after SIGTERM."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    if sys.platform == "darwin":
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read by torch: what MPS cannot do, the CPU does
    show_all_letters()
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)  # which tells what we tell
    with remarks_on_stderr():
        status = _run(given, debug)
    sys.exit(status)


def _run(given: list[str], debug: bool) -> int:
    """The command's exit status."""
    try:
        given = renewed(given)
        with ended_by_sigterm():
            status = _carry_out(given)
        sys.stdout.flush()
    except SamclrError as error:
        fail(_with_option(error, given), debug)
        if isinstance(error, MistypedError):
            say(error.hint)
        status = 2 if isinstance(error, UsageError | ConfigError) else 1
    except Stopped as stop:
        say(str(stop))
        status = stop.status
    except KeyboardInterrupt:
        say("interrupted; rerun the same command to resume")
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
            fail(f"unexpected {type(error).__name__}: {error}; rerun with --debug for the traceback", debug)
        status = 1
    return status


def _carry_out(given: list[str]) -> int:
    """Parse and run."""
    if given == ["--version"]:
        print(f"samclr {__version__}", flush=True)
        return 0
    _refuse_empty(given)
    _refuse_old_words(given)
    with printable_stderr() if not all(map(str.isprintable, given)) else nullcontext():
        command = _parsed(given)
    if command is None:
        return 0
    if empty := empty_settings(command, _typed(given)):
        raise UsageError(f"{empty[0]} has no value; name at least one, or leave it out")
    for remark in idle_settings(command, _typed(given)):
        say(remark)
    return int(command.run())


def _is_of_memory(error: Exception) -> bool:
    """Whether Python, numpy (a MemoryError of its own) or torch failed to get the memory it asked for."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in TORCH_HAS_NO_MEMORY)


def _parsed(given: list[str]) -> Any:
    """The command, or None where help was asked for and printed."""
    from samclr.cli.commands import Command, FromConfig, Pretrain  # here, as a package that adds to them may be broken

    root = Node(path=("samclr",), kind=Command, text=DESCRIPTION)
    place = follow(root, given)
    if not given or {"-h", "--help"} & set(given):
        print(help_text(place))
        return None
    if place.path[-1] != "from-config":
        command = parsed(root, given)
        return replace(command, stated=tuple(sorted(_typed(given)))) if isinstance(command, Pretrain) else command
    command, overrides = parsed(root, given, return_unknown_args=True)
    if not (isinstance(command, Pretrain) and isinstance(command.recipe, FromConfig)):
        return command
    return replace(command, recipe=replace(command.recipe, overrides=tuple(overrides)))


def _of_system(error: OSError) -> str:
    if error.errno in NO_ROOM:
        if not error.filename:  # of what is printed: all else is written inside `room_for`
            place = os.path.realpath("/dev/stdout") if os.path.exists("/dev/stdout") else "standard output"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # at its end Python would try once more, and print a traceback
        return str(no_room(Path(error.filename or place), error))
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and isinstance(error.filename, str):
        for part in (Path(error.filename), *Path(error.filename).parents):
            if part.exists() and not part.is_dir():
                return f"{part} is not a folder; expected a folder or a new name"
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def _refuse_empty(given: list[str]) -> None:
    """An empty word, from an unset shell variable for instance, would be taken for the current folder."""
    for before, word in zip(["samclr", *given], given, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            raise UsageError(f"an empty value follows {word.strip() or before}; expected a name, a number or a path")


def _refuse_old_words(given: list[str]) -> None:
    """`samclr study NAME`, the form of 0.1, is answered with the form of today; a mistyped command is left to parse."""
    first = (given[1:2] or [""])[0]
    if given[:1] != ["study"] or not first or first[0] == "-":
        return
    if not get_close_matches(first, ("list", "run", "status", "page")):
        raise UsageError(
            f"samclr study {first} is samclr study run {first} since 0.2; list, status and page are as before"
        )


def _with_option(error: SamclrError, given: list[str]) -> str:
    """The message; a setting at its start that the user typed as an option is shown as that option."""
    setting = getattr(error, "setting", None)
    if setting is None or not str(error).startswith(setting):
        return str(error)
    shown = f"--{setting.replace('_', '-')}" if setting in _typed(given) else setting
    return shown + str(error).removeprefix(setting)


def _typed(given: list[str]) -> set[str]:
    """Names of the settings that the user typed as options: `--min-area-px=20` is min_area_px."""
    options = {word.partition("=")[0][2:].replace("-", "_") for word in given if word.startswith("--")}
    return options | {name.removeprefix("no_") for name in options}
