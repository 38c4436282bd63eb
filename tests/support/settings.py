"""All classes of settings: of configurations, of every registered method and so on, and of commands."""

import importlib
import pkgutil

import samclr.cli
import samclr.config
from samclr.config.registry import METHODS, SEGMENTERS
from samclr.config.serialise import Settings


def settings_classes() -> list[type]:
    """Every class that derives from Settings, those of the registries included, by name."""
    for package in (samclr.config, samclr.cli):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for registry in (METHODS, SEGMENTERS):
        list(registry)
    return sorted(
        (one for one in _below(Settings) if one.__module__.startswith("samclr.")), key=lambda one: one.__name__
    )


def _below(kind: type) -> set[type]:
    return {one for child in kind.__subclasses__() for one in {child, *_below(child)}}
