"""The command `samclr study`. It imports what it needs when it runs, so that --help is instant."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg, subcommand

from samclr.cli.options import Json, sets_options
from samclr.config.kinds import KINDS, EvaluationKind
from samclr.config.model import AUTO, Deviation, Mean, ModelConfig
from samclr.config.segmenters import Labels
from samclr.config.serialise import Bounds, CountsWith, Seeds, Settings, Steps, Threads
from samclr.errors import UsageError
from samclr.log import say, show_json, show_rows, show_table
from samclr.processes.stopping import stop_status

NOT_LISTED = CountsWith("list", (False,))
OF_ALL_RUNS = CountsWith("index", (None,))
Folder = Annotated[Positional[Path], arg(metavar="DIR", help="Folder of a study.")]


@dataclass(frozen=True, kw_only=True)
class ListStudies(Settings):
    """List the ready studies and their questions.

    Example: samclr study list
    """

    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.study.studies import STUDIES

        rows = [{"study": study.name, "question": study.summary} for study in STUDIES.values()]
        show_rows("ready studies", rows, self.json, key="studies")
        return 0


@dataclass(frozen=True, kw_only=True)
class StudyStatus(Settings):
    """Show the state of a study's runs, and why some failed or are missing.

    Example: samclr study status runs/controls
    """

    folder: Folder
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.study.folder import open_study
        from samclr.study.status import status_rows

        show_runs(self.folder, status_rows(*open_study(self.folder)), self.json)
        return 0


@dataclass(frozen=True, kw_only=True)
class StudyPage(Settings):
    """Rewrite a study's tables and page from what is there now.

    Example: samclr study page runs/controls
    """

    folder: Folder

    def run(self) -> int:
        """Run the command."""
        from samclr.study.folder import open_study
        from samclr.study.page import write_study

        page = write_study(*open_study(self.folder))
        say(f"page: {page}   tables: {page.with_name('table.md')}, {page.with_name('table.csv')}")
        return 0


@dataclass(frozen=True, kw_only=True)
class StudyScenes(Settings):
    """What a study trains on."""

    scenes: Annotated[
        tuple[str, ...],
        arg(metavar="NAME=PATH...", help="Images to train on. A name given twice joins its paths."),
    ] = ()


def _help_of_sets(kind: EvaluationKind) -> str:
    return f"{kind.sets.capitalize()} to measure on."


AnySets = Any
if not TYPE_CHECKING:
    AnySets = sets_options(tuple[str, ...], "NAME=PATH...", _help_of_sets, after=StudyScenes)


@dataclass(frozen=True, kw_only=True)
class RunStudy(AnySets):
    """Run a study: a grid of runs under one budget, measured alike, with a table and a page.

    Safe to interrupt: rerun the same command to resume; what is finished is not repeated.

    Example: samclr study run smoke --out runs/smoke
             samclr study run controls --out runs/controls --scenes photos=photos/ --on cifar10=cifar10/
    """

    study: Annotated[
        Positional[str],
        arg(metavar="STUDY", help="A ready study (`study list`), or a Python file with STUDY = Study(...)."),
    ]
    out: Annotated[Path, arg(help="Folder for runs, region stores, tables and page.")]
    image_column: Annotated[
        tuple[str, ...],
        arg(metavar="NAME=COLUMN...", help="Column of scenes' Parquet files that holds the images."),
    ] = ()
    labels: Annotated[
        tuple[str, ...], arg(metavar="NAME=DIR...", help="Label maps of scenes, for the segmenter labels.")
    ] = ()
    pretrained: Annotated[
        str | None,
        arg(help="Weights that all runs continue, for studies that do; as for pretrain."),
    ] = None
    backbone: Annotated[str, arg(help="The model that these weights are of; auto reads it from them.")] = AUTO
    mean: Annotated[Mean | None, arg(help="Mean that their input is normalised by; see pretrain.")] = None
    std: Annotated[Deviation | None, arg(help="Deviation that their input is normalised by; see pretrain.")] = None
    ignore_label: Annotated[Labels, arg(help="Values of label maps that are not regions, such as void.")] = ()
    steps: Annotated[Steps | None, arg(help="Steps of each run, instead of the study's.")] = None
    seeds: Annotated[Seeds | None, arg(help="Seeds to run, instead of the study's.")] = None
    only: Annotated[
        tuple[str, ...],
        arg(metavar="ARM...", help="Run only these: names of arms or runs, with * and ?."),
    ] = ()
    engine: Annotated[
        Literal["local", "ray"],
        arg(help="Where runs are executed: in processes here, or on a Ray cluster (samclr[ray])."),
        *(NOT_LISTED, OF_ALL_RUNS),
    ] = "local"
    parallel: Annotated[
        Threads | None, arg(help="Runs at a time; by default one per GPU, or one per core without GPUs.")
    ] = None
    list: Annotated[bool, arg(help="Print the runs with their numbers and run none.")] = False
    index: Annotated[
        Annotated[int, Bounds(at_least=0, at_most=10**6)] | None,
        arg(help="Run only the run of this number, as SLURM arrays do."),
        NOT_LISTED,
    ] = None
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.study.load import load_study

        study, given = load_study(self.study), self._given()
        from samclr.study.job import plan_study, run_one, run_study, select_runs  # torch, once the study is there
        from samclr.study.page import write_study
        from samclr.study.status import status_rows

        folder, plan = plan_study(study, self.study, self.out, given, self.parallel)
        if self.list:
            show_runs(self.out, status_rows(folder, plan), self.json)
            return 0
        if self.index is not None:
            run, outcome = run_one(folder, plan, self.index)
            if self.json:
                show_runs(self.out, status_rows(folder, plan), self.json)
            say(f"{outcome}: {run.name}{f': {reason}' if (reason := folder.reason(run)) else ''}")
            return {"failed": 1, "stopped": stop_status()}.get(outcome, 0)
        runs = select_runs(plan, given)
        tally = run_study(folder, plan, runs, self.engine, self.parallel, study.device, say)
        page = write_study(folder, plan)
        if self.json:
            show_runs(self.out, status_rows(folder, plan), self.json)
        counts = {name: len(tally.names(name)) for name in ("done", "failed", "missing")}
        say(f"{', '.join(f'{count} {name}' for name, count in counts.items())} of {len(runs)} runs; page: {page}")
        if tally.stopped:
            say("stopped; rerun the same command to resume")
            return stop_status()
        if counts["failed"]:
            say(f"samclr study status {self.out} says why runs failed; rerun the same command to retry them")
        return 1 if counts["failed"] else 0

    def _given(self) -> Any:
        from samclr.datasets.names import absolute, absolute_measured, scene_paths
        from samclr.study.plan import Given

        return Given(  # with absolute roots, so that the study's folder can be used from anywhere
            scenes={name: scene_paths(paths) for name, paths in _named(self.scenes, "--scenes").items()},
            image_columns=_one_each(self.image_column, "--image-column", "COLUMN"),
            **{
                kind.setting: _one_place_each(getattr(self, kind.setting), kind.option, absolute_measured)
                for kind in KINDS.values()
            },
            labels=_one_place_each(self.labels, "--labels", absolute),
            ignore_label=self.ignore_label,
            start=self._start(),
            steps=self.steps,
            seeds=self.seeds,
            only=self.only,
        )

    def _start(self) -> ModelConfig | None:
        if self.pretrained is not None:
            return ModelConfig(backbone=self.backbone, pretrained=self.pretrained, mean=self.mean, std=self.std)
        for name, value in (("backbone", self.backbone != AUTO), ("mean", self.mean), ("std", self.std)):
            if value:
                raise UsageError(f"--{name} says what --pretrained is; give both")
        return None


@dataclass(frozen=True, kw_only=True)
class StudyCommand(Settings):
    """Compare arms: a grid of runs under one budget, measured alike, with a table and a page.

    Example: samclr study run smoke --out runs/smoke
    """

    command: Annotated[
        Annotated[ListStudies, subcommand("list")]
        | Annotated[RunStudy, subcommand("run")]
        | Annotated[StudyStatus, subcommand("status")]
        | Annotated[StudyPage, subcommand("page")],
        arg(name=""),
    ]

    def run(self) -> int:
        """Run the command."""
        return self.command.run()


def show_runs(folder: Path, runs: "list[dict[str, Any]]", as_json: bool) -> None:
    """The runs of a study and their states."""
    if as_json:
        show_json({"runs": runs})
        return
    rows = []
    for run in runs:
        steps = {"steps": f"{run['steps_done']}/{run['num_steps']}"}
        rows.append({name: run[name] for name in ("index", "run", "stage")} | steps | {"reason": run["reason"]})
    show_table(str(folder), rows)


def _named(values: tuple[str, ...], flag: str, what: str = "PATH") -> "dict[str, list[str]]":
    found: dict[str, list[str]] = {}
    for value in values:
        name, equals, given = value.partition("=")
        if not (name and equals and given) or not name.replace("-", "").replace("_", "").isalnum():
            example = "DIR" if what == "PATH" else what
            raise UsageError(f"{flag} {value!r} is not NAME={what}; give for example {flag} photos={example}")
        found.setdefault(name, []).append(given)
    return found


def _one_each(values: tuple[str, ...], flag: str, what: str = "PATH") -> dict[str, str]:
    named = _named(values, flag, what)
    for name, given in named.items():
        if len(given) > 1:
            raise UsageError(f"{flag} names {name} twice; give it one {what.lower()}")
    return {name: given[0] for name, given in named.items()}


def _one_place_each(values: tuple[str, ...], flag: str, place: Callable[[Path], Path]) -> dict[str, Path]:
    return {name: place(Path(path)) for name, path in _one_each(values, flag).items()}
