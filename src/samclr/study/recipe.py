"""A study as pure data: the grid of its arms, its budget, and what is measured of them. Nothing here imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from samclr.config.evaluation import EvaluationConfig
from samclr.config.kinds import KINDS, Kind
from samclr.config.pretrain import (
    AugmentConfig,
    Codec,
    FilterConfig,
    OptimConfig,
    PretrainConfig,
    Strategy,
)
from samclr.config.protocols import KnnConfig, ProtocolConfig, ProtocolSpec, protocols_of
from samclr.config.registry import METHODS
from samclr.config.segmenters import SegmenterConfig
from samclr.errors import ConfigError

ANY = "*"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score that the study shows; shares from 0 to 1, higher is better.

    Attributes:
        protocol, measure, variant: of which result, as samclr.runs.results.Result has them.
        title: as tables call it.
        kind: of the protocol.
        setting: what names the setting of a main result whose protocol has others by their variants: k100.
    """

    protocol: str
    measure: str
    title: str
    variant: str = ""
    kind: Kind = "labelled"
    setting: str = ""

    @property
    def key(self) -> str:
        """Its name in table.csv: knn_top1."""
        return "_".join(part for part in (self.protocol, self.variant, self.measure) if part)

    @property
    def keys(self) -> tuple[str, str]:
        """Its names in `Reference.key`, the second with the setting: in_context_miou, in_context_102400_miou."""
        return self.key, "_".join(part for part in (self.protocol, self.variant or self.setting, self.measure) if part)


def usual_metrics(measuring: EvaluationConfig | None = None) -> tuple[Metric, ...]:
    """What every protocol wants shown, of each result that it has with these settings; None takes the defaults."""
    measuring = measuring or EvaluationConfig()
    return tuple(metric for spec in protocols_of() for metric in _metrics_of(spec, measuring.of(spec.name)))


