"""The plan of a study: every arm with its whole settings, and what is measured. Nothing here imports torch."""

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from samclr.config.evaluation import EvaluationConfig
from samclr.config.kinds import KINDS, Kind
from samclr.config.model import ModelConfig
from samclr.config.pretrain import PretrainConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.study.recipe import ANY, Metric, Reference

UNTRAINED = "untrained"
GENERATED = "digits"


@dataclass(frozen=True, kw_only=True)
class Store:
    """A region store that arms share."""

    name: str
    scenes: str
    segmenter: SegmenterConfig


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of the study's table. `missing` says why it cannot run, `adds` what the command lacks for it.

    `config` is that of every seed, with seed 0; `store` is the name of the region store it reads, `variant` that of the
    study's variant that it is.
    """

    name: str
    title: str
    scenes: str
    method: str
    strategy: Literal["image", "region", "random-box", "untrained"]
    segmenter: str | None
    temperature: float | None
    padding: float | None
    on: tuple[str, ...]
    config: PretrainConfig
    store: str | None = None
    variant: str = ""
    missing: str = ""
    adds: str = ""

    @property
    def start(self) -> tuple[object, ...]:
        """What decides, beside the seed, over the backbone's weights before any training."""
        model = self.config.model
        return model.backbone, model.model_args, model.stem, model.pretrained

    @property
    def views(self) -> str:
        """Strategy and segmenter in one."""
        return self.strategy if self.segmenter is None else f"{self.strategy} {self.segmenter}"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One evaluation with the path of its set; None where the command names none."""

    set: str
    kind: Kind
    path: Path | None

    @property
    def key(self) -> str:
        return f"{self.set}/{self.kind}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the study's folder must know to be resumed, shown and compared.

    Attributes:
        steps: of each run, where the command stated them.
        own_seeds: the study's, which are run where no command states others.
    """

    study: str
    source: str
    summary: str
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    stores: tuple[Store, ...]
    measurements: tuple[Measurement, ...]
    measuring: EvaluationConfig
    metrics: tuple[Metric, ...]
    references: tuple[Reference, ...] = ()
    quoted: str = ""
    headline: str = ""
    num_threads: int = 1
    start: ModelConfig | None = None
    scenes: tuple[tuple[str, tuple[Path, ...]], ...] = ()
    image_columns: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, Path], ...] = ()
    ignore_label: tuple[int, ...] = ()
    steps: int | None = None
    own_seeds: tuple[int, ...] = ()

    @property
    def stated_seeds(self) -> tuple[int, ...] | None:
        """Its seeds where commands stated them; None where they are the study's."""
        return self.seeds if self.own_seeds and self.seeds != self.own_seeds else None

    def runs(self) -> list["Run"]:
        """All runs, also those of missing arms: the seeds one after another, so that a further seed comes last."""
        return [Run(arm=arm, seed=seed) for seed in self.seeds for arm in self.arms]

    @property
    def has_several_scenes(self) -> bool:
        """Whether arms of equal titles may have trained on different scenes."""
        return len({arm.scenes for arm in self.arms if arm.name != UNTRAINED}) > 1

    def title_of(self, arm: Arm) -> str:
        """The arm's title, with its scenes where the study has several."""
        return f"{arm.scenes}: {arm.title}" if self.has_several_scenes and arm.scenes else arm.title

    def measurements_of(self, arm: Arm) -> list[Measurement]:
        """What is measured of an arm: the evaluations of its grid whose set has a path."""
        return [m for m in self.measurements if m.path is not None and (ANY in arm.on or m.set in arm.on)]

    def columns(self) -> list[tuple[Measurement, Metric]]:
        """The table's columns, also those of sets without a path."""
        return [(m, metric) for m in self.measurements for metric in self.metrics if metric.kind == m.kind]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm with one seed."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}.seed{self.seed}"

    def config(self, stores: Path) -> PretrainConfig:
        """The settings of this run, its region store under `stores`."""
        config = replace(self.arm.config, seed=self.seed)
        if self.arm.store is None:
            return config
        return replace(config, data=replace(config.data, regions=stores / self.arm.store))


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command says beside the study: paths by name, the weights to continue, changes of budget and seeds."""

    scenes: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    on: dict[str, Path] = field(default_factory=dict)
    dense_on: dict[str, Path] = field(default_factory=dict)
    multilabel_on: dict[str, Path] = field(default_factory=dict)
    objects_on: dict[str, Path] = field(default_factory=dict)
    detect_on: dict[str, Path] = field(default_factory=dict)
    image_columns: dict[str, str] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)
    ignore_label: tuple[int, ...] = ()
    start: ModelConfig | None = None
    steps: int | None = None
    seeds: tuple[int, ...] | None = None
    only: tuple[str, ...] = ()

    def sets(self, kind: Kind) -> dict[str, Path]:
        """The sets of a kind by their names."""
        found: dict[str, Path] = getattr(self, KINDS[kind].setting)
        return found


def matches(name: str, pattern: str) -> bool:
    """Whether an arm's or run's name is meant by a pattern; a pattern without a seed means all seeds."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.seed*")
