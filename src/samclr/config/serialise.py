"""Settings: checked when made, to JSON and back, with a fingerprint.

A setting's annotation says what it may be: `Annotated[float, Bounds(over=0)]`, or one of the names below, and beside
what it counts: `Annotated[bool, CountsWith("strategy", ("random-box",))]`. Classes of settings derive from `Settings`,
which compares every field with its annotation, in Python as on the command line.
"""

import functools
import hashlib
import json
import math
import numbers
import types
import typing
from collections.abc import Container, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from samclr.errors import ConfigError, UsageError, did_you_mean

LARGEST = 2**31 - 1  # of fractions that nothing else bounds; whole numbers each have a top of their own
UNIONS = (types.UnionType, typing.Union)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Which numbers a setting takes; of a tuple, each of them. NaN and infinity are never among them.

    Attributes:
        at_least: the least of them.
        over: they are larger than this.
        at_most: the largest of them.
        under: they are smaller than this.
        rising: of a pair, the smaller number comes first.
        filled: of a tuple, at least one number.
    """

    at_least: float | None = None
    over: float | None = None
    at_most: float = LARGEST
    under: float | None = None
    rising: bool = False
    filled: bool = False

    def hold(self, number: float) -> bool:
        """Whether a number is one of them."""
        low = (self.at_least is None or number >= self.at_least) and (self.over is None or number > self.over)
        return low and number <= self.at_most and (self.under is None or number < self.under)

    def text(self) -> str:
        """As an error says it: `over 0`, `from 0 to 1`."""
        if self.under is not None:
            return f"over {self.over:g}, under {self.under:g}" if self.over is not None else f"under {self.under:g}"
        upper = "" if self.at_most == LARGEST else f"{self.at_most}".removesuffix(".0")
        if self.over is not None:
            return f"over {self.over:g}{upper and f', at most {upper}'}"
        return f"from {self.at_least:g} to {upper}" if upper else f"of at least {self.at_least:g}"


Positive = Annotated[float, Bounds(over=0)]
NotNegative = Annotated[float, Bounds(at_least=0)]
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
PositiveShare = Annotated[float, Bounds(over=0, at_most=1)]
ShareRange = Annotated[tuple[float, float], Bounds(over=0, at_most=1, rising=True)]
Rate = Annotated[float, Bounds(over=0, at_most=1e6)]
Temperature = Annotated[float, Bounds(at_least=1e-4, at_most=1e4)]
Count = Annotated[int, Bounds(at_least=1, at_most=10**9)]  # of what there is: a larger one takes no more memory
CountOrZero = Annotated[int, Bounds(at_least=0, at_most=10**9)]
Steps = Annotated[int, Bounds(at_least=1, at_most=10**8)]
StepsOrZero = Annotated[int, Bounds(at_least=0, at_most=10**8)]
Epochs = Annotated[int, Bounds(at_least=1, at_most=10**5)]
BatchSize = Annotated[int, Bounds(at_least=1, at_most=65_536)]
Side = Annotated[int, Bounds(at_least=1, at_most=65_535)]  # of an image in its file
InputSide = Annotated[int, Bounds(at_least=1, at_most=2048)]  # of what a model gets
Threads = Annotated[int, Bounds(at_least=1, at_most=1024)]
Seed = Annotated[int, Bounds(at_least=0, at_most=2**63 - 1)]
Seeds = Annotated[tuple[int, ...], Bounds(at_least=0, at_most=2**63 - 1, filled=True)]


@dataclass(frozen=True)
class CountsWith:
    """Says of a setting, or of a group of them, with which value of another one it applies; else it has no effect.

    Attributes:
        setting: the other's name; in a command that has no such setting, this one applies.
        values: those with which it applies; none given, all but None, False, 0 and ().
        other_than: those with which it does not.
        also: another condition that is enough.
        said: how a remark puts it, where the option would not do.
    """

    setting: str
    values: tuple[Any, ...] = ()
    other_than: tuple[Any, ...] = ()
    also: "CountsWith | None" = None
    said: str = ""

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether it applies in a command with these settings."""
        if self.setting not in settings:
            return True
        value = settings[self.setting]
        if self.values or self.other_than:
            enough = value not in self.other_than and (not self.values or value in self.values)
        else:
            enough = bool(value)
        return enough or (self.also is not None and self.also.setting in settings and self.also.holds(settings))

    def text(self) -> str:
        """As a remark says it: `with --strategy region or random-box`."""
        option = f"--{self.setting.replace('_', '-')}"
        if self.said or not any(self.values or (True,)):
            return self.said or f"without {option}"
        if self.other_than:
            return f"with another {option} than {' and '.join(map(str, self.other_than))}"
        text = f"with {option}" + (f" {' or '.join(map(str, self.values))}" if self.values else "")
        return text if self.also is None else f"{text}, or {self.also.text()}"


