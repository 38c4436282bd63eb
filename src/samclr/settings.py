"""Settings to JSON and back, strictly, with a fingerprint; and checks that several of them need."""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from samclr.errors import ConfigError


def check_share(owner: object, *names: str) -> None:
    """Raise ConfigError unless each named setting lies from 0 to 1."""
    for name in names:
        if not 0 <= getattr(owner, name) <= 1:
            raise ConfigError(f"{name} is {getattr(owner, name)}; expected a share from 0 to 1")


def to_dict(config: Any) -> Any:
    """Plain JSON values of a configuration."""
    if is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in fields(config)}
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
        hints = typing.get_type_hints(kind)
        known = {f.name: f for f in fields(kind)}
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise ConfigError(f"{where} has the unknown setting {unknown[0]!r}{_near(unknown[0], known)}")
        missing = [name for name, f in known.items() if name not in value and not _has_default(f)]
        if missing:
            raise ConfigError(f"{where} lacks the setting {missing[0]!r}")
        return kind(**{name: from_dict(hints[name], value[name], f"{where}.{name}") for name in value})  # type: ignore[operator]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return from_dict(arguments[0], value, where)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        if all(is_dataclass(a) for a in arguments):  # told apart by their name
            name = value.get("name") if isinstance(value, dict) else value
            named = {next(f.default for f in fields(a) if f.name == "name"): a for a in arguments}
            if name not in named:
                raise ConfigError(f"{where} is {name!r}; expected one of {', '.join(map(str, named))}")
            return from_dict(named[name], value, where)
        return from_dict(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
        if len(kinds) == len(value):
            return tuple(from_dict(k, item, where) for k, item in zip(kinds, value, strict=True))
    elif origin is Literal and value in arguments:
        return value
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ConfigError(f"{where} is {value!r}; expected {getattr(kind, '__name__', kind)}")


def _has_default(setting: Field[Any]) -> bool:
    return setting.default is not MISSING or setting.default_factory is not MISSING


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"; near it: {', '.join(near)}" if near else ""


def upgraded(saved: dict[str, Any], format_number: int, changes: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Saved settings as the newest format has them.

    changes: for each format the settings it added whose default is not what older versions did, as
    {"augment.name": what they did}; dots lead into the settings. Others simply take their default.
    """
    settings: dict[str, Any] = json.loads(json.dumps(saved))
    for number in sorted(number for number in changes if number > format_number):
        for path, value in changes[number].items():
            *folders, name = path.split(".")
            place = settings
            for folder in folders:
                place = place.get(folder, {})
            place.setdefault(name, value)
    return settings


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that change with any setting."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
