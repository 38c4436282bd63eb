"""The commands as dataclasses: their options, their help, and what they call.

Each imports what it needs when it runs, so that --help is instant.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Fixed, FlagCreatePairsOff, Positional, Suppress, arg, subcommand

from samclr.cli.data import Data
from samclr.cli.embed import Embed
from samclr.cli.evaluate import Evaluate
from samclr.cli.explore import Explore
from samclr.cli.options import Column, Fill, Json, Scenes
from samclr.cli.parse import parsed
from samclr.cli.regions import Look, Regions, Segment, Segmenters
from samclr.cli.study import StudyCommand
from samclr.cli.tree import Node
from samclr.cli.vectors import Duplicates, Select, Similar
from samclr.config.methods import Kept
from samclr.config.model import AUTO
from samclr.config.pretrain import Codec, Extension, OpenSetting, PretrainConfig, Role, ViewGroup
from samclr.config.recipes import RECIPES
from samclr.config.serialise import Bounds, InputSide, Seeds, Settings, Side
from samclr.config.sizing import OPEN_SETTINGS, left_open
from samclr.errors import UsageError
from samclr.log import say, show, show_fill, show_json, show_table
from samclr.processes.stopping import stop_status

if TYPE_CHECKING:
    from samclr.runs.before_after import BeforeAfter
    from samclr.training.costs import Costs


@dataclass(frozen=True, kw_only=True)
class Pack(Settings):
    """Decode scenes once into a memory-mapped bank. `pretrain` does this by itself.

    Example: samclr pack photos/ --max-side 2048
    """

    scenes: Positional[Scenes]
    image_column: Column = None
    bank: Annotated[Path | None, arg(help="Folder of the bank; by default one in the user's cache.")] = None
    max_side: Annotated[Side | None, arg(help="Cap on the longer side, in px; native size by default.")] = None
    codec: Annotated[Codec, arg(help="Format of pixels: raw (fast, 4 bytes each) or jpeg (a fraction, slower).")] = (
        "raw"
    )
    verify: Annotated[bool, arg(help="Read the whole bank and rebuild damaged parts; else only check sizes.")] = False
    fill: Fill = field(default_factory=Fill)
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.bank.bank import missing_bytes, pack_scenes
        from samclr.bank.places import default_bank, refuse_inside_scenes
        from samclr.datasets.sources import list_scenes

        refs = list_scenes(self.scenes, self.image_column)
        path = self.bank or default_bank(self.scenes, self.max_side, self.codec)
        refuse_inside_scenes(path, self.scenes, "--bank")
        if not path.exists():
            needed = missing_bytes(None, refs, self.max_side, self.codec)
            say(f"the bank {path} will take about {needed / 1e9:.2f} GB")
        _, report = pack_scenes(refs, path, self.max_side, self.fill.options(), self.codec, self.verify)
        return show_fill("packed", path, report, self.fill.strict, self.json)


def _shallow(settings: Settings, kind: Any) -> dict[str, Any]:
    return {one.name: getattr(settings, one.name) for one in fields(kind)}


@dataclass(frozen=True, kw_only=True)
class FromConfig(Settings):
    """Rerun the config.json of another run. Options of a recipe that follow override what it says.

    Example: samclr pretrain from-config runs/photos --out runs/again --seed 1
    """

    file: Annotated[Positional[Path], arg(help="A config.json, or the run directory that holds it.")]
    overrides: Suppress[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class GlobalViews(ViewGroup):
    __doc__ = ViewGroup.__doc__

    role: Suppress[Fixed[Role]] = "global"  # local views are those of num_local_views


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(PretrainConfig):
    __doc__ = PretrainConfig.__doc__

    recipe: Suppress[str] = "samclr"  # chosen as the sub-command
    auto: Suppress[Fixed[tuple[OpenSetting, ...]]] = ()
    extensions: Suppress[Fixed[tuple[Extension, ...]]] = ()
    group: GlobalViews = field(default_factory=GlobalViews)
    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH...", help="The same as --scenes.")] = ()

    @classmethod
    def of(cls, config: PretrainConfig) -> "RecipeOptions":
        """The options with these settings as their defaults."""
        group = GlobalViews(**_shallow(config.group, ViewGroup))
        return cls(**_shallow(config, PretrainConfig) | {"group": group})

    def needs(self) -> tuple[str, ...]:
        """The options that have a default and yet must be given."""
        return ("scenes", "regions") if self.views.reads_regions else ("scenes",)

    def config(self) -> PretrainConfig:
        """The settings, with the scenes of both kinds. Raises UsageError where both are given."""
        group = ViewGroup(**_shallow(self.group, ViewGroup))
        config = PretrainConfig(**_shallow(self, PretrainConfig) | {"group": group})
        if not self.folders:
            return config
        if config.data.scenes:
            first, named = self.folders[0], config.data.scenes[0]
            raise UsageError(
                f"scenes are given twice: {first}, and --scenes {named}; keep one, with all paths after it"
            )
        return replace(config, data=replace(config.data, scenes=self.folders))


AnyRecipe = Any
if not TYPE_CHECKING:
    AnyRecipe = (
        tyro.extras.subcommand_type_from_defaults(
            {name: RecipeOptions.of(replace(recipe.config, auto=OPEN_SETTINGS)) for name, recipe in RECIPES.items()},
            {
                name: f"{recipe.summary}.\n\nPaper: {recipe.paper}.\nOverrides: {recipe.overrides}.\n"
                f"Cost: {recipe.cost}.\nExpected: {recipe.expected}.\nExample: {recipe.command}"
                for name, recipe in RECIPES.items()
            },
            prefix_names=False,
        )
        | Annotated[FromConfig, subcommand("from-config")]
    )


@dataclass(frozen=True, kw_only=True)
class Pretrain(Settings):
    """Pre-train a backbone by a recipe. The same command resumes a run that was stopped or killed.

    Example: samclr pretrain samclr --scenes photos/ --regions photos.regions --out runs/photos
    """

    recipe: Annotated[AnyRecipe, arg(name="")]
    out: Annotated[Path, arg(help="Run directory, made if missing.")]
    budget: Annotated[
        Literal["auto", "paper"],
        arg(
            help="auto fits what you do not state of batch, micro-batch, steps, learning rate, warm-ups, precision and "
            "workers to folder and device; the data set that the recipe's steps are counted for keeps them. paper "
            "takes the recipe's; from-config, its file's."
        ),
    ] = "auto"
    dry_run: Annotated[bool, FlagCreatePairsOff, arg(help="Print steps, expected time, disk and memory, and stop.")] = (
        False
    )
    json: Json = False
    stated: Suppress[Fixed[tuple[str, ...]]] = ()  # names of the settings that the user typed

    def run(self) -> int:
        """Run the command."""
        from samclr.training.inputs import check_inputs

        config = self.config()
        self._say_partly_idle(config)
        check_inputs(config, self.out)
        if self.dry_run:
            from samclr.training.dry_run import estimate

            self._show_costs(estimate(config, self.out))
            return 0
        from samclr.runs.before_after import read_before_after
        from samclr.training.pretrain import pretrain  # torch and Lightning, once all that is named is there

        result = pretrain(config, self.out, announce=True)
        if not result.speaks:
            return stop_status() if result.stopped else 0
        found = read_before_after(self.out)
        state = f"{self.out}: {result.steps_done} of {result.num_steps} steps"
        if self.json:
            counts = {"steps_done": result.steps_done, "num_steps": result.num_steps, "is_stopped": result.stopped}
            table = None if found is None else [asdict(line) for line in found.table]
            more = {"best_step": None if found is None else found.best_step, "before_after": table}
            show_json({"run": self.out, **counts, "counts": result.data_counts, "costs": None, **more})
        for name, count in result.data_counts.items():
            if count and name not in ("images", "regions"):
                say(f"{count} {name.replace('_', ' ')}")
        if result.stopped:
            say(f"stopped: {state} are saved; rerun the same command to resume")
            return stop_status()
        say(f"done: {state}")
        if found is not None and not self.json:
            _show_before_after(found)
        return 0

    def _say_partly_idle(self, config: PretrainConfig) -> None:
        names = [f"--{name}-prob" for name in ("blur", "solarise") if f"{name}_prob" in self.stated]
        if names and config.augment.asymmetric and config.local.num_local_views > 0:
            say(
                f"{' and '.join(names)} {'applies' if len(names) == 1 else 'apply'} to local views alone here; for "
                f"global ones, too, give --no-asymmetric"
            )

    def _show_costs(self, costs: "Costs") -> None:
        if self.json:
            counts = {"steps_done": costs.steps_done, "num_steps": costs.num_steps, "is_stopped": False}
            more = {"best_step": None, "before_after": None}
            show_json({"run": self.out, **counts, "counts": {}, "costs": costs.to_dict(), **more})
            return
        several = costs.num_devices > 1
        among = f" on {costs.num_devices} devices, communication between them not counted" if several else ""
        show_table("dry run", costs.rows(among))

    def config(self) -> PretrainConfig:
        """The recipe with its overrides and absolute paths, or the configuration of another run."""
        from samclr.datasets.names import absolute_data

        given = self._from_file(self.recipe) if isinstance(self.recipe, FromConfig) else self.recipe
        config = given.config()
        model = config.model
        if model.pretrained not in (None, "timm") and "pretrained" in self.stated and "backbone" not in self.stated:
            model = replace(model, backbone=AUTO)
        left = () if self._keeps_numbers(config) else left_open(frozenset(self.stated))
        return replace(config, model=model, auto=left, data=absolute_data(config.data))

    def _keeps_numbers(self, config: PretrainConfig) -> bool:
        """Whether what was not stated is as it stands: in a config.json, or the recipe's on the set it is made for."""
        from samclr.datasets.names import parse_named

        if self.budget == "paper" or isinstance(self.recipe, FromConfig):
            return True
        named = [parse_named(path) for path in config.data.scenes]
        counted_for = RECIPES[config.recipe].counted_for
        return bool(named) and all(one is not None and f"{one[0].name}:{one[1]}" == counted_for for one in named)

    def _from_file(self, given: FromConfig) -> RecipeOptions:
        from samclr.runs.saved import CONFIG_FILE, load_config

        if given.file.is_file() and given.file.name != CONFIG_FILE:
            raise UsageError(f"{given.file} is not a {CONFIG_FILE}; name that of a run, or the run directory itself")
        saved = load_config(given.file.parent if given.file.is_file() else given.file)
        if {word.partition("=")[0] for word in given.overrides} & {"--steps", "--epochs"}:
            saved = replace(saved, extensions=())  # another length is that of a run of one piece
        usual = RecipeOptions.of(saved)
        place = Node(path=("samclr", "pretrain", "from-config"), kind=RecipeOptions, default=usual)
        return parsed(place, list(given.overrides), default=usual)


