"""Methods, segmenters, data sets and protocols by name. Each is a spec, which is discovered, never imported from here.

The built-in specs are the attribute SPEC of every module `..._spec` in their package (samclr/methods/byol_spec.py);
those of other packages are found through entry points (the groups samclr.methods, samclr.segmenters and so on), or
handed over by `register`. A spec imports no torch: what needs torch is in another file, which the spec names as
"module:attribute".
"""

import importlib
import pkgutil
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from samclr.errors import PluginError, UsageError, did_you_mean

if TYPE_CHECKING:
    from samclr.config.methods import MethodSpec
    from samclr.config.protocols import ProtocolSpec
    from samclr.config.segmenters import SegmenterSpec


@cache
def _entry_points() -> Any:
    """Of all packages, read once, as four registries ask; Python 3.11 has another type for them than 3.12."""
    return entry_points()


class Spec(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str:
        """The name that commands and configurations use."""
        ...


SpecT = TypeVar("SpecT", bound=Spec)


class Registry(Mapping[str, SpecT], Generic[SpecT]):
    """The specs of one kind by name, in the order in which they were found: built-ins by name, then others."""

    def __init__(self, kind: str, room: str, type_name: str, group: str | None = None):
        """kind: as messages say it. room: the package of the built-ins. group: of entry points, by default the room."""
        self.kind, self.room, self.group, self._type_name = kind, room, group or room, type_name
        self._specs: dict[str, SpecT] = {}
        self._is_filled = self._is_filling = False
        self._lock = threading.RLock()  # worker processes ask from several threads at first

    def register(self, spec: SpecT) -> SpecT:
        """Add a spec and return it; adding the same one twice is harmless.

        Raises:
            PluginError: it is not a spec of this kind, or its name is taken.
        """
        self._fill()
        return self._add(spec, "register")

    def __getitem__(self, name: str) -> SpecT:
        """Raises UsageError, which names the nearest, for an unknown name."""
        self._fill()
        if name not in self._specs:
            raise UsageError(f"{name!r} is not a {self.kind}{did_you_mean(name, self._specs)}")
        return self._specs[name]

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(list(self._specs))

    def __len__(self) -> int:
        self._fill()
        return len(self._specs)

    def _fill(self) -> None:
        if self._is_filled:
            return
        with self._lock:
            if self._is_filled or self._is_filling:  # a spec may ask while it is imported
                return
            self._is_filling = True
            try:
                self._find()
                self._is_filled = True
            except BaseException:
                self._specs.clear()  # who asks again is told again
                raise
            finally:
                self._is_filling = False

    def _find(self) -> None:
        package = importlib.import_module(self.room)
        modules = [f"{self.room}.{one.name}" for one in pkgutil.iter_modules(package.__path__)]
        own = [(importlib.import_module(module).SPEC, module) for module in modules if module.endswith("_spec")]
        for spec, module in sorted(own, key=lambda one: one[0].name.lower()):
            self._add(spec, module)
        for entry in sorted(_entry_points().select(group=self.group), key=lambda entry: entry.name):
            self._add(self._load(entry), f"the entry point {entry.value} of {entry.dist and entry.dist.name}")

    def _load(self, entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except Exception as error:
            owner = entry.dist.name if entry.dist else "a package"
            raise PluginError(
                f"the {self.kind} {entry.name} of {owner} ({entry.value}) cannot be imported: "
                f"{type(error).__name__}: {error}; fix or uninstall {owner}"
            ) from error

    def _add(self, spec: Any, source: str) -> SpecT:
        if type(spec).__name__ != self._type_name:
            raise PluginError(f"{source} gave a {type(spec).__name__}; expected a {self._type_name}")
        before = self._specs.get(spec.name)
        if before is not None and before is not spec:
            raise PluginError(f"there are two {self.kind}s called {spec.name}, one of them from {source}; rename one")
        self._specs[spec.name] = spec
        return spec


def resolve(path: str) -> Any:
    """What "module:attribute" names. Raises PluginError if it cannot be imported or is not there."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"{path} cannot be imported: {error}; expected module:attribute of an installed package"
        ) from error


METHODS: "Registry[MethodSpec]" = Registry("method", "samclr.methods", "MethodSpec")
PROTOCOLS: "Registry[ProtocolSpec]" = Registry(
    "protocol", "samclr.evaluation.protocols", "ProtocolSpec", group="samclr.protocols"
)
SEGMENTERS: "Registry[SegmenterSpec]" = Registry(
    "segmenter", "samclr.regions.segmenters", "SegmenterSpec", group="samclr.segmenters"
)
