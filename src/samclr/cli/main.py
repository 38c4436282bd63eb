"""The command line: parse, run, and turn every error into one line and an exit status."""

import sys
from contextlib import nullcontext

import tyro
from tyro.conf import CascadeSubcommandArgs, FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes

from samclr._version import __version__
from samclr.errors import ConfigError, SamclrError, UsageError
from samclr.log import fail, printable_stderr, say
from samclr.processes.stopping import Stopped
from samclr.storage.files import NO_ROOM

DESCRIPTION = """Contrastive pre-training on complex scenes, with both views from one segmented region.

Example: samclr segment photos/ --out photos.regions
         samclr pretrain samclr --scenes photos/ --regions photos.regions --out runs/photos
         samclr evaluate runs/photos --on cifar10/
         samclr report runs/photos
"""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `samclr`. Exit status 0, 1 for a failure, 2 for wrong usage, 143 when stopped by SIGTERM."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    if given == ["--version"]:
        print(f"samclr {__version__}")
        return
    try:
        from samclr.cli.commands import Command  # here, as a package that adds to them may be broken

        _refuse_empty(given)
        with printable_stderr() if not all(map(str.isprintable, given)) else nullcontext():
            command = tyro.cli(
                Command,
                prog="samclr",
                description=DESCRIPTION,
                args=given or ["--help"],
                config=(OmitArgPrefixes, OmitSubcommandPrefixes, CascadeSubcommandArgs, FlagCreatePairsOff),
            )
        status = command.run()
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
        else:
            fail(f"unexpected {type(error).__name__}: {error}; run again with --debug for the traceback", debug)
        status = 1
    sys.exit(status)


def _of_system(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    more = "; free some of it and run the same command again" if error.errno in NO_ROOM else ""
    return f"{error.strerror or error}{where}{more}"


def _refuse_empty(given: list[str]) -> None:
    """An empty word, of a shell variable that is not set for instance, would be taken for the current folder."""
    for before, word in zip(["samclr", *given], given, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            raise UsageError(f"an empty value follows {word.strip() or before}; expected a name, a number or a path")


def _with_option(error: SamclrError, given: list[str]) -> str:
    """The message; a setting at its start that the user typed as an option is shown as that option."""
    setting = getattr(error, "setting", None)
    if setting is None:
        return str(error)
    option = f"--{setting.replace('_', '-')}"
    typed = {argument.partition("=")[0].replace("_", "-") for argument in given}
    return option + str(error).removeprefix(setting) if option in typed else str(error)
