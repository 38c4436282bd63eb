"""Which kind of set a name or a path given to --detect-on is: boxes that the catalogue declares, or COCO's JSON."""

from pathlib import Path

from samclr.datasets.layouts import recognise
from samclr.datasets.names import NamedSource, as_named, find_root
from samclr.errors import EvaluationError, ScenesError
from samclr.evaluation.detection.boxes import open_boxes
from samclr.evaluation.detection.instances import InstanceSet, open_instances


def open_detection_set(name_or_path: Path) -> InstanceSet:
    """Open NAME@ROOT, a root of a known set, a folder with COCO's JSON, or a name in the folder of $SAMCLR_DATA.

    Raises:
        EvaluationError: see `open_boxes` and `open_instances`.
    """
    try:
        named = as_named(name_or_path)
        if named is None and name_or_path.is_dir():
            known = recognise(name_or_path)
            if known is not None and known.boxes is not None:
                root = find_root(known, name_or_path)
                named = NamedSource(data_set=known, split=known.scene_split, root=root)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    if named is not None and named.data_set.boxes is not None:
        return open_boxes(named, named.data_set.boxes)
    return open_instances(name_or_path)
