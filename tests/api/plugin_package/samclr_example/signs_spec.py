"""A data set of generated pictures with a class each, and a class for each pixel. Fetching it draws it."""

from pathlib import Path

from samclr.datasets.catalogue import IGNORED, DataSetSpec, PixelClasses, Split, same_stem

COLOURS = {"blue": (20, 60, 200), "red": (200, 40, 30)}
NUM_IMAGES = {"train": 8, "test": 4}


def download(root: Path) -> None:
    """Draw it: a square of the class's colour on grey, and where it lies as a label map."""
    from PIL import Image

    for split, count in NUM_IMAGES.items():
        for number in range(count):
            name = list(COLOURS)[number % 2]
            picture, labels = Image.new("RGB", (48, 40), (90, 100, 95 + number)), Image.new("L", (48, 40), 0)
            box = (4 + number, 6, 24 + number, 26)
            picture.paste(COLOURS[name], box)
            labels.paste(1 + number % 2, box)
            for kind, image in (("images", picture), ("labels", labels)):
                folder = root / "signs" / kind / split / name
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / f"{number}.png")


def pixel_classes(root: Path) -> PixelClasses:
    """The ground has no class."""
    return PixelClasses(names=tuple(COLOURS), lookup=(IGNORED, *range(len(COLOURS))))


SPEC = DataSetSpec(
    name="signs",
    title="Signs",
    folders=("signs",),
    holds="images",
    splits=tuple(Split(name=name, num_images=count) for name, count in NUM_IMAGES.items()),
    scene_split="train",
    uses=("scenes", "regions", "dense", "labelled"),
    layout="images/{train,test}/COLOUR/*.png, labels/{train,test}/COLOUR/*.png",
    got_at="this package: samclr data check signs --root DIR --download",
    terms="none",
    images="images",
    endings=(".png",),
    region_labels=same_stem("labels"),
    class_labels=same_stem("labels"),
    void=(0,),
    pixel_classes=pixel_classes,
    download=download,
)