class Settings:
    """Base of the frozen dataclasses of settings: each field is compared with its annotation when the object is made.

    A subclass with rules between fields has a `__post_init__` that begins with `super().__post_init__()`.

    Raises:
        ConfigError: a value of the wrong type, out of its bounds, or not one of its words.
    """

    def __post_init__(self) -> None:
        own: Any = type(self)
        for name, kind in hints_of(own).items():
            object.__setattr__(self, name, checked(kind, getattr(self, name), name))


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The annotation of each field, with its bounds."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {one.name: hints[one.name] for one in fields(kind)}


def idle_settings(command: Any, typed: Container[str]) -> list[str]:
    """A sentence for each reason why settings among `typed` have no effect in this command."""
    found = list(_with_conditions(command, ()))
    values = {name: value for name, value, _ in found}
    idle: dict[CountsWith, list[str]] = {}
    for name, _, conditions in found:
        for one in conditions:
            if name in typed and not one.holds(values):
                idle.setdefault(one, []).append(f"--{name.replace('_', '-')}")
                break
    return [
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect here: "
        f"{'it applies' if len(names) == 1 else 'they apply'} only {one.text()}"
        for one, names in idle.items()
    ]


def empty_settings(command: Any, typed: Container[str]) -> list[str]:
    """The options among `typed` that take several values and got none, though none is what they have by default."""
    groups = [command]
    found = []
    for config in groups:  # which grows
        for one in fields(config):
            value = getattr(config, one.name)
            if isinstance(value, Settings):
                groups.append(value)
            elif value == () and one.default == () and one.name in typed:
                found.append(f"--{one.name.replace('_', '-')}")
    return found


def _with_conditions(config: Any, outer: tuple[CountsWith, ...]) -> Iterator[tuple[str, Any, tuple[CountsWith, ...]]]:
    """Name, value and conditions of every setting, those of its groups among them."""
    kind_of: Any = type(config)
    for name, kind in hints_of(kind_of).items():
        value, own = getattr(config, name), tuple(getattr(kind, "__metadata__", ()))
        conditions = outer + tuple(one for one in own if isinstance(one, CountsWith))
        if isinstance(value, Settings):
            yield from _with_conditions(value, conditions)
        else:
            yield name, value, conditions


class _UnfitError(Exception):
    """A value is not what its annotation says; the text says what that is."""


def checked(kind: Any, value: Any, name: str) -> Any:
    """The value as its annotation wants it: numpy's numbers become Python's, a list a tuple, text a Path.

    Raises:
        ConfigError: it is something else.
    """
    try:
        return _fitted(kind, value, None)
    except _UnfitError as wanted:
        raise ConfigError(f"{name} is {shown(value)}; expected {wanted}", setting=name) from None


def _fitted(kind: Any, value: Any, bounds: Bounds | None) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        own = [one for one in kind.__metadata__ if isinstance(one, Bounds)]
        return _fitted(arguments[0], value, own[-1] if own else bounds)
    if origin in UNIONS:
        return _one_of(arguments, value, bounds)
    if origin is tuple:
        return _tuple(arguments, value, bounds)
    if origin is Literal:
        if any(type(value) is type(word) and value == word for word in arguments):
            return value
        raise _UnfitError(" or ".join(map(str, arguments)))
    if kind in (int, float):
        return _number(kind, value, bounds)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, kind):
        return value
    words = {str: "text", bool: "True or False", Path: "a path"}
    raise _UnfitError(words.get(kind, getattr(kind, "__name__", str(kind))))


def _one_of(kinds: tuple[Any, ...], value: Any, bounds: Bounds | None) -> Any:
    wanted = []
    for kind in kinds:
        if kind is type(None):
            if value is None:
                return None
            continue
        try:
            return _fitted(kind, value, bounds)
        except _UnfitError as error:
            wanted.append(str(error))
    raise _UnfitError(" or ".join(wanted))


def _tuple(kinds: tuple[Any, ...], value: Any, bounds: Bounds | None) -> tuple[Any, ...]:
    rising, filled = bounds is not None and bounds.rising, bounds is not None and bounds.filled
    number = "several" if kinds[-1] is ... else {2: "two", 3: "three"}.get(len(kinds), str(len(kinds)))
    if not isinstance(value, tuple | list) or (kinds[-1] is not ... and len(value) != len(kinds)):
        raise _UnfitError(f"{number} values")
    if filled and not value:
        raise _UnfitError("at least one value")
    each = [kinds[0]] * len(value) if kinds[-1] is ... else kinds
    order = ", the smaller first" if rising else ""
    try:
        items = tuple(_fitted(kind, item, bounds) for kind, item in zip(each, value, strict=True))
    except _UnfitError as error:
        raise _UnfitError(f"{number} values, each {error}{order}".removeprefix("several ")) from None
    if rising and list(items) != sorted(items):
        raise _UnfitError(f"{number} numbers{order}")
    return items


