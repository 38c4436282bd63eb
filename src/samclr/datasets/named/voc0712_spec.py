"""Pascal VOC 2007 and 2012 together, as papers on detection train on them: trainval of both, tested on test of 2007."""

from pathlib import Path

from samclr.datasets.catalogue import DataSetSpec, Split, for_each
from samclr.datasets.voc import BACKGROUND, CITED, VOID, boxes_of, downloader, lacks_annotations, lister

YEARS = {"trainval": (2007, 2012), "test": (2007,)}


def listed(root: Path, split: str) -> list[str]:
    """The images of each year's list, below their year."""
    return [
        f"VOC{year}/JPEGImages/{name}" for year in YEARS[split] for name in lister(year)(root / f"VOC{year}", split)
    ]


def objects_of(root: Path, image_id: str) -> Path | None:
    """SegmentationObject/ID.png of the image's year."""
    path = root / f"{image_id.replace('JPEGImages', 'SegmentationObject', 1).removesuffix('.jpg')}.png"
    return path if path.is_file() else None


def download(root: Path) -> None:
    """Both years by torchvision."""
    downloader(2007, "trainval", "test")(root)
    downloader(2012, "trainval")(root)


SPEC = DataSetSpec(
    name="voc0712",
    title="Pascal VOC 2007 and 2012",
    folders=("VOCdevkit",),
    holds="VOC2007/JPEGImages",
    splits=(
        Split(name="trainval", num_images=5011 + 11540, labelled=False),
        Split(name="test", num_images=4952, labelled=False),
    ),
    scene_split="trainval",
    uses=("scenes", "regions", "detection"),
    layout="VOCdevkit/{VOC2007,VOC2012}/, as voc2007 and voc2012",
    got_at="the Pascal VOC page of Oxford, VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar and "
    "VOCtrainval_11-May-2012.tar",
    terms=CITED,
    endings=(".jpg",),
    listed=listed,
    region_labels=for_each(objects_of),
    void=(BACKGROUND, VOID),
    boxes=boxes_of("trainval", test="test"),
    faults_of=lacks_annotations(listed),
    download=download,
)
