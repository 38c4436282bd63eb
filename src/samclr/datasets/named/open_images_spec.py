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
MASK_FOLDERS = ("{split}-masks", "masks/{split}", "{split}/masks")
ARCHIVE = "{split}-masks-"  # and the first character of its masks' names
COLUMNS = ("MaskPath", "ImageID")


def tables_of(root: Path, image_ids: Sequence[str]) -> list[Path | None]:
    """For each image the table of its split, where that is there."""
    splits = {image_id.partition("/")[0] for image_id in image_ids}
    candidates = {split: [root / (folder + TABLE).format(split=split) for folder in TABLE_FOLDERS] for split in splits}
    found = {split: next((path for path in paths if path.is_file()), None) for split, paths in candidates.items()}
    return [found[image_id.partition("/")[0]] for image_id in image_ids]


def mask_files(table: Path) -> Iterator[tuple[str, str]]:
    """The images and mask files that a table names, row by row.

    A mask lies in a folder of its split's masks, whole or as the sixteen archives unpack, by the first character: the
    one in which the first mask that is there lies. The others may be missing.

    Raises:
        ScenesError: the table lacks a column, or none of its masks is where they should be.
    """
    split = table.name.removesuffix(TABLE.format(split=""))
    roots = [table.parent] if table.parent.name not in ("annotations", split) else [table.parent.parent, table.parent]
    folder = _folder_of(table, list(_folders(roots, split)))
    for image, name in _read_rows(table):
        yield image, f"{folder.format(name[0])}/{name}"


def _read_rows(table: Path) -> Iterator[tuple[str, str]]:
    """The image and the mask's name of each row. Raises ScenesError for a malformed one."""
    rows = read_rows(table)
    head = next(rows, [])
    missing = [column for column in COLUMNS if column not in head]
    if missing:
        raise ScenesError(f"{table} has no column {name_some(missing)}; expected {', '.join(COLUMNS)}")
    mask, image = map(head.index, COLUMNS)
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(head) or not row[image] or not is_portable(row[mask]):
            raise ScenesError(f"{table}, row {number} is {','.join(row)[:80]!r}; expected {','.join(head)[:80]}")
        yield row[image], row[mask]


def _folder_of(table: Path, folders: Sequence[str]) -> str:
    """The folder of the first mask that is there; of a table without rows, any. Raises ScenesError where none is."""
    there: dict[str, list[str]] = {}  # by first character, as a table has millions of rows
    named = ""
    for _, name in _read_rows(table):
        named = named or name
        if name[0] not in there:
            there[name[0]] = [one for one in folders if Path(one.format(name[0])).is_dir()]
        found = next((one for one in there[name[0]] if Path(one.format(name[0]), name).is_file()), None)
        if found is not None:
            return found
    if named:
        split = table.name.removesuffix(TABLE.format(split=""))
        places = [f"{split}-masks/", f"{split}-masks/{split}-masks-{named[0]}/", f"masks/{split}/"]
        raise ScenesError(f"{table} names masks such as {named}, of which none is in any of {', '.join(places)}")
    return folders[0]


def _folders(roots: Sequence[Path], split: str) -> Iterator[str]:
    """Folders that may hold a mask; {} stands for the first character of its name."""
    for root in (str(root).replace("{", "{{").replace("}", "}}") for root in roots):
        for folder in (one.format(split=split) for one in MASK_FOLDERS):
            yield f"{root}/{folder}"
            yield f"{root}/{folder}/{ARCHIVE.format(split=split)}{{}}"
        yield f"{root}/{ARCHIVE.format(split=split)}{{}}"


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
    labels_among_scenes=tuple(
        folder.format(split=split)
        for split in ("train", "validation", "test")
        for folder in (*MASK_FOLDERS, *(ARCHIVE + first for first in "0123456789abcdef"))
    ),
    label_kinds=(
        LabelKind(
            name="masks", title=TABLE.format(split="SPLIT"), find=tables_of, form="mask files", mask_files=mask_files
        ),
    ),
)
