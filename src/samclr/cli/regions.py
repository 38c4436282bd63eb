"""The commands that make, check, score, exchange and show regions.

Each imports what it needs when it runs, so that --help is instant.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg, subcommand

from samclr.cli.options import Column, Fill, Json, Scenes
from samclr.cli.segmenters import SegmenterOptions, chosen_segmenter
from samclr.config.pretrain import FilterConfig
from samclr.config.registry import SEGMENTERS
from samclr.config.segmenters import Labels, Row
from samclr.config.serialise import Bounds, CountsWith, Seed, Settings
from samclr.log import say, show, show_fill, show_json, show_table

Store = Annotated[Positional[Path], arg(help="Folder of the region store.")]

Compared = Annotated[
    tuple[Path, ...],
    arg(help="Scenes, to find rows whose file was replaced or turned since.", metavar="PATH..."),
]
ComparedColumn = Annotated[Column, CountsWith("scenes")]


def _listed(scenes: tuple[Path, ...], image_column: str | None) -> list[Any] | None:
    """The scenes, where some are given."""
    from samclr.datasets.sources import list_scenes

    return list_scenes(scenes, image_column) if scenes else None


@dataclass(frozen=True, kw_only=True)
class Segment(Settings):
    """Find the regions of every scene and keep them in a store.

    Safe to interrupt: rerun the same command to resume.

    Example: samclr segment photos/ --segmenter felzenszwalb --out photos.regions
    """

    scenes: Positional[Scenes]
    image_column: Column = None
    out: Annotated[Path, arg(help="Folder of the region store, made if missing.")]
    settings: SegmenterOptions = field(default_factory=SegmenterOptions)
    engine: Annotated[
        Literal["local", "ray"], arg(help="Where to run: processes here, or actors of a Ray cluster (samclr[ray]).")
    ] = "local"
    fill: Fill = field(default_factory=Fill)
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.bank.places import refuse_inside_scenes
        from samclr.datasets.sources import list_scenes
        from samclr.regions.segment import segment_scenes
        from samclr.regions.segmenters.create import default_workers
        from samclr.scenes.fill import tally_text

        config = chosen_segmenter(self.settings)
        refuse_inside_scenes(self.out, self.scenes, "--out")
        refs = list_scenes(self.scenes, self.image_column)
        options = self.fill.options(default_workers(config))
        if self.engine == "ray":
            from samclr.regions.ray_engine import segment_scenes_on_ray

            _, report = segment_scenes_on_ray(refs, config, self.out, options)
        else:
            _, report = segment_scenes(refs, config, self.out, options)
        say(tally_text(report))
        return show_fill("segmented", self.out, report, self.fill.strict, self.json)


@dataclass(frozen=True, kw_only=True)
class Segmenters(Settings):
    """List what --segmenter takes, with size, licence and whether it is in the local cache.

    Any Hugging Face id of a SAM and any folder written by save_pretrained work as well.

    Example: samclr segmenters
    """

    json: Json = False

    def run(self) -> int:
        """Run the command."""
        rows = [row for spec in SEGMENTERS.values() for row in spec.table()]
        if self.json:
            show_json({"segmenters": rows})
        else:
            show_table("segmenters", [_shown(row) for row in rows])
        return 0


def _shown(row: Row) -> dict[str, str]:
    """A segmenter as a line of the table."""
    size = "none needed" if row["size_mb"] is None else f"{row['size_mb']:,} MB {row['hub_id'] or ''}".strip()
    here = {"weights": size, "licence": row["licence"].split(" (")[0], "here": "yes" if row["is_here"] else "no"}
    return {"segmenter": row["segmenter"], **here, "remark": row["remark"]}


@dataclass(frozen=True, kw_only=True)
class Verify(Settings):
    """Decode every mask of a region store and compare it with its box and area.

    Example: samclr regions verify photos.regions
    """

    store: Store
    scenes: Compared = ()
    image_column: ComparedColumn = None
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.regions.scene_check import SceneCheck
        from samclr.regions.store import KIND, open_store, verify_store
        from samclr.storage.parts import command_of

        check = SceneCheck.of(_listed(self.scenes, self.image_column))
        faults = verify_store(open_store(self.store), check.fault)
        if self.json:
            show_json({"faults": faults})
        else:
            for line in (*faults, f"{len(faults)} faults in {self.store}"):
                show(line)
        if faults:
            say(
                f"delete the files named above from {self.store} and rerun {command_of(KIND)}, "
                f"which makes their rows again"
            )
        return 1 if faults else 0


@dataclass(frozen=True, kw_only=True)
class Stats(Settings):
    """Counts, areas, errors and times of a region store.

    Example: samclr regions stats photos.regions
    """

    store: Store
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.regions.store import open_store, store_stats

        stats = store_stats(open_store(self.store))
        if self.json:
            show_json(stats)
            return 0
        rows = []
        for name, value in (stats.pop("maker") | stats).items():
            if name == "errors":
                value = len(value)
            elif isinstance(value, dict):
                value = "  ".join(f"{k} {v:.4g}" for k, v in value.items() if v is not None)
            rows.append({"what": name.removeprefix("num_").replace("_", " "), "value": value})
        show_table(str(self.store), rows)
        for image_id, text in stats["errors"].items():
            show(f"  {image_id}: {text}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Score(Settings):
    """Compare a store with human segmentations: best covering, and recall at IoU 0.5.

    Label maps have the relative stems of the images, with _1, _2 ... where several people labelled one (PNG, ids
    of 8 or 16 bits). A data set's own are found and read by its rule.

    Example: samclr regions score bsds.regions --segmentations bsds500/segmentations/test
    """

    store: Store
    segmentations: Annotated[Path, arg(help="Folder of label maps, or a data set as NAME:SPLIT@ROOT.")]
    ignore_label: Annotated[
        Labels,
        arg(help="Values that are not segments, such as a border of 255; by default those the segmenter ignored."),
    ] = ()
    scenes: Compared = ()
    image_column: ComparedColumn = None
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.regions.score import score_store
        from samclr.regions.store import open_store

        score = score_store(
            open_store(self.store), self.segmentations, self.ignore_label, _listed(self.scenes, self.image_column)
        )
        if self.json:
            show_json(score)
        else:
            show_table(str(self.store), [{name.removeprefix("num_"): value for name, value in score.items()}])
        return 0


@dataclass(frozen=True, kw_only=True)
class Import(Settings):
    """Make a store of masks from elsewhere: COCO JSON (FiftyOne, Label Studio, CVAT ...) or SA-1B's JSON files.

    Entries are matched to scenes by their whole path; what matches no scene, or several, is counted and named.
    Sizes must agree with the photo's, unless an option says why they differ. An image with a malformed mask counts as
    failed.

    Example: samclr regions import masks.json --scenes photos/ --out photos.regions
    """

    file: Annotated[Positional[Path], arg(help="A COCO JSON file, or a folder of SA-1B JSON files.")]
    scenes: Scenes
    image_column: Column = None
    out: Annotated[Path, arg(help="Folder of the region store, made if missing.")]
    rescale: Annotated[
        bool, arg(help="Masks of another size with the photo's aspect were made for a resized copy: scale them.")
    ] = False
    exif: Annotated[bool, arg(help="All masks were made for the photos before their EXIF rotation: rotate them.")] = (
        False
    )
    strip_prefix: Annotated[str, arg(help="Leading folders of the file's names that the scenes' paths lack.")] = ""
    add_prefix: Annotated[str, arg(help="Leading folders of the scenes' paths that the file's names lack.")] = ""
    retry_errors: Annotated[bool, arg(help="Retry images that failed before.")] = False
    replace_changed: Annotated[
        bool, arg(help="Redo the rows of images whose file was replaced, instead of stopping.")
    ] = False
    strict: Annotated[bool, arg(help="End with status 1 if any image failed, or any entry or scene has no match.")] = (
        False
    )
    json: Json = False

    def run(self) -> int:
        """Run the command."""
        from samclr.bank.places import refuse_inside_scenes
        from samclr.datasets.sources import list_scenes
        from samclr.regions.importing import ImportOptions, import_regions

        refuse_inside_scenes(self.out, self.scenes, "--out")
        prefixes = {"strip_prefix": self.strip_prefix, "add_prefix": self.add_prefix}
        options = ImportOptions(rescale=self.rescale, exif=self.exif, **prefixes)
        refs = list_scenes(self.scenes, self.image_column)
        report = import_regions(self.file, refs, self.out, options, self.replace_changed, self.retry_errors)
        return show_fill("imported", self.out, report, self.strict, self.json)


@dataclass(frozen=True, kw_only=True)
class ExportRegions(Settings):
    """Write a store as COCO JSON (one file), or as SA-1B does (one JSON file per image).

    Example: samclr regions export photos.regions --out masks.json
    """

    store: Store
    out: Annotated[Path, arg(help="A .json file for coco, a folder for sa1b.")]
    layout: Annotated[Literal["coco", "sa1b"], arg(help="Format to write.")] = "coco"
    scenes: Compared = ()
    image_column: ComparedColumn = None

    def run(self) -> int:
        """Run the command."""
        from samclr.bank.places import refuse_inside_scenes
        from samclr.regions.interchange import export_coco, export_sa1b
        from samclr.regions.store import open_store

        refuse_inside_scenes(self.out, self.scenes, "--out")
        write = export_coco if self.layout == "coco" else export_sa1b
        num_images, num_regions = write(open_store(self.store), self.out, _listed(self.scenes, self.image_column))
        say(f"wrote {num_regions} regions of {num_images} images to {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Look(Settings):
    """Write a page that shows a store: scenes with regions before and after the filter, padded boxes, histograms.

    Example: samclr look photos.regions --scenes photos/ --out look.html
    """

    store: Store
    scenes: Scenes
    image_column: Column = None
    out: Annotated[Path | None, arg(help="The page; by default look.html in the store.")] = None
    filter: FilterConfig = field(default_factory=FilterConfig)
    num_scenes: Annotated[
        int,
        Bounds(at_least=0, at_most=2000),
        arg(help="Scenes drawn at random; the worst and the emptiest are shown as well."),
    ] = 12
    seed: Annotated[Seed, arg(help="Seed for the choice of scenes.")] = 0

    def run(self) -> int:
        """Run the command."""
        from samclr.bank.places import refuse_inside_scenes
        from samclr.datasets.sources import list_scenes
        from samclr.regions.store import open_store

        if self.out is not None:
            refuse_inside_scenes(self.out, self.scenes, "--out")
        store, refs = open_store(self.store), list_scenes(self.scenes, self.image_column)
        from samclr.pages.look import write_look  # scikit-image and jinja2, once all that is named is there

        page = write_look(store, refs, self.filter, self.num_scenes, self.seed, self.out)
        say(f"wrote {page}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Regions(Settings):
    """Check, count, score or exchange a region store.

    Example: samclr regions stats photos.regions
    """

    command: Annotated[
        Annotated[Verify, subcommand("verify")]
        | Annotated[Stats, subcommand("stats")]
        | Annotated[Score, subcommand("score")]
        | Annotated[Import, subcommand("import")]
        | Annotated[ExportRegions, subcommand("export")],
        arg(name=""),
    ]

    def run(self) -> int:
        """Run the command."""
        return self.command.run()
