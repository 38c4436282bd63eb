"""Pascal Context (Mottaghi et al., CVPR 2014) on the images of VOC 2010: as released, or as mmsegmentation converts it.

The release has MATLAB files of 459 classes, trainval/ID.mat, named in labels.txt, and lists of the 59 and 33 classes
that papers measure, 59_labels.txt and 33_labels.txt. Classes are matched by name; three are called otherwise in the
lists (FCN's pascalcontext_layers.py has the same three). mmsegmentation writes PNG files with the 59 classes and 0.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from samclr.datasets.catalogue import IGNORED, DataSetSpec, PixelClasses, Split, same_stem
from samclr.datasets.text_files import read_lines
from samclr.errors import ScenesError, name_some

CLASSES = (
    *("aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle", "building"),
    *("bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain", "dog"),
    *("door", "fence", "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorbike"),
    *("mountain", "mouse", "person", "plate", "platform", "pottedplant", "road", "rock", "sheep", "shelves"),
    *("sidewalk", "sign", "sky", "snow", "sofa", "table", "track", "train", "tree", "truck", "tvmonitor", "wall"),
    *("water", "window", "wood"),
)
CONVERTED, RAW = "SegmentationClassContext", "trainval"
OBJECTS_AND_CLASSES = ("SegmentationObject", "SegmentationClass")  # VOC 2010's own, in the same folder
LISTS = ("ImageSets/SegmentationContext/{split}.txt", "ImageSets/Main/{split}.txt")
NAMES, FEWER_NAMES = "labels.txt", "{count}_labels.txt"
OTHERWISE = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
RELEASE = (
    "the Pascal VOC page of Oxford, VOCtrainval_03-May-2010.tar; the Pascal Context page, trainval.tar.gz (maps and "
    "labels.txt, unpacked into VOC2010)"
)


def is_raw(root: Path) -> bool:
    """Whether the maps are the release's: converted ones go first."""
    return not (root / CONVERTED).is_dir()


def listed(root: Path, split: str) -> Sequence[str]:
    """The images of a split's list: the conversion's, else VOC's own, which it is made of."""
    files = [root / name.format(split=split) for name in LISTS[: 2 if (root / RAW).is_dir() else 1]]
    file = next((one for one in files if one.is_file()), None)
    if file is None:
        raise ScenesError(
            f"the split {split} of Pascal Context has no list: expected {' or '.join(str(one) for one in files)}"
        )
    return [f"{line.split()[0]}.jpg" for line in read_lines(file)]


def find_maps(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """The label map of each image, converted ones first."""
    return find_raw_maps(root, image_ids) if is_raw(root) else same_stem(CONVERTED)(root, image_ids)


def find_raw_maps(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """The release's label map of each image."""
    paths = [root / RAW / f"{image_id.removesuffix('.jpg')}.mat" for image_id in image_ids]
    return [path if path.is_file() else None for path in paths]


def pixel_classes(root: Path) -> PixelClasses:
    """The 59 classes; all else is ignored."""
    if is_raw(root):
        return PixelClasses(names=CLASSES, lookup=_lookup(root, CLASSES))
    return PixelClasses(names=CLASSES, lookup=(IGNORED, *range(len(CLASSES))))


def fewer_classes(count: int) -> Callable[[Path], PixelClasses]:
    """The classes that COUNT_labels.txt names, of the release's maps."""

    def classes(root: Path) -> PixelClasses:
        file = _beside(root, FEWER_NAMES.format(count=count))
        names = tuple(OTHERWISE.get(name, name) for name in _read_names(file).values())
        if len(names) != count or len(set(names)) != count:
            raise ScenesError(f"{file} names {len(set(names))} classes; expected {count}, each as `1: aeroplane`")
        return PixelClasses(names=names, lookup=_lookup(root, names))

    return classes


def _lookup(root: Path, names: Sequence[str]) -> tuple[int, ...]:
    """From a value of the release's maps to the place of its name; IGNORED where it has none."""
    file = _beside(root, NAMES)
    values = _read_names(file)
    if unknown := sorted(set(names) - set(values.values())):
        raise ScenesError(f"{file} lacks the classes {name_some(unknown)}; expected lines such as `2: aeroplane`")
    stated = Counter(values.values())
    if twice := [name for name in names if stated[name] > 1]:
        raise ScenesError(f"{file} has the classes {name_some(twice)} twice; restore it")
    places = {name: place for place, name in enumerate(names)}
    return tuple(places.get(values.get(value, ""), IGNORED) for value in range(1 + max(values)))


def _beside(root: Path, name: str) -> Path:
    """A list of names, in VOC2010 or among the maps."""
    places = [root / name, root / RAW / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ScenesError(
            f"Pascal Context has no {name} in {root}: it names the classes of {RAW}/*.mat; get it from its page"
        )
    return found


def _read_names(file: Path) -> dict[int, str]:
    """Names without spaces by their numbers, of lines such as `2: aeroplane`.

    Raises:
        ScenesError: a line is malformed, or a number stands there twice.
    """
    found: dict[int, str] = {}
    for line in read_lines(file):
        number, colon, name = line.partition(":")
        name = name.replace(" ", "").strip()
        if not colon or not number.strip().isdecimal() or not name:
            raise ScenesError(f"{file} has the line {line!r}; expected lines such as `2: aeroplane`")
        if int(number) in found:
            raise ScenesError(f"{file} has {line!r}, whose number stands there already; restore it")
        found[int(number)] = name
    return found


def context_set(
    name: str, title: str, classes: Callable[[Path], PixelClasses], *, is_converted: bool, names: str, got_at: str
) -> DataSetSpec:
    """A set of these classes. is_converted: whether it may be the conversion's, too. names: files of names it needs."""
    converted = f"{CONVERTED}/ID.png,ImageSets/SegmentationContext/{{train,val}}.txt}}, or there {{"
    return DataSetSpec(
        name=name,
        title=title,
        folders=("VOCdevkit/VOC2010", "VOC2010"),
        holds=CONVERTED if is_converted else RAW,
        also_holds=(RAW,) if is_converted else (),
        splits=(Split(name="train", num_images=4998), Split(name="val", num_images=5105)),
        scene_split="train",
        uses=("scenes", "regions", "dense"),
        layout=f"VOCdevkit/VOC2010/{{JPEGImages/ID.jpg,{converted if is_converted else ''}{RAW}/ID.mat,{names},"
        "ImageSets/Main/{train,val}.txt}",
        got_at=got_at,
        terms="photographs are Flickr's, under its terms; cite Mottaghi et al. 2014",
        images="JPEGImages",
        endings=(".jpg",),
        listed=listed,
        region_labels=find_maps if is_converted else find_raw_maps,
        class_labels=find_maps if is_converted else find_raw_maps,
        void=(0,),
        signs=("JPEGImages",) if is_converted else (),
        labels_among_scenes=(CONVERTED, *OBJECTS_AND_CLASSES),
        pixel_classes=classes,
        dense_splits=(("train",), "val"),
    )
