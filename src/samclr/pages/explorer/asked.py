"""From the query of a request to settings, checked as those of a command are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from samclr.config.pretrain import PretrainConfig
from samclr.config.serialise import Settings
from samclr.config.views import AugmentConfig, FilterConfig, LocalViews, ViewGroup, ViewsConfig, view_groups
from samclr.errors import ConfigError

Kind = TypeVar("Kind", bound=Settings)
WORDS = {"true": True, "false": False}
SHOWN_ALONE = 1  # images a step, at least
LARGEST_BATCH = 65_536  # that is planned for one request


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What decides the views of a step, as a run's config.json has it."""

    filter: FilterConfig
    views: ViewsConfig
    group: ViewGroup
    local: LocalViews
    augment: AugmentConfig
    seed: int
    global_batch_size: int

    @classmethod
    def of(cls, config: PretrainConfig) -> "Sampling":
        """That of a run or a recipe."""
        return cls(
            filter=config.filter,
            views=config.views,
            group=config.group,
            local=config.local,
            augment=config.augment,
            seed=config.seed,
            global_batch_size=config.optim.global_batch_size,
        )

    @property
    def groups(self) -> tuple[ViewGroup, ...]:
        """The view groups of the plan."""
        return view_groups(self.group, self.local)

    def changed(self, query: Mapping[str, str]) -> "Sampling":
        """With the settings that a query names. Raises ConfigError for one that cannot be."""
        parts: dict[str, Any] = {
            name: settings_of(getattr(self, name), query) for name in ("filter", "views", "group", "local", "augment")
        }
        seed = whole_number(query, "seed", self.seed, 0, 2**63 - 1)
        batch = whole_number(query, "global_batch_size", self.global_batch_size, SHOWN_ALONE, LARGEST_BATCH)
        return Sampling(**parts, seed=seed, global_batch_size=batch)


def settings_of(usual: Kind, query: Mapping[str, str]) -> Kind:
    """Settings with those that a query names. Raises ConfigError for one that cannot be."""
    settings: Any = usual
    given = {one.name: query[one.name] for one in fields(settings) if one.name in query}
    changed: Kind = replace(
        settings, **{name: _value(name, text, getattr(usual, name)) for name, text in given.items()}
    )
    return changed


def whole_number(query: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    """A whole number of a query. Raises ConfigError for what is none, or out of its range."""
    text = query.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ConfigError(f"{name} is {text[:40]!r}; expected a whole number from {least} to {most}", name)
    return int(text)


def _value(name: str, text: str, usual: Any) -> Any:
    """Text as the type that a setting has."""
    if isinstance(usual, bool):
        if text not in WORDS:
            raise ConfigError(f"{name} is {text[:40]!r}; expected true or false", name)
        return WORDS[text]
    if isinstance(usual, str):
        return text
    if usual is None and text == "none":
        return None
    try:
        if isinstance(usual, tuple):
            return tuple(float(part) for part in text.split(","))
        return int(text) if isinstance(usual, int) else None if text == "none" else float(text)
    except ValueError:
        raise ConfigError(f"{name} is {text[:40]!r}; expected a number", name) from None
