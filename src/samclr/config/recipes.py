"""Named experiments: what a paper did, what it costs, what to expect, and the command that runs it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from samclr.config.pretrain import PretrainConfig
from samclr.config.registry import METHODS
from samclr.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A configuration with its source.

    Attributes:
        counted_for: The data set, as NAME:SPLIT, that its number of steps is counted for.
        continues: It begins with trained weights, which must be named.
    """

    config: PretrainConfig
    summary: str
    paper: str
    overrides: str
    cost: str
    expected: str
    command: str
    counted_for: str = "cityscapes:train"
    continues: bool = False


class _Recipes(Mapping[str, Recipe]):
    """The recipes of all methods by name."""

    def __getitem__(self, name: str) -> Recipe:
        for recipe in self.values():
            if recipe.config.recipe == name:
                return recipe
        raise UsageError(f"{name!r} is not a recipe{did_you_mean(name, self, most=20)}")

    def __iter__(self) -> Iterator[str]:
        return (recipe.config.recipe for recipe in self.values())

    def __len__(self) -> int:
        return len(list(self.values()))

    def values(self) -> "list[Recipe]":  # type: ignore[override]
        """In the order of the methods."""
        return [recipe for spec in METHODS.values() for recipe in spec.recipes]


RECIPES = _Recipes()
