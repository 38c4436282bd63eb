"""The command `samclr embed`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from samclr.cli.evaluate import DEVICE_HELP
from samclr.cli.options import Column, Fill, Json, Scenes
from samclr.config.embedding import EVERY_REGION, EmbedConfig
from samclr.config.evaluation import TargetConfig
from samclr.config.methods import Weights
from samclr.config.model import Deviation, Mean, Stem
from samclr.config.serialise import CountsWith, InputSide, Seed, Settings
from samclr.config.views import FilterConfig
from samclr.log import options_called, say, show_fill


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Settings):
    """What a file of weights does not say about itself; see samclr evaluate.

    Attributes:
        architecture: The model whose weights the file holds: any timm model name, or small-cnn.
        model_args: Arguments of timm's model beside its name, such as num_heads=12; see pretrain.
        stem: ResNets only: the first layers; see pretrain.
        mean: Mean of red, green and blue, on values from 0 to 1, that the input is normalised by; goes with std.
        std: Standard deviation of red, green and blue; see mean.
        input_px: Image size, in px, to build a backbone of fixed size for; by default --image-px.
    """

    architecture: str | None = None
    model_args: tuple[str, ...] = ()
    stem: Stem | None = None
    mean: Mean | None = None
    std: Deviation | None = None
    input_px: InputSide | None = None

    def target(self) -> TargetConfig:
        """As the job takes them."""
        given = {name: value for name, value in vars(self).items() if name != "architecture"}
        return TargetConfig(backbone=self.architecture, **given)


@dataclass(frozen=True, kw_only=True)
class Embed(Settings):
    """Make one vector of every image and of every region, by a frozen backbone, and keep them in a folder.

    Regions are pooled from the image's patch features under their exact masks: one pass for all. The folder holds
    Parquet files; samclr.open_vectors reads it in Python.
    Safe to interrupt: rerun the same command to resume.

    Example: samclr embed photos/ --backbone runs/photos --regions photos.regions --out photos.vectors
    """

    scenes: Positional[Scenes]
    image_column: Column = None
    backbone: Annotated[
        str,
        arg(
            help="A run directory, a file or folder of weights, an ONNX file (with --regions-by crop), or the name of "
            "a timm model: what samclr evaluate takes.",
            metavar="TARGET",
        ),
    ]
    regions: Annotated[
        Path | None, arg(help="Region store of the scenes; without it images alone get a vector.", metavar="STORE")
    ] = None
    out: Annotated[Path, arg(help="Folder of the vectors, made if missing.", metavar="VECTORS")]
    vectors: EmbedConfig = field(default_factory=EmbedConfig)
    filter: Annotated[FilterConfig, CountsWith("regions")] = EVERY_REGION
    model: ModelOptions = field(default_factory=ModelOptions)
    untrained: Annotated[bool, arg(help="The same backbone before any training.")] = False
    which: Annotated[
        Weights | None,
        arg(help="Of a run: student, teacher or start; by default what it exports. See samclr evaluate."),
    ] = None
    device: Annotated[str, arg(help=DEVICE_HELP)] = "auto"
    seed: Annotated[Seed | None, arg(help="Seed of an untrained backbone; by default the run's, else 0.")] = None
    engine: Annotated[
        Literal["local", "ray"], arg(help="Where to run: processes here, or actors of a Ray cluster (samclr[ray]).")
    ] = "local"
    export: Annotated[
        tuple[Literal["lance", "faiss", "fiftyone"], ...],
        arg(help="Also write the vectors into VECTORS/exports for LanceDB, Faiss or FiftyOne (extras lance, faiss)."),
    ] = ()
    fill: Fill = field(default_factory=Fill)
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.bank.places import refuse_inside_scenes
        from samclr.datasets.sources import list_scenes
        from samclr.evaluation.inputs import check_target
        from samclr.scenes.fill import tally_text

        refuse_inside_scenes(self.out, self.scenes, "--out")
        check_target(self.backbone, self.untrained, self.which)
        refs = list_scenes(self.scenes, self.image_column)
        from samclr.embedding.export import check_exports, write_exports  # torch, once all that is named is there
        from samclr.embedding.work import EmbedJob, default_workers, embed_scenes, embed_scenes_on_ray

        check_exports(self.export)
        job = EmbedJob(
            target=self.backbone,
            given=self.model.target(),
            untrained=self.untrained,
            seed=self.seed,
            which=self.which,
            device=self.device,
            config=self.vectors,
            filter=self.filter,
            regions=None if self.regions is None else self.regions.absolute(),
            scenes=self.scenes,
            image_column=self.image_column,
        )
        embed = embed_scenes if self.engine == "local" else embed_scenes_on_ray
        options = self.fill.options(default_workers(self.device), is_last=not self.export)
        with options_called(backbone="architecture"):
            _, report = embed(refs, job, self.out, options)
        say(tally_text(report))
        status = show_fill("embedded", self.out, report, self.fill.strict, self.json)
        if self.export and not report.is_in_vain:
            for line in write_exports(self.out, self.export, refs):
                say(line)
        return status
