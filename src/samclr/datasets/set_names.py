"""What results call a set: one name, however it is typed, so that reports compare what was measured on it."""

from collections.abc import Callable
from pathlib import Path

from samclr.datasets.catalogue import DataSetSpec
from samclr.datasets.labelled import folder_of
from samclr.datasets.layouts import recognise_in
from samclr.datasets.names import as_named, find_root


def name_of_set(name_or_path: Path, fits: Callable[[DataSetSpec], object], own: bool) -> str:
    """The catalogue's name of a set with label maps that was opened, where it is one; else that of its folder.

    A layout that one's own sets may have, too, is the catalogue's set where that is named, or its folder is called so.

    fits: as of `recognise_in`. own: it is a set of one's own, with a classes.txt.
    """
    named = as_named(name_or_path)
    if named is not None:
        return named.root.resolve().name if own else named.data_set.name
    path = folder_of(name_or_path) or name_or_path
    found = recognise_in(path, fits)
    if found is None:
        return path.resolve().name
    data_set, root = found[0], find_root(*found).resolve()
    is_own = own or (data_set.own_layout and root.name not in data_set.folders)
    return root.name if is_own else data_set.name