def _number(kind: type, value: Any, bounds: Bounds | None) -> Any:
    abstract, word = (numbers.Integral, "a whole number") if kind is int else (numbers.Real, "a number")
    wanted = f"{word} {bounds.text()}" if bounds is not None else word
    if isinstance(value, bool) or not isinstance(value, abstract):
        raise _UnfitError(wanted)
    try:
        number = kind(value)
    except OverflowError:
        raise _UnfitError(wanted) from None
    if bounds is not None and number > bounds.at_most == LARGEST:
        wanted += f", and at most {LARGEST}"
    if (kind is float and not math.isfinite(number)) or (bounds is not None and not bounds.hold(number)):
        raise _UnfitError(wanted)
    return number


def shown(value: Any) -> str:
    """A setting's value in a message; several as they are typed, not as Python writes a tuple."""
    if isinstance(value, tuple | list) and value:
        text = " ".join(map(shown, value))
        return text if len(text) <= 60 else f"{text[:57]}..."
    try:
        text = repr(str(value) if isinstance(value, Path) else value)
    except ValueError:  # Python writes no whole numbers of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def to_dict(config: Any) -> Any:
    """Plain JSON values of a configuration."""
    if hasattr(config, "to_saved"):
        return config.to_saved()
    if is_dataclass(config):
        settings = {f.name: to_dict(getattr(config, f.name)) for f in fields(config)}
        return {"name": getattr(config, "name", None)} | settings if hasattr(config, "named") else settings
    if isinstance(config, tuple):
        return [to_dict(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def from_dict(kind: Any, value: Any, where: str = "config") -> Any:
    """Rebuild a configuration; what an older version did not save yet takes its default.

    Raises:
        ConfigError: an unknown or ill-typed setting, or one without a default that is missing.
    """
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}; expected an object of settings")
        if hasattr(kind, "from_saved"):
            try:
                return kind.from_saved(value, where)
            except UsageError as error:
                raise ConfigError(f"{where}: {error}") from None
        if hasattr(kind, "named"):
            value = dict(value)
            try:
                kind = kind.named(str(value.pop("name", getattr(kind, "name", ""))))
            except UsageError as error:
                raise ConfigError(f"{where}: {error}") from None
        settings: Any = kind
        hints = hints_of(settings)
        known = {f.name: f for f in fields(kind)}
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise ConfigError(
                f"{where} has the unknown setting {unknown[0]!r}{did_you_mean(unknown[0], known, most=0)}"
            )
        missing = [name for name, f in known.items() if name not in value and not _has_default(f)]
        if missing:
            raise ConfigError(f"{where} lacks the setting {missing[0]!r}")
        given = {name: from_dict(hints[name], value[name], f"{where}.{name}") for name in value}
        try:
            return kind(**given)
        except ConfigError as error:  # a rule between settings
            raise ConfigError(f"{where}: {error}") from None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated and not any(isinstance(one, Bounds) for one in kind.__metadata__):
        return from_dict(arguments[0], value, where)
    if origin in UNIONS and value is not None and len(arguments) == 2 and arguments[1] is type(None):
        return from_dict(arguments[0], value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
        if len(kinds) == len(value):
            value = [from_dict(k, item, where) for k, item in zip(kinds, value, strict=True)]
    return checked(kind, value, where)


def _has_default(setting: Field[Any]) -> bool:
    return setting.default is not MISSING or setting.default_factory is not MISSING


def upgraded(
    saved: dict[str, Any],
    format_number: int,
    additions: dict[int, dict[str, Any]],
    moves: dict[int, dict[str, str]],
    words: dict[int, dict[str, dict[str, str]]],
) -> dict[str, Any]:
    """Saved settings as the newest format has them.

    additions: for each format the settings it added whose default is not what older versions did, as
        {"augment.name": what they did}; dots lead into the settings. Others simply take their default.
    moves: for each format the settings that stand elsewhere since, as {"where they stood": "where they stand"}.
    words: for each format the settings whose words are others since, as {"runtime.device": {"old": "new"}}.
    """
    settings: dict[str, Any] = json.loads(json.dumps(saved))
    for number in sorted(number for number in {*additions, *moves, *words} if number > format_number):
        for old, new in moves.get(number, {}).items():
            place, name = _place(settings, old)
            if name in place:
                value = place.pop(name)
                place, name = _place(settings, new)
                place[name] = value
        for path, new_words in words.get(number, {}).items():
            place, name = _place(settings, path)
            if place.get(name) in new_words:
                place[name] = new_words[place[name]]
        for path, value in additions.get(number, {}).items():
            place, name = _place(settings, path)
            place.setdefault(name, value)
    return settings


def _place(settings: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The object that a dotted path leads into, made where missing, and the last name."""
    *folders, name = path.split(".")
    for folder in folders:
        settings = settings.setdefault(folder, {})
    return settings, name


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that change with any setting."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