def _show_before_after(found: "BeforeAfter") -> None:
    """The table of a finished run, and the sentence on it."""
    if not found.table:
        return
    show_table("before and after", found.cells())
    for text in (found.caption(), found.sentence()):
        if text:
            say(text)


@dataclass(frozen=True, kw_only=True)
class Export(Settings):
    """Write a run's backbone for other libraries, with a model card beside it.

    Example: samclr export runs/photos --out backbone.safetensors
    """

    target: Annotated[Positional[Path], arg(metavar="RUN", help="Run directory.")]
    out: Annotated[Path, arg(help="File to write (.safetensors, .onnx, .pkl or .pth); for huggingface, a folder.")]
    layout: Annotated[
        Literal["timm", "torchvision", "huggingface", "onnx", "detectron2", "mmdet"],
        arg(
            help="timm, torchvision: safetensors; huggingface: a folder; onnx: compared with torch before it is kept; "
            "detectron2 (.pkl), mmdet (.pth): ResNets, with the lines of configuration."
        ),
    ] = "timm"
    image_px: Annotated[
        InputSide | None,
        arg(
            help="Onnx only: the one image size, in px, that the file is for. By default the file takes every size "
            "that the backbone takes; where that cannot be exported, the size of the run's views."
        ),
    ] = None

    which: Annotated[
        Kept | None,
        arg(
            help="The trained weights (student), their running mean (teacher), or what it exports as it was at its "
            "best step (best); by default what the run says."
        ),
    ] = None

    def run(self) -> int:
        """Run the command."""
        from samclr.runs.before_after import require_weights
        from samclr.runs.saved import load_config, require_run

        require_run(self.target)
        require_weights(self.target, load_config(self.target), self.which)
        from samclr.runs.export import export_run  # torch and timm, once the run is there

        loads = export_run(self.target, self.out, self.layout, self.image_px, self.which)
        say(f"wrote {self.out}")
        show(loads)
        return 0


