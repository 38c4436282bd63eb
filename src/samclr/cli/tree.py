"""The commands and their options as plain facts, read from the classes that tyro parses: for help and for mistakes."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from tyro.conf import FlagCreatePairsOff, Positional, Suppress

from samclr.config.serialise import UNIONS, Settings, hints_of

MANY = -1
_WORDS = {int: "INT", float: "FLOAT", Path: "PATH", str: "TEXT"}
_SECTION = re.compile(r"^(?:Attributes|Raises|Returns):$.*", re.MULTILINE | re.DOTALL)
_ATTRIBUTE = re.compile(r"^    (\w+): ((?:.+\n?)(?:^ {5,}.+\n?)*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option or a positional word of a command.

    Attributes:
        name: of the field.
        help: what it is.
        metavar: what stands for its value; empty for a flag.
        arity: how many words follow it; MANY for any number.
        choices: the words that it takes, if these are few.
        number: int or float, if it takes one.
        default: None, where there is none.
        is_positional: it is given without its name.
        is_required: the command does not run without it.
        is_pair: a flag with --no-..., too.
    """

    name: str
    help: str
    metavar: str
    arity: int
    choices: tuple[str, ...]
    number: type | None
    default: Any
    is_positional: bool
    is_required: bool
    is_pair: bool

    @property
    def words(self) -> tuple[str, ...]:
        """As it is typed."""
        if self.is_positional:
            return (self.metavar,)
        word = self.name.replace("_", "-")
        if self.is_pair:
            return f"--{word}", f"--no-{word}"
        return (f"--no-{word}" if self.arity == 0 and self.default is True else f"--{word}",)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options that belong together. name: the field that they stand in, empty for the command's own."""

    name: str
    kind: type
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A command, or a group of commands.

    Attributes:
        path: the words that lead to it, `samclr` first.
        kind: its class.
        text: its description.
        default: an object with its defaults, None for those of the class.
        pairs: its flags have --no-..., too.
        outer: options of the commands around it, which may follow its name as well.
        needs: names of options without which it fails later, though they have a default.
    """

    path: tuple[str, ...]
    kind: Any
    text: str = ""
    default: Any = None
    pairs: bool = True
    outer: tuple[Option, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """As it is typed."""
        return " ".join(self.path)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Its options: the command's own first, then group by group."""
        if not is_dataclass(self.kind):
            return ()
        own, *rest = (self._marked(group) for group in _groups("", self.kind, self.default, self.pairs))
        return replace(own, text="", options=(*self.outer, *own.options)), *rest

    def _marked(self, group: Group) -> Group:
        marked = [replace(one, is_required=one.is_required or one.name in self.needs) for one in group.options]
        return replace(group, options=tuple(marked))

    @property
    def options(self) -> list[Option]:
        """All of them, those of the commands around it first."""
        return [option for group in self.groups for option in group.options]

    @property
    def child_word(self) -> str:
        """What its sub-commands are: commands, or recipes."""
        return "recipe" if self.path[-1] == "pretrain" else "command"

    @cached_property
    def children(self) -> "dict[str, Node]":
        """The commands that may follow its name."""
        kinds = (
            [self.kind] if not is_dataclass(self.kind) else [_plain(hint)[0] for hint in hints_of(self.kind).values()]
        )
        union = next((kind for kind in kinds if get_origin(kind) in UNIONS and _has_commands(kind)), None)
        return {node.path[-1]: node for node in map(self._child, _commands(union))} if union else {}

    def _child(self, kind: Any) -> "Node":
        base, extras = _plain(kind)
        known = next(one for one in extras if hasattr(one, "prefix_name") and getattr(one, "name", None))
        default = known.default if isinstance(known.default, Settings) else None
        text = known.description or _SECTION.sub("", inspect.getdoc(base) or "")
        outer = tuple(option for option in self.options if not option.is_positional)
        return Node(
            path=(*self.path, known.name),
            kind=base,
            text=text.strip(),
            default=default,
            pairs=self.pairs and FlagCreatePairsOff not in extras,
            outer=outer,
            needs=default.needs() if hasattr(default, "needs") else (),
        )


