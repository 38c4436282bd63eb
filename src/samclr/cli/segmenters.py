"""The options of all segmenters side by side, read from the registry, and the one that is chosen among them."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from samclr.config.registry import SEGMENTERS
from samclr.config.segmenters import SegmenterConfig, SegmenterSpec, counts_only, owners_of, segmenter_spec
from samclr.config.serialise import Settings, hints_of
from samclr.errors import ConfigError, PluginError

ATTRIBUTES = "Attributes:\n"
DOC = """Names a segmenter with its settings.

Attributes:
    segmenter: A name from `samclr segmenters`, a Hugging Face id of a SAM, or a folder with one.
"""


def options_class(specs: list[SegmenterSpec]) -> type:
    """A dataclass with `segmenter` and every spec's settings; several may share one that they declare alike.

    Raises:
        PluginError: two segmenters declare an option of one name in different ways.
    """
    made: list[tuple[str, Any, Any]] = [("segmenter", str, dataclasses.field(default="felzenszwalb"))]
    leaves = {"segmenter": ("the command", "")}
    for spec in specs:
        for name, kind, default in _settings(spec.config):
            declared = f"{name}: {kind!r} = {default!r}"
            for leaf in _leaves(name, default):
                owner, before = leaves.setdefault(leaf, (spec.name, declared))
                if before != declared:
                    raise PluginError(
                        f"the segmenters {owner} and {spec.name} both have an option --{leaf.replace('_', '-')}, "
                        f"with different meanings; rename that of {spec.name}"
                    )
            if name not in (known for known, _, _ in made):
                made.append((name, kind, dataclasses.field(default=default)))
    doc = DOC + "".join(_attributes(spec) for spec in specs)
    namespace = {"__doc__": doc, "__module__": __name__}
    return dataclasses.make_dataclass(
        "SegmenterOptions", made, bases=(Settings,), namespace=namespace, frozen=True, kw_only=True
    )


def _settings(kind: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default of each setting."""
    usual = kind()
    for name, hint in hints_of(kind).items():
        yield name, hint, getattr(usual, name)


def _leaves(name: str, value: Any) -> Iterator[str]:
    """The names of the options that a setting becomes: its own, or those of its fields."""
    if isinstance(value, Settings):
        for one in dataclasses.fields(value):  # type: ignore[arg-type]
            yield from _leaves(one.name, getattr(value, one.name))
    else:
        yield name


def _attributes(spec: SegmenterSpec) -> str:
    """The descriptions of a spec's settings, each with the segmenter that it belongs to."""
    listed = (inspect.getdoc(spec.config) or "").partition(ATTRIBUTES)[2]
    return re.sub(r"^    (\w+): ", rf"    \1: {spec.name} only: ", listed, flags=re.MULTILINE) + "\n"


def chosen_segmenter(options: Any) -> SegmenterConfig:
    """The segmenter with its own settings.

    Raises:
        UsageError: there is no such segmenter.
        ConfigError: settings of another one were given.
    """
    own = set(segmenter_spec(options.segmenter).setting_names())
    given, foreign = {}, {}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if one.name in own:
            given[one.name] = value
        elif one.name != "segmenter" and value != one.default:
            foreign[one.name] = _changed(one.name, value, one.default)
    if foreign:
        owners = owners_of(next(iter(foreign)))
        names = [leaf for name, leaves in foreign.items() if owners_of(name) == owners for leaf in leaves]
        shown = [f"--{name.replace('_', '-')}" for name in names]
        raise ConfigError(counts_only(shown, "--segmenter", owners))
    return SegmenterConfig(segmenter=options.segmenter, **given)


def _changed(name: str, value: Any, usual: Any) -> list[str]:
    """The options that give a setting another value than the usual one."""
    if not isinstance(value, Settings):
        return [name]
    changed = [one.name for one in dataclasses.fields(value)]  # type: ignore[arg-type]
    return [one for one in changed if getattr(value, one) != getattr(usual, one)]


if TYPE_CHECKING:

    class SegmenterOptions(Settings):
        """What `options_class` makes of the registry."""

        segmenter: str
else:
    SegmenterOptions = options_class(list(SEGMENTERS.values()))
