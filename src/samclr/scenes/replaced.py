"""Whether what a row was made of was replaced since: its image, its label or its regions, where the work reads any.

Stamps are compared first; a file is read and hashed only where they differ. What keeps its size and time passes.
"""

from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from samclr.errors import SamclrError
from samclr.scenes.reading import content_hash, read_bytes
from samclr.scenes.refs import SceneRef, file_stamp
from samclr.storage.parts import OK

STAMP_COLUMNS = ("image_id", "status", "file_size", "mtime_ns", "label_file")
ITS_LABEL, ITS_REGIONS = " (its label)", " (its regions)"  # after the name of an image of which these were replaced
Row = dict[str, Any]


@runtime_checkable
class OfLabels(Protocol):
    """Work whose rows are made of images' labels, too, and keep `label_file`, null where there was none.

    The label of an image that is embedded is its row of the region store. its_label: ITS_LABEL or ITS_REGIONS.
    """

    its_label: str

    def label_stamp(self, ref: SceneRef) -> tuple[int, int]:
        """Size in bytes and modification time in ns of an image's label; (0, 0) where there is none."""
        ...

    def label_hash(self, ref: SceneRef) -> str:
        """Hash of what the label holds of this image; "" where there is none."""
        ...


def has_same_stamps(ref: SceneRef, row: Row, work: object) -> bool:
    """Whether an image and its label have the sizes and times that its row, with STAMP_COLUMNS, says."""
    return _has_image_stamp(ref, row) and _has_label_stamp(ref, row, work)


def replaced(ref: SceneRef, row: Row, work: object) -> str:
    """The image's name, with the work's `its_label` where only that was replaced; "" where nothing was."""
    if not _has_image_stamp(ref, row) and _hash_now(ref) != row["content_hash"]:
        return ref.image_id
    if isinstance(work, OfLabels) and not _has_label_stamp(ref, row, work):
        return f"{ref.image_id}{work.its_label}" if work.label_hash(ref) != row["label_file"]["hash"] else ""
    return ""


def _has_image_stamp(ref: SceneRef, row: Row) -> bool:
    return file_stamp(ref) == (row["file_size"], row["mtime_ns"])


def _has_label_stamp(ref: SceneRef, row: Row, work: object) -> bool:
    """A row that has regions and says nothing of a label is of an older version; one that failed may have lacked it."""
    label = row["label_file"]
    if not isinstance(work, OfLabels) or (label is None and row["status"] == OK):
        return True
    if label is None:
        return work.label_stamp(ref) == (0, 0)
    return work.label_stamp(ref) == (label["size"], label["mtime_ns"])


def _hash_now(ref: SceneRef) -> str:
    try:
        return content_hash(read_bytes(ref))
    except (OSError, ValueError, SamclrError, pa.ArrowException):
        return ""
