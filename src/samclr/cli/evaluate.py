"""The command `samclr evaluate`. Its protocols, and their options, are those of the registry."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from samclr.cli.options import Column, Json, sets_options
from samclr.config.evaluation import EvaluationConfig, IntervalConfig, TargetConfig
from samclr.config.kinds import KINDS, kinds_that_take
from samclr.config.methods import Weights
from samclr.config.protocols import EvaluationData, ProtocolSpec, protocols_of, refuse_equal_options
from samclr.config.registry import PROTOCOLS
from samclr.config.serialise import CountsWith, Seed, Settings
from samclr.log import show_json, show_table

if TYPE_CHECKING:
    from samclr.runs.results import Result

DEVICE_HELP = "Device: auto (CUDA or MPS where available), cpu, cuda, cuda:1 ..., or mps."


def _protocol_options() -> Any:
    """A class with the settings of each protocol there is."""
    refuse_equal_options()
    options = []
    for spec in protocols_of():
        options.append((spec.name, _conditional(spec), field(default_factory=spec.config)))
    return make_dataclass("ProtocolOptions", options, bases=(Settings,), frozen=True, kw_only=True)


def _conditional(spec: ProtocolSpec) -> Any:
    """The protocol's settings, with what they count with: sets of its kind, and its switch."""
    kind: Any = Annotated[spec.config, CountsWith(KINDS[spec.kind].setting)]
    return Annotated[kind, CountsWith(spec.switch)] if spec.switch else kind


def _with_sets(setting: str) -> CountsWith:
    """Any of the kinds of sets that are opened with this setting."""
    found: CountsWith | None = None
    for kind in reversed(kinds_that_take(setting)):
        found = CountsWith(kind.setting, also=found)
    assert found is not None
    return found


AnyProtocols = Any
AnySets = Any
if not TYPE_CHECKING:
    AnyProtocols = _protocol_options()
    AnySets = sets_options(tuple[Path, ...], "SET...", lambda kind: kind.help)


@dataclass(frozen=True, kw_only=True)
class Evaluate(AnySets):
    """Measure a backbone: kNN, linear probes and fine-tuning on labelled sets, dense tasks, SVMs, object retrieval.

    TARGET is a run directory, a file or folder of weights (of `samclr export`, of timm), an ONNX file (features only),
    or the name of a timm model.
    A set is a folder with train/CLASS/* and test/CLASS/*, or with train*.parquet and test*.parquet, or NAME@ROOT
    (`samclr data list`); other options take sets of other kinds, see docs/evaluation.md.

    Example: samclr evaluate runs/photos --on cifar10/ --image-px 48
    """

    target: Annotated[Positional[str], arg(help="What to measure; see above.")]
    image_column: Annotated[Column, _with_sets("image_column")] = None
    download: Annotated[
        bool, arg(help="Download missing sets given as NAME@ROOT, through torchvision."), _with_sets("download")
    ] = False
    data: EvaluationData = field(default_factory=EvaluationData)
    protocols: AnyProtocols = field(default_factory=AnyProtocols)
    interval: IntervalConfig = field(default_factory=IntervalConfig)
    model: TargetConfig = field(default_factory=TargetConfig)
    untrained: Annotated[bool, arg(help="Measure the same backbone before any training, as a floor.")] = False
    which: Annotated[
        Weights | None,
        arg(
            help="Of a run: the trained weights (student), their running mean (teacher), what it exports as it was at "
            "its best step (best), or those that it began with (start), which the report compares with; by default "
            "what it exports."
        ),
    ] = None
    device: Annotated[str, arg(help=DEVICE_HELP)] = "auto"
    seed: Annotated[Seed | None, arg(help="Seed of an untrained backbone; by default the run's, else 0.")] = None
    out: Annotated[Path | None, arg(help="File that results are added to; by default the run's results.json.")] = None
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.evaluation.inputs import open_inputs

        inputs = open_inputs(
            self.target,
            sets={kind.name: getattr(self, kind.setting) for kind in KINDS.values()},
            untrained=self.untrained,
            download=self.download,
            image_column=self.image_column,
            which=self.which,
        )
        from samclr.evaluation.calls import results_of_each  # torch and timm, once all that is named is there

        found = []
        try:
            for results in results_of_each(
                inputs,
                config=self.config(),
                model=self.model,
                seed=self.seed,
                device=self.device,
                out=self.out,
            ):
                found += results
                if not self.json:
                    show_results(results)
        finally:  # what is measured is shown, also when a later set fails
            if self.json and found:
                show_json({"results": [result.to_dict() for result in found]})
        return 0

    def config(self) -> EvaluationConfig:
        """The options as the job takes them."""
        protocols = tuple(getattr(self.protocols, one.name) for one in fields(self.protocols))
        return EvaluationConfig(data=self.data, interval=self.interval, protocols=protocols)


def show_results(results: Sequence["Result"]) -> None:
    """The results of one backbone on one set: a line for each, with 95 % intervals."""
    if not results:
        return
    lines, columns = [], {"protocol": ""}
    for result in results:
        spec = PROTOCOLS[result.protocol]
        cells = {title: result.scores[name].text for name, title in spec.measures.items() if name in result.scores}
        columns |= dict.fromkeys(cells, "")
        lines.append({"protocol": f"{spec.title} {result.variant.replace('_', ' ')}".strip()} | cells)
    first = results[0]
    trained = f"{first.counts['num_train']:,} training and " if first.counts["num_train"] else ""
    sizes = f"{trained}{first.counts['num_test']:,} test images"
    show_table(f"{first.target} on {first.on}: {sizes}", [columns | line for line in lines])
