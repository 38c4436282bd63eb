"""What every segmenter's settings have, and how a segmenter is declared. Its own settings stand in its spec."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from samclr.config.registry import SEGMENTERS
from samclr.config.serialise import Bounds, Settings, checked, from_dict, to_dict
from samclr.errors import ConfigError, UsageError, did_you_mean

Labels = Annotated[tuple[int, ...], Bounds(at_least=0, at_most=2**32 - 1)]
Row = dict[str, Any]


def one_per_core(options: Settings) -> int | None:
    """The usual rule for processes: None, which stands for one per core."""
    return None


def on_cpu(options: Settings) -> str:
    """The usual rule for devices: the segmenter runs on CPUs alone."""
    return "cpu"


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec:
    """Declares a segmenter, or a family of them that share settings and code.

    Attributes:
        name: what --segmenter takes; of a family its name in messages.
        summary: a remark for the table of `samclr segmenters`.
        config: its settings. `samclr segment` has an option for each field, and for each field of a group of them.
        build: "module:class" of a samclr.regions.segmenters.base.Segmenter, made with (segmenter, options).
        licence: of its code or weights, for the same table.
        region_title: as tables name its regions; by default the segmenter's name.
        names: of a family: the segmenters that are known by name.
        takes: of a family: whether it takes this --segmenter; the names of others come first.
        others: of a family: what it takes beside `names`, with {segmenter} for what was asked for.
        rows: of a family: the rows of that table, with the keys of `table`.
        maker: from settings to what a store keeps of them; a store of another maker is not continued.
        workers: from settings to how many processes suit it; None stands for one per core.
        device: from settings to the device that it runs on, as samclr.models.devices.choose_device takes it.
        takes_labels: its settings have `labels` and `ignore_label`, and a study's --labels are meant for it.
    """

    name: str
    summary: str
    config: type[Settings]
    build: str
    licence: str = ""
    region_title: str = ""
    names: tuple[str, ...] = ()
    takes: Callable[[str], bool] | None = None
    others: str = ""
    rows: Callable[[], list[Row]] | None = None
    maker: Callable[[Any], dict[str, Any]] = to_dict
    workers: Callable[[Any], int | None] = one_per_core
    device: Callable[[Any], str] = on_cpu
    takes_labels: bool = False

    def known_names(self) -> tuple[str, ...]:
        """The segmenters that it takes by name."""
        return self.names or (self.name,)

    def choice(self) -> str:
        """As a message says which segmenter it is: felzenszwalb; sam-vit-b or another SAM."""
        return f"{self.names[0]} or another {self.name}" if self.names else self.name

    def table(self) -> list[Row]:
        """Its rows of `samclr segmenters`: hub_id and size_mb of the weights, None where none are needed; is_here:
        nothing is missing on this machine."""
        if self.rows is not None:
            return self.rows()
        weights = {"hub_id": None, "size_mb": None, "licence": self.licence, "is_here": True}
        return [{"segmenter": self.name, **weights, "remark": self.summary}]

    def setting_names(self) -> tuple[str, ...]:
        """The names of its settings."""
        return _names(self.config)

    def option_names(self) -> tuple[str, ...]:
        """The names of its options: of its settings, or of what is in a group of them."""
        usual: Any = self.config()
        return tuple(
            option
            for name in self.setting_names()
            for option in (_names(getattr(usual, name)) if name in _groups(usual) else (name,))
        )


def segmenter_spec(segmenter: str) -> SegmenterSpec:
    """The spec that takes a --segmenter. Raises UsageError for a name that can mean nothing."""
    for spec in sorted(SEGMENTERS.values(), key=lambda one: one.takes is not None):
        if segmenter and (spec.name == segmenter if spec.takes is None else spec.takes(segmenter)):
            return spec
    known = [name for spec in SEGMENTERS.values() for name in spec.known_names()]
    others = [spec.others.format(segmenter=segmenter) for spec in SEGMENTERS.values() if spec.others]
    otherwise = f"give {', '.join(['a name from `samclr segmenters`', *others])}"
    raise UsageError(f"no segmenter {segmenter!r}{did_you_mean(segmenter, known, otherwise=otherwise)}")


def register_segmenter(spec: SegmenterSpec) -> SegmenterSpec:
    """Add a segmenter for this process, and return its spec; a package declares it as an entry point of
    `samclr.segmenters`.

    Raises:
        PluginError: it is not a SegmenterSpec, or its name is taken.
    """
    return SEGMENTERS.register(spec)


def owners_of(setting: str) -> list[SegmenterSpec]:
    """The specs whose settings have one of that name."""
    return [spec for spec in SEGMENTERS.values() if setting in spec.setting_names()]


@dataclass(frozen=True, kw_only=True, init=False)
class SegmenterConfig(Settings):
    """A segmenter with its own settings: `SegmenterConfig(segmenter="felzenszwalb", scale=300.0)`.

    Attributes:
        segmenter: A name from `samclr segmenters`, a Hugging Face id of a SAM, or a folder with one.
        options: the settings of that segmenter, of the class that its spec names; single ones are given by name.

    Raises:
        UsageError: there is no such segmenter.
        ConfigError: a setting of another segmenter, or a wrong value.
    """

    segmenter: str = "felzenszwalb"
    options: Settings

    def __init__(self, *, segmenter: str = "felzenszwalb", options: Settings | None = None, **given: Any) -> None:
        name = checked(str, segmenter, "segmenter")
        spec = segmenter_spec(name)
        foreign = [setting for setting in given if setting not in spec.setting_names()]
        if foreign:
            raise ConfigError(self._foreign(spec, foreign[0]), foreign[0])
        own: Any = spec.config() if options is None else checked(spec.config, options, "options")
        object.__setattr__(self, "segmenter", name)
        object.__setattr__(self, "options", replace(own, **given))

    @staticmethod
    def _foreign(spec: SegmenterSpec, setting: str) -> str:
        owners = owners_of(setting)
        if owners:
            return counts_only([setting], "segmenter", owners)
        return f"{setting} is not a setting of {spec.name}; expected {', '.join(spec.setting_names()) or 'none'}"

    @classmethod
    def with_options(cls, segmenter: str, options: Mapping[str, Any]) -> "SegmenterConfig":
        """From the options of `samclr segment`, whose names lead past the groups that settings stand in.

            SegmenterConfig.with_options("sam-digits", {"points_per_side": 8, "device": "cpu"})

        Raises:
            UsageError: there is no such segmenter.
            ConfigError: no segmenter has such an option, this one does not have it, or its value is out of range.
        """
        known = {option for spec in SEGMENTERS.values() for option in spec.option_names()}
        for name in options:
            if name not in known:
                hint = did_you_mean(name, sorted(known), most=len(known))
                raise ConfigError(f"{name} is not an option of segmenters{hint}", name)
        usual: Any = segmenter_spec(segmenter).config()
        grouped: dict[str, dict[str, Any]] = {}
        given: dict[str, Any] = {}
        for name, value in options.items():
            group = next((one for one in _groups(usual) if name in _names(getattr(usual, one))), None)
            if group is None:
                given[name] = value
            else:
                grouped.setdefault(group, {})[name] = value
        given |= {group: replace(getattr(usual, group), **own) for group, own in grouped.items()}
        return cls(segmenter=segmenter, **given)

    def maker(self) -> dict[str, Any]:
        """What the store's manifest keeps of the settings; see also regions.segmenters.create.maker_of."""
        return {"segmenter": self.segmenter, **segmenter_spec(self.segmenter).maker(self.options)}

    def to_saved(self) -> dict[str, Any]:
        """As it stands in files: the segmenter and its settings, side by side."""
        return {"segmenter": self.segmenter, **to_dict(self.options)}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> "SegmenterConfig":
        """From a file; older ones hold the settings of all segmenters, of which only its own had an effect."""
        rest = dict(saved)
        segmenter = checked(str, rest.pop("segmenter", "felzenszwalb"), f"{where}.segmenter")
        spec = segmenter_spec(segmenter)
        own = {name: value for name, value in rest.items() if name in spec.setting_names() or not owners_of(name)}
        return cls(segmenter=segmenter, options=from_dict(spec.config, own, where))


def _names(settings: Any) -> tuple[str, ...]:
    return tuple(one.name for one in fields(settings))


def _groups(settings: Any) -> list[str]:
    """The settings that are groups of settings."""
    return [name for name in _names(settings) if isinstance(getattr(settings, name), Settings)]


def counts_only(settings: Sequence[str], chooser: str, owners: Sequence[SegmenterSpec]) -> str:
    """The sentence about settings of another segmenter than the one chosen."""
    one = len(settings) == 1
    return (
        f"{', '.join(settings)} {'has' if one else 'have'} no effect here: "
        f"{'it applies' if one else 'they apply'} only with {chooser} {' or '.join(spec.choice() for spec in owners)}"
    )