def _metrics_of(spec: ProtocolSpec, config: ProtocolConfig) -> Iterator[Metric]:
    named = {(one.measure, one.variant) for one in spec.shown}
    titles = {one.measure: one.title for one in spec.shown if one.variant is None}
    for one in spec.shown:
        if one.variant is None:
            variants = [variant for variant in config.variants if (one.measure, variant) not in named]
        else:
            variants = [one.variant] if one.variant in config.variants or not config.variants else []
        for variant in variants:
            setting, title = config.variants.get(variant, ""), one.title
            if one.variant is None or (setting and not variant):  # a main result says what it is of, as others do
                title = f"{titles.get(one.measure, title)}, {config.in_words(setting)}"
            yield Metric(
                protocol=spec.name,
                measure=one.measure,
                title=title,
                variant=variant,
                kind=spec.kind,
                setting="" if variant else setting,
            )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A set, by the name that the option of its kind (--on, --dense-on) gives it.

    `*` stands for every set that the command names.
    """

    set: str
    kind: Kind = "labelled"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every combination of these is an arm. Image views have neither segmenter nor padding and are counted once.

    Attributes:
        scenes: names that --scenes gives paths to; `*` stands for all of them.
        methods: names of methods.
        strategies: where views come from; random boxes have the sizes of the segmenter's regions.
        segmenters: names of `Study.segmenters`, or of `samclr segmenters` with their default settings.
        temperatures: None is that of the method's recipe for the strategy.
        paddings: None is that of the study's filter.
        steps: this grid's budget; None is the study's.
        on: sets that its arms are measured on.
    """

    scenes: tuple[str, ...] = (ANY,)
    methods: tuple[str, ...] = ("simclr",)
    strategies: tuple[Strategy, ...] = ("image", "region")
    segmenters: tuple[str, ...] = ("felzenszwalb",)
    temperatures: tuple[float | None, ...] = (None,)
    paddings: tuple[float | None, ...] = (None,)
    steps: int | None = None
    on: tuple[str, ...] = (ANY,)

    def __post_init__(self) -> None:
        for name in ("scenes", "methods", "strategies", "segmenters", "temperatures", "paddings", "on"):
            if not getattr(self, name):
                raise ConfigError(f"{name} of a grid is empty; give at least one")
        for method in self.methods:
            if method not in METHODS:
                raise ConfigError(f"methods of a grid names {method!r}; expected some of {', '.join(METHODS)}")
            if any(self.temperatures) and not hasattr(METHODS[method].config(), "temperature"):
                raise ConfigError(f"temperatures of a grid are given, but {method} has no temperature")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An arm with settings of its own, where the question is not one of a grid's factors.

    Attributes:
        name: the end of the arm's name, in letters, digits, dots and dashes.
        title: as tables call it.
        config: its whole settings, budget included; paths, seed, device and, where the study continues trained weights,
            these and their backbone are filled in.
        segmenter: as in a grid, for settings that read regions.
    """

    name: str
    title: str
    config: PretrainConfig
    segmenter: str = "felzenszwalb"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A published number to show beside ours, a share from 0 to 1; its source is in `Study.quoted`.

    Attributes:
        arm: name of the arm, `*` and `?` as in file names; one that is quoted and not run has a name of its own.
        set, key: what was measured, see `Metric.keys`: in_context_miou is of whatever memory the study names first,
            in_context_102400_miou of that one alone.
        value: the share.
        title: of a quoted arm that is not run; with the scenes that its name begins with.
    """

    arm: str
    set: str
    key: str
    value: float
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid of arms with one budget, measured alike. Settings that are None stay those of each method's recipe.

    Attributes:
        name: of the page.
        summary: the question, in a sentence.
        grids: joined; an arm that is in two of them is one arm.
        variants: arms beside those of the grids, trained on every set of scenes that the command names.
        continues: whether all runs, of variants alone, continue trained weights, which the command then has to name;
            what they score before it stands in the place of the untrained backbone.
        seeds: of the runs; equal seeds share weights, image order and colours, so arms are compared pair by pair.
        optim: the budget. Steps and not epochs, so that arms are comparable.
        evaluations: what is measured of each run.
        metrics: the numbers shown, as far as something was measured; by default `usual_metrics` of `measuring`.
        measuring: images of labelled sets, and settings of protocols; those that are not asked for do not run.
        segmenters: settings of segmenters by their name in the grid.
        filter, augment: of all arms.
        backbone, stem, projector_hidden, size_px, local_size_px, crop_scale, max_side, codec: of all arms, see
            PretrainConfig.
        references, quoted: numbers published elsewhere, and where.
        headline: the arm (`*` and `?` as in file names) that is compared with every other of its scenes.
        on_request: segmenters whose arms run only where --only names them; the page shows them as missing.
        untrained: measure the backbone before any training too, as a floor; of variants the first one's, with which
            those of other backbones are not compared.
        generated: the study makes its own scenes, `digits`, with that many scenes; they need no --scenes. Every kind
            of protocol that it names measures on held-out ones.
        device: of all runs; auto takes a GPU where there is one.
    """

    name: str
    summary: str
    grids: tuple[Grid, ...] = ()
    variants: tuple[Variant, ...] = ()
    continues: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    optim: OptimConfig = field(default_factory=OptimConfig)
    evaluations: tuple[Evaluation, ...] = tuple(Evaluation(set=ANY, kind=kind) for kind in KINDS)
    metrics: tuple[Metric, ...] = ()
    measuring: EvaluationConfig = field(default_factory=EvaluationConfig)
    segmenters: tuple[tuple[str, SegmenterConfig], ...] = ()
    filter: FilterConfig | None = None
    augment: AugmentConfig | None = None
    backbone: str | None = None
    stem: Literal["standard", "conv3x3-stride2", "conv3x3-stride1"] | None = None
    projector_hidden: int | Literal["recipe"] | None = "recipe"
    size_px: int | None = None
    local_size_px: int | None = None
    crop_scale: tuple[float, float] | None = None
    max_side: int | None = None
    codec: Codec = "raw"
    references: tuple[Reference, ...] = ()
    quoted: str = ""
    headline: str = ""
    on_request: tuple[str, ...] = ()
    untrained: bool = True
    generated: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not (self.grids or self.variants) or not self.seeds or not self.evaluations:
            raise ConfigError(f"study {self.name!r} needs at least one grid or variant, one seed and one evaluation")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"study {self.name!r} has a seed twice: {self.seeds}; name each once")
        if self.continues and self.grids:
            raise ConfigError(
                f"study {self.name!r} continues trained weights, but arms of its grids begin with random ones; "
                "give them as variants"
            )
        if self.optim.epochs is not None:
            raise ConfigError("a study's budget is counted in steps, so that arms are comparable: give optim.steps")

    def segmenter(self, name: str) -> SegmenterConfig:
        """The settings of a segmenter of the grid."""
        return dict(self.segmenters).get(name) or SegmenterConfig(segmenter=name)

    def config(self, method: str, strategy: Strategy, temperature: float | None, steps: int | None) -> PretrainConfig:
        """An arm's settings, without seed, paths and padding: the method's recipe with the study's changes."""
        image_recipe, region_recipe = METHODS[method].recipes[:2]
        recipe = (image_recipe if strategy == "image" else region_recipe).config
        model, group, local = recipe.model, recipe.group, recipe.local
        changes: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        if self.projector_hidden != "recipe":
            changes["projector"] = replace(recipe.method.projector, projector_hidden=self.projector_hidden)
        config = replace(
            recipe,
            method=replace(recipe.method, **changes),
            data=replace(recipe.data, max_side=self.max_side, codec=self.codec),
            views=replace(recipe.views, strategy=strategy),
            filter=self.filter or recipe.filter,
            augment=self.augment or recipe.augment,
            model=replace(
                model,
                backbone=self.backbone or model.backbone,
                stem=self.stem or model.stem,
            ),
            group=replace(group, size_px=self.size_px or group.size_px, crop_scale=self.crop_scale or group.crop_scale),
            local=replace(local, local_size_px=self.local_size_px or local.local_size_px),
            optim=replace(self.optim, steps=steps or self.optim.steps),
        )
        return self.measured(config)

    def measured(self, config: PretrainConfig) -> PretrainConfig:
        """These settings on the study's device, with what it measures by."""
        knn = self.measuring.of("knn")
        assert isinstance(knn, KnnConfig)
        runtime = replace(config.runtime, device=self.device)
        return replace(config, evaluation=self.measuring.data, knn=knn, runtime=runtime)