@dataclass(frozen=True, kw_only=True)
class Report(Settings):
    """Write one self-contained HTML page about one run or several.

    Example: samclr report runs/photos runs/photos-image --out report.html
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...", help="Run directories.")]
    out: Annotated[Path | None, arg(help="The page; by default report.html in the first run.")] = None

    def run(self) -> int:
        """Run the command."""
        from samclr.runs.saved import load_config

        for run in self.runs:
            load_config(run)
        from samclr.pages.report import write_report  # torch and timm, once the runs are there

        say(f"wrote {write_report(self.runs, self.out)}")
        return 0


FROM_SCRATCH = tuple(name for name, recipe in RECIPES.items() if not recipe.continues)


@dataclass(frozen=True, kw_only=True)
class Demo(Settings):
    """The main job on generated scenes of handwritten digits, without a network: image views against region views,
    beside an untrained backbone, random boxes and a supervised ceiling, measured on digits in held-out scenes.

    Example: samclr demo --out runs/demo --seeds 0 1 2
    """

    out: Annotated[Path, arg(help="Folder for scenes, store, runs, results.json and report.html.")] = Path("runs/demo")
    seeds: Annotated[Seeds, arg(help="Seeds; each recipe runs once per seed.")] = (0,)
    recipes: Annotated[
        Annotated[tuple[Literal[FROM_SCRATCH], ...], Bounds(at_least=0, filled=True)],
        arg(help="Recipes to compare under one budget: those that need no trained weights."),
    ] = ("simclr", "samclr")
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.demo.demo import run_demo, table_rows, verdict

        arms = run_demo(self.out, self.seeds, say, recipes=self.recipes)
        if self.json:
            show_json({"arms": [asdict(arm) for arm in arms], "report": self.out / "report.html"})
        else:
            show_table("Digits as they stand in held-out scenes, with 95 % intervals", table_rows(arms))
        if gain := verdict(arms):
            say(gain)
        say(f"report: {self.out / 'report.html'}   numbers: {self.out / 'results.json'}")
        return 0


Command = (
    Annotated[Pack, subcommand("pack"), FlagCreatePairsOff]
    | Annotated[Segment, subcommand("segment"), FlagCreatePairsOff]
    | Annotated[Segmenters, subcommand("segmenters"), FlagCreatePairsOff]
    | Annotated[Look, subcommand("look"), FlagCreatePairsOff]
    | Annotated[Explore, subcommand("explore"), FlagCreatePairsOff]
    | Annotated[Regions, subcommand("regions"), FlagCreatePairsOff]
    | Annotated[Data, subcommand("data"), FlagCreatePairsOff]
    | Annotated[Pretrain, subcommand("pretrain")]
    | Annotated[Evaluate, subcommand("evaluate"), FlagCreatePairsOff]
    | Annotated[Export, subcommand("export"), FlagCreatePairsOff]
    | Annotated[Embed, subcommand("embed"), FlagCreatePairsOff]
    | Annotated[Report, subcommand("report"), FlagCreatePairsOff]
    | Annotated[Similar, subcommand("similar"), FlagCreatePairsOff]
    | Annotated[Duplicates, subcommand("duplicates"), FlagCreatePairsOff]
    | Annotated[Select, subcommand("select"), FlagCreatePairsOff]
    | Annotated[Demo, subcommand("demo"), FlagCreatePairsOff]
    | Annotated[StudyCommand, subcommand("study"), FlagCreatePairsOff]
)
