"""What every protocol's settings have, and how a protocol is declared. Its own settings stand in its spec."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from samclr.config.kinds import KINDS, Kind
from samclr.config.registry import PROTOCOLS
from samclr.config.serialise import Count, InputSide, Settings, Temperature, to_dict
from samclr.errors import PluginError


@dataclass(frozen=True, kw_only=True)
class EvaluationData(Settings):
    """Images of labelled sets, as every protocol on them takes them: kNN, all probes, fine-tuning.

    Dense tasks have their own, and protocols that train on crops a side of their own (crop_px, tune_px).

    Attributes:
        image_px: Side that labelled images are resized and centre-cropped to, in px.
        num_train: Size of a seeded random subset of the training split; None takes all.
        num_test: Size of a seeded random subset of the test split; None takes all.
    """

    image_px: InputSide = 128
    num_train: Count | None = None
    num_test: Count | None = None


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig(Settings):
    """Base of every protocol's settings. `is_asked` says whether it is run; by default it is."""

    name: ClassVar[str]
    sides: ClassVar[tuple[str, ...]] = ()
    """Settings that are sides of images in px: they are fitted to what the backbone takes."""

    @classmethod
    def named(cls, name: str) -> type["ProtocolConfig"]:
        """The settings of a protocol by its name. Raises UsageError for an unknown one."""
        return PROTOCOLS[name].config

    @property
    def is_asked(self) -> bool:
        """Whether the protocol is run with these settings."""
        return True

    @property
    def variants(self) -> dict[str, str]:
        """Its results with these settings, where they decide how many there are: by variant, what names the setting.

        The two differ in a main result alone, of which the first setting is: {"": "k100", "k300": "k300"}. Empty: its
        results have the variants that `ProtocolSpec.shown` names.
        """
        return {}

    @staticmethod
    def in_words(setting: str) -> str:
        """What names a setting, as it stands in titles: k100 as 100 clusters."""
        return setting

    def settings(self) -> dict[str, Any]:
        """Plain JSON values, without the protocol's name."""
        return {name: value for name, value in to_dict(self).items() if name != "name"}


@dataclass(frozen=True, kw_only=True)
class KnnConfig(ProtocolConfig):
    """Weighted kNN (Wu et al. 2018) on frozen features, here and while training.

    Attributes:
        knn_k: Neighbours that vote.
        knn_temperature: A vote weighs exp(cosine similarity / knn_temperature).
    """

    name: ClassVar[str] = "knn"

    knn_k: Count = 20
    knn_temperature: Temperature = 0.07


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A score that tables, cards, reports and studies show of a protocol.

    Attributes:
        measure: its name among the result's scores.
        title: of the column.
        variant: of which result of the protocol; None: of each that no other names, with the variant, in words, after
            the title.
    """

    measure: str
    title: str
    variant: str | None = ""


@dataclass(frozen=True, kw_only=True)
class ProtocolSpec:
    """Declares a protocol: how a frozen backbone is measured on a set.

    Attributes:
        title: as tables call it.
        config: its settings, whose `name` is the protocol's.
        build: "module:function" of (settings) -> samclr.evaluation.protocols.base.Protocol.
        measures: title of each score by its name, in the order of columns; all are shares, higher is better.
        shown: the scores that pages, cards and studies show.
        prefix: what its settings' names begin with, since all protocols' options stand in one command; the names
            NAME and skip_NAME are its own as well.
        switch: the setting that asks for it: without it the others have no effect, which a remark says.
        kind: of the sets that it measures on, by its name in KINDS (samclr.config.kinds): labelled, on images with a
            class each; dense, on images with a class for each pixel; and so on.
        per_class: name in the details of each class's share, for a study's page.
        side: the setting that is the side of its images, px.
        told: settings and counts of note with their titles, for model cards.
        order: place among the others: the smaller comes first.
    """

    title: str
    config: type[ProtocolConfig]
    build: str
    measures: Mapping[str, str]
    shown: tuple[Shown, ...]
    prefix: str
    switch: str = ""
    kind: Kind = "labelled"
    per_class: str = ""
    side: str = "image_px"
    told: Mapping[str, str] = field(default_factory=dict)
    order: int = 100

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PluginError(f"the protocol {self.name} is of the kind {self.kind!r}; expected {' or '.join(KINDS)}")
        own = {self.name, f"skip_{self.name}"}
        for one in fields(self.config):
            if not one.name.startswith(self.prefix) and one.name not in own:
                raise PluginError(
                    f"the protocol {self.name} has the setting {one.name}; expected names that begin with {self.prefix}"
                )

    @property
    def name(self) -> str:
        """The protocol's name."""
        return self.config.name


def first_is_main(settings: Iterable[str]) -> dict[str, str]:
    """As `ProtocolConfig.variants`, of a protocol whose first setting gives its main result."""
    return {("" if number == 0 else name): name for number, name in enumerate(settings)}


def register_protocol(spec: ProtocolSpec) -> ProtocolSpec:
    """Add a protocol for this process, and return its spec; a package declares it as an entry point of
    `samclr.protocols`. The command line has options of those that are there when it is imported.

    Raises:
        PluginError: it is not a ProtocolSpec, or its name is taken.
    """
    return PROTOCOLS.register(spec)


def protocols_of(kind: Kind | None = None) -> list[ProtocolSpec]:
    """The protocols of a kind, or all, in their order."""
    specs = [spec for spec in PROTOCOLS.values() if kind in (None, spec.kind)]
    return sorted(specs, key=lambda spec: (list(KINDS).index(spec.kind), spec.order))


def refuse_equal_options() -> None:
    """Raise PluginError where two protocols have a setting of one name: they would be one option."""
    owners: dict[str, str] = {}
    for spec in PROTOCOLS.values():
        for one in fields(spec.config):
            other = owners.setdefault(one.name, spec.name)
            if other != spec.name:
                raise PluginError(f"the protocols {other} and {spec.name} both have the setting {one.name}; rename one")
