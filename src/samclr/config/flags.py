"""From settings to the words of a command that states them."""

from dataclasses import fields, is_dataclass
from typing import Any


def flags(config: Any, default: Any) -> list[str]:
    """The options that turn one configuration into another of its kind."""
    words: list[str] = []
    for one in fields(config):
        value, usual = getattr(config, one.name), getattr(default, one.name)
        if value == usual or one.name == "recipe":
            continue
        name = f"--{one.name.replace('_', '-')}"
        if is_dataclass(value) and not isinstance(value, type):
            words += flags(value, usual)
        elif value is True:
            words.append(name)
        elif isinstance(value, tuple):
            words += [name, *map(str, value)]
        else:
            words += [name, str(value)]
    return words
