"""Open Images (Kuznetsova et al., IJCV 2020; masks: Benenson et al., CVPR 2019), the part with boxes and masks.

A split's masks are PNG files, one an object, not 0 where it is; a table names each with its image and class:
SPLIT-annotations-object-segmentation.csv. Images outside the table have no masks, and most of the release's have none.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from samclr.datasets.catalogue import DataSetSpec, LabelKind, Split
from samclr.datasets.text_files import read_rows
from samclr.errors import ScenesError, name_some
from samclr.storage.files import is_portable

TABLE = "{split}-annotations-object-segmentation.csv"
TABLE_FOLDERS = ("", "annotations/", "{split}/")
COLUMNS = ("MaskPath", "ImageID")


def tables_of(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """For each image the table of its split, where that is there."""
    splits = {image_id.partition("/")[0] for image_id in image_ids}
    candidates = {split: [root / (folder + TABLE).format(split=split) for folder in TABLE_FOLDERS] for split in splits}
    found = {split: next((path for path in paths if path.is_file()), None) for split, paths in candidates.items()}
    return [found[image_id.partition("/")[0]] for image_id in image_ids]


def mask_files(table: Path) -> Iterator[tuple[str, str]]:
    """The images and mask files that a table names, row by row.

    A mask lies in a folder of its split's masks, whole or as the sixteen archives unpack, by the first character. Some
    may be missing.

    Raises:
        ScenesError: the table lacks a column, or none of its masks is where they should be.
    """
    folder = _folder_of(table)
    for image, name in _named(table):
        yield image, f"{folder.format(name[0])}/{name}"


def _named(table: Path) -> Iterator[tuple[str, str]]:
    """The image and the mask's name of each row. Raises ScenesError for a malformed table."""
    rows = read_rows(table)
    head = next(rows, [])
    missing = [column for column in COLUMNS if column not in head]
    if missing:
        raise ScenesError(f"{table} has no column {name_some(missing)}; expected {', '.join(COLUMNS)}")
    mask, image = map(head.index, COLUMNS)
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(head) or not row[image] or not is_portable(name := row[mask]):
            raise ScenesError(f"{table}, row {number} is {','.join(row)[:80]!r}; expected {','.join(head)[:80]}")
        yield row[image], name


def _folder_of(table: Path) -> str:
    """The folder of the first mask that is there; {} stands for the first character of its name."""
    split = table.name.removesuffix(TABLE.format(split=""))
    roots = [table.parent] if table.parent.name not in ("annotations", split) else [table.parent.parent, table.parent]
    there: dict[str, list[str]] = {}  # by a first character: few rows are looked up where no folder is there
    first = ""
    for _, name in _named(table):
        first, start = first or name, name[0]
        if start not in there:
            there[start] = [one for one in _folders(roots, split) if Path(one.format(start)).is_dir()]
        found = next((one for one in there[start] if Path(one.format(start), name).is_file()), None)
        if found is not None:
            return found
    if first:
        places = [f"{split}-masks/", f"{split}-masks/{split}-masks-{first[0]}/", f"masks/{split}/"]
        raise ScenesError(
            f"{table} names the mask {first}, which is in none of {', '.join(places)}, and neither is another one"
        )
    return ""


def _folders(roots: Sequence[Path], split: str) -> Iterator[str]:
    """Folders that may hold a mask; {} stands for the first character of its name."""
    for root in (str(root).replace("{", "{{").replace("}", "}}") for root in roots):
        for folder in (f"{split}-masks", f"masks/{split}", f"{split}/masks"):
            yield f"{root}/{folder}"
            yield f"{root}/{folder}/{split}-masks-{{}}"
        yield f"{root}/{split}-masks-{{}}"


SPEC = DataSetSpec(
    name="open-images",
    title="Open Images, boxable images",
    folders=("open-images", "open_images", "OpenImages", "openimages"),
    holds="train",
    also_holds=("validation", "test", "images/train", "images/validation", "images/test"),
    splits=(
        Split(name="train", num_images=1743042),
        Split(name="validation", num_images=41620),
        Split(name="test", num_images=125436, required=False),
    ),
    scene_split="train",
    uses=("scenes", "regions"),
    layout="{train,validation,test}/*.jpg, also below images/, SPLIT-annotations-object-segmentation.csv, "
    "SPLIT-masks/*.png (or masks/SPLIT, or SPLIT-masks-0 to -f in it)",
    got_at="the Open Images site: images of the subset with boxes; the segmentation tables and masks of each split",
    terms="annotations CC BY 4.0; photographs listed as CC BY 2.0; cite Kuznetsova et al. 2020",
    images_also=("images",),
    endings=(".jpg",),
    beside=(".csv",),
    label_kinds=(
        LabelKind(
            name="masks", title=TABLE.format(split="SPLIT"), find=tables_of, form="mask files", mask_files=mask_files
        ),
    ),
)
