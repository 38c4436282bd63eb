"""From words to a command: tyro parses, and what it would refuse is refused here before, in two lines."""

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import CascadeSubcommandArgs, HelptextFromCommentsOff, OmitArgPrefixes, OmitSubcommandPrefixes

from samclr.cli.tree import MANY, Node, Option
from samclr.errors import UsageError, did_you_mean, one_of

# Of options. Help is made from docstrings (samclr.cli.help), so tyro need not read the sources for comments.
STYLE = (OmitArgPrefixes, OmitSubcommandPrefixes, CascadeSubcommandArgs, HelptextFromCommentsOff)
RENAMED = {"accelerator": "device", "num_workers": "workers", "devices": "num_devices"}  # since 0.2
_NUMBER = re.compile(r"-?[\d.]")
_BOX = re.compile(r"[╭╮╰╯│─]|-{3,}|^\s*[|+]|[|+]\s*$", re.MULTILINE)
_FURTHER = re.compile(r" (?:Argument helptext|For full helptext)")


class MistypedError(UsageError):
    """A word of the command line that means nothing. hint: a second line, which says where to look."""

    def __init__(self, message: str, hint: str):
        super().__init__(message)
        self.hint = hint


def parsed(node: Node, given: Sequence[str], **options: Any) -> Any:
    """What tyro makes of the words. options: of tyro.cli.

    Raises:
        MistypedError: they are not what this command takes.
    """
    place = check(node, list(given))
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            command = tyro.cli(node.kind, prog=node.command, args=list(given), config=STYLE, **options)
    except SystemExit:
        text = " ".join(_BOX.sub(" ", said.getvalue()).split())
        raise MistypedError(_FURTHER.split(text)[0], _see(place)) from None
    sys.stderr.write(said.getvalue())  # remarks of packages, for instance
    return command


def check(node: Node, given: list[str]) -> Node:
    """The command that the words lead to.

    Raises:
        MistypedError: a word that is no command, option or value where it stands, or a required option is missing.
    """
    seen: set[str] = set()
    loose: list[str] = []
    words = list(given)
    while words:
        word = words.pop(0)
        if not _is_option(word):
            if node.children:
                node = _child(node, word)
            else:
                loose.append(word)
            continue
        option, value = _option(node, word)
        seen.add(option.name)
        values = [value] if value is not None else []
        reserved = sum(one.is_positional and one.is_required for one in node.options)
        while words and not _is_option(words[0]) and (len(values) < option.arity or option.arity == MANY):
            if option.arity == MANY and values and len(words) <= reserved - len(loose):
                break
            values.append(words.pop(0))
        _check_values(node, option, values)
    if node.children:
        listed = ", such as samclr" if node.child_word == "recipe" else f": {one_of(node.children)}"
        raise MistypedError(f"{node.command} needs a {node.child_word}{listed}", _see(node))
    _check_loose(node, loose, seen)
    for one in node.options:
        if one.is_required and not one.is_positional and one.name not in seen and one.name not in node.needs:
            raise MistypedError(f"{node.command} needs {one.words[0]} {one.metavar}: {one.help}", _see(node))
    return node


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not _NUMBER.match(word)


def _see(node: Node) -> str:
    if node.path[-1] == "from-config":
        return "samclr pretrain RECIPE --help lists the options that may follow the file"
    what = f"its {node.child_word}s" if node.children else "its options"
    return f"{node.command} --help lists {what}"


def _child(node: Node, word: str) -> Node:
    if word in node.children:
        return node.children[word]
    what = f"{word!r} is not a {node.child_word} of {node.command}"
    deeper = [child.children[word].command for child in node.children.values() if word in child.children]
    if deeper:
        raise MistypedError(f"{what}; did you mean {deeper[0]}?", _see(node))
    if node.child_word == "recipe" and ("/" in word or Path(word).exists()):
        raise MistypedError(f"{what}; name one before the scenes: {node.command} samclr {word}", _see(node))
    raise MistypedError(f"{what}{did_you_mean(word, node.children)}", _see(node))


def _option(node: Node, word: str) -> tuple[Option, str | None]:
    """The option that a word is, and the value that stands in it."""
    typed, equals, value = word.partition("=")
    name = typed.replace("_", "-") if typed.startswith("--") else typed
    known = {one: option for option in node.options if not option.is_positional for one in option.words}
    if name in known:
        return known[name], value if equals else None
    if node.path[-1] == "from-config" and node.default is None:  # checked again once the file is read
        return Option(
            name=name,
            help="",
            metavar="",
            arity=MANY,
            choices=(),
            number=None,
            default=None,
            is_positional=False,
            is_required=False,
            is_pair=False,
        ), value if equals else None
    if any(name in one.words for child in node.children.values() for one in child.options):
        word = node.child_word
        raise MistypedError(f"{name} stands after the {word}: {node.command} {word.upper()} {name}", _see(node))
    new = RENAMED.get(name.removeprefix("--").replace("-", "_"), "").replace("_", "-")
    if f"--{new}" in known:
        raise MistypedError(f"{name} is --{new} since 0.2", _see(node))
    raise MistypedError(f"{name} is not an option of {node.command}{did_you_mean(name, known, most=0)}", _see(node))


def _check_values(node: Node, option: Option, values: list[str]) -> None:
    word = option.words[0]
    if option.arity > len(values) or (option.arity == 0 and values):
        wanted = "no value" if option.arity == 0 else option.metavar
        found = " ".join(values) or "nothing"
        raise MistypedError(f"{word} is followed by {found}; expected {wanted}", _see(node))
    for value in values:
        if option.choices and value not in (*option.choices, "None"):
            raise MistypedError(f"{word} is {value!r}{did_you_mean(value, option.choices)}", _see(node))
        if option.number and value != "None":
            try:
                option.number(value)
            except ValueError:
                what = "a whole number" if option.number is int else "a number"
                raise MistypedError(f"{word} is {value!r}; expected {what}", _see(node)) from None


def _check_loose(node: Node, loose: list[str], seen: set[str]) -> None:
    """The words that follow no option."""
    places = [option for option in node.options if option.is_positional]
    if node.path[-1] == "from-config" and node.default is None:
        return
    for option in places:
        if option.arity == MANY:
            return
        if not loose:
            if option.is_required:
                raise MistypedError(f"{node.command} needs {option.metavar}: {option.help}", _see(node))
            return
        _check_values(node, option, [loose.pop(0)])
    if loose:
        raise MistypedError(f"{loose[0]!r} is not expected here{_unexpected(places)}", _see(node))


def _unexpected(places: list[Option]) -> str:
    return f": only {' '.join(one.metavar for one in places)} stands alone" if places else ""