def follow(node: Node, given: list[str]) -> Node:
    """The command that the words lead to; those that lead nowhere are passed over."""
    for word in given:
        node = node.children.get(word, node)
    return node


def _plain(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without what it is annotated with, and that."""
    return (get_args(hint)[0], hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())


def _commands(union: Any) -> list[Any]:
    """The types of commands in a union; tyro fills short ones up with None."""
    return [kind for kind in get_args(union) if _plain(kind)[0] is not type(None)]


def _has_commands(union: Any) -> bool:
    return all(is_dataclass(_plain(kind)[0]) for kind in _commands(union))


def _groups(name: str, kind: Any, values: Any, pairs: bool) -> Iterator[Group]:
    """The class's own options as one group, then those of its fields that are settings themselves."""
    own, inner = [], []
    for one in fields(kind):
        base, extras = _plain(hints_of(kind)[one.name])
        if Suppress in extras or (get_origin(base) in UNIONS and _has_commands(base)):
            continue
        value = _usual(one) if values is None else getattr(values, one.name)
        if isinstance(value, Settings):
            inner.append((one.name, type(value), value))
        else:
            own.append(_option(kind, one.name, base, extras, value, pairs))
    text = _SECTION.sub("", inspect.getdoc(kind) or "").strip()
    yield Group(name=name, kind=kind, text=text, options=tuple(own))
    for field_name, inner_kind, value in inner:
        yield from _groups(field_name, inner_kind, value, pairs)


def _usual(one: Any) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _option(kind: type, name: str, base: Any, extras: tuple[Any, ...], value: Any, pairs: bool) -> Option:
    stated = next((one for one in extras if hasattr(one, "metavar")), None)
    metavar, arity, choices, number = _shape(base)
    is_positional = Positional in extras
    metavar = (stated and stated.metavar) or (name.upper() if is_positional else metavar)
    return Option(
        name=name,
        help=" ".join(((stated and stated.help) or _described(kind, name)).split()),
        metavar=metavar,
        arity=arity,
        choices=choices,
        number=number,
        default=None if value is MISSING else value,
        is_positional=is_positional,
        is_required=value is MISSING,
        is_pair=arity == 0 and pairs and FlagCreatePairsOff not in extras,
    )


def _shape(kind: Any) -> tuple[str, int, tuple[str, ...], type | None]:
    """Metavar, arity, choices and kind of number of a type."""
    base, _ = _plain(kind)
    origin, inner = get_origin(base), get_args(base)
    if base is bool:
        return "", 0, (), None
    if origin is Literal:
        return "{" + ",".join(map(str, inner)) + "}", 1, tuple(map(str, inner)), None
    if origin in UNIONS:
        shapes = [_shape(one) for one in inner if one is not type(None)]
        if len(shapes) == 1:
            return shapes[0]
        choices = tuple(word for shape in shapes for word in shape[2]) if all(shape[2] for shape in shapes) else ()
        named = "{" + ",".join(choices) + "}" if choices else "|".join(shape[0].strip("{}") for shape in shapes)
        return named, shapes[0][1], choices, None
    if origin is tuple:
        shapes = [_shape(one) for one in inner if one is not ...]
        _, _, choices, number = shapes[0]
        if inner[-1] is ...:
            return f"{shapes[0][0]}...", MANY, choices, number
        return " ".join(shape[0] for shape in shapes), len(shapes), choices, number
    return _WORDS.get(base, "TEXT"), 1, (), base if base in (int, float) else None


def _described(kind: type, name: str) -> str:
    """What the docstring says of a setting, of the class or of one that it derives from."""
    for one in kind.__mro__:
        listed = (inspect.cleandoc(one.__dict__.get("__doc__") or "")).partition("Attributes:\n")[2]
        found = dict(_ATTRIBUTE.findall(listed))
        if name in found:
            return str(found[name])
    return ""
