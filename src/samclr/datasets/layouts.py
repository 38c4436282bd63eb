"""Where the images and labels of the known data sets lie below their roots, and which set a folder is a root of."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from samclr.datasets.catalogue import DATASETS, DataSetSpec, ListSplit
from samclr.datasets.label_maps import LABEL_SUFFIXES, refuse_shared, shared_stems
from samclr.datasets.names import NamedSource, parts_advice
from samclr.errors import ScenesError, name_some
from samclr.scenes.containers import list_file
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import LabelFile, SceneRef, relative_id, stem_of, walk

ARE_LABELS = "holds label maps, which are not scenes"


def list_named(source: NamedSource, notes: ListingNotes | None = None) -> list[SceneRef]:
    """The images of a split with their own label maps, where there are any. `notes` gets what was skipped.

    Raises:
        ScenesError: the split is not there, or holds no image; or a label map fits several images.
    """
    notes = ListingNotes() if notes is None else notes
    if source.data_set.listed is not None:
        refs = list(_list_listed(source, source.data_set.listed))
    else:
        refs = list(_list_files(source) if source.data_set.files else _list_images(source, notes))
    if not refs:
        raise ScenesError(
            f"the split {source.split} of {source.data_set.title} has no image in {source.root}: "
            f"expected {source.data_set.layout}; {_advice(source)}"
        )
    return refs


def _list_files(source: NamedSource) -> Iterator[SceneRef]:
    files = source.data_set.files[source.split]
    missing = [file for file in files if not (source.root / file).is_file()]
    if missing:
        raise ScenesError(
            f"the split {source.split} of {source.data_set.title} lacks {name_some(missing)} in {source.root}; "
            f"{_advice(source)}"
        )
    for file in files:
        yield from list_file(SceneRef(image_id=f"{source.split}/{file}", path=str(source.root / file)))


def _list_listed(source: NamedSource, listed: ListSplit) -> Iterator[SceneRef]:
    names, base = listed(source.root, source.split), source.root / source.data_set.images
    if twice := len(names) - len(set(names)):
        raise ScenesError(
            f"the split {source.split} of {source.data_set.title} lists {twice:,} images twice; restore it"
        )
    missing = [name for name in names if not (base / name).is_file()]
    if missing:
        raise ScenesError(
            f"the split {source.split} of {source.data_set.title} lacks {len(missing):,} of its {len(names):,} images "
            f"in {base}: {name_some(missing)}; {_advice(source)}"
        )
    yield from _with_labels(source, names, [str(base / name) for name in names])


def _list_images(source: NamedSource, notes: ListingNotes) -> Iterator[SceneRef]:
    data_set, root = source.data_set, source.root
    base = data_set.image_folder(root, source.split)
    folder = base / source.split
    if not folder.is_dir():
        names = [split.name for split in data_set.splits]
        present = [name for name in names if (data_set.image_folder(root, name) / name).is_dir()]
        raise ScenesError(
            f"{source.data_set.title} has no split {source.split} in {source.root}: expected the folder {folder}; "
            f"found {', '.join(present) or 'no split'}{parts_advice(folder)}; {_advice(source)}"
        )
    unreadable: list[str] = []
    others: list[str] = []
    paths = list(walk(folder, data_set.endings, unreadable, others))
    notes.pass_over(name for name in others if not name.endswith(data_set.beside))
    image_ids = [relative_id(path, base) for path in paths]
    yield from _with_labels(source, image_ids, paths)
    for path in unreadable:
        yield SceneRef(image_id=relative_id(path, base) + "/", path=path)


def _with_labels(source: NamedSource, image_ids: Sequence[str], paths: Sequence[str]) -> Iterator[SceneRef]:
    for path, image_id, (label, *others) in zip(paths, image_ids, own_labels(source, image_ids), strict=True):
        others_there = tuple(other for other in others if other is not None)
        yield SceneRef(image_id=image_id, path=path, label=label, other_labels=others_there)


def own_labels(source: NamedSource, image_ids: Sequence[str]) -> list[tuple[LabelFile | None, ...]]:
    """For each of a split's images the file of each kind of labels for regions, None where there is none.

    Raises ScenesError where one label map would serve several images.
    """
    by_kind: list[list[LabelFile | None]] = []
    for kind in source.data_set.kinds():
        found = kind.find(source.root, image_ids)
        if kind.form == "map":
            _unshared(source, image_ids, found)
        rule, name = source.data_set.name, kind.name
        by_kind.append([None if path is None else LabelFile(path=str(path), rule=rule, kind=name) for path in found])
    return list(zip(*by_kind, strict=True))


def find_class_labels(source: NamedSource, image_ids: Sequence[str]) -> list[Path | None]:
    """The label maps of a split's images, for classes. Raises ScenesError where one would serve several images."""
    return _unshared(source, image_ids, source.data_set.class_labels(source.root, image_ids))


def _unshared(source: NamedSource, image_ids: Sequence[str], found: list[Path | None]) -> list[Path | None]:
    labelled = {stem_of(image_id): path for image_id, path in zip(image_ids, found, strict=True) if path is not None}
    refuse_shared(source.root, labelled, shared_stems(image_ids))
    return found


def _advice(source: NamedSource) -> str:
    if not source.data_set.got_at:  # of one's own
        return "see to its files"
    return f"samclr data check {source.data_set.name} --root {source.root} tells where to get it"


def recognise(folder: Path) -> DataSetSpec | None:
    """The set with label maps whose root a folder is, by what lies in it: the one with the most signs of those that
    fit; the layout of one's own sets comes last, and after it a set that would refuse the folder as another's."""
    return next((data_set for data_set in _fitting(folder) if data_set.signs), None)


def _fitting(folder: Path) -> list[DataSetSpec]:
    """The sets whose root a folder may be, in the order of `recognise`; those without signs by what they hold."""
    found = [
        one for one in DATASETS.values() if one.is_in(folder) and all((folder / sign).is_dir() for sign in one.signs)
    ]
    return sorted(found, key=lambda one: (bool(one.why_other(folder)), one.own_layout, -len(one.signs)))


def _places(folder: Path) -> list[Path]:
    """The folders in it that have a name of a set's own."""
    places = dict.fromkeys(folder / name for one in DATASETS.values() for name in one.folders)
    return [place for place in places if place.is_dir() and os.access(place, os.X_OK)]


def recognise_in(folder: Path, fits: Callable[[DataSetSpec], object]) -> tuple[DataSetSpec, Path] | None:
    """The set whose root a folder is, else the only one that lies in it under a name of its own, with its place.

    fits: whether a set is of the kind that is looked for; another is given only where the folder has none of those.

    Raises:
        ScenesError: several fit, so that one must be named.
    """
    if (own := recognise(folder)) is not None:
        return own, folder
    known = [(one, place) for place in _places(folder) if (one := recognise(place)) is not None]
    within = {one.name: (one, place) for one, place in known if place in [folder / name for name in one.folders]}
    fitting = {name: found for name, found in within.items() if fits(found[0])}
    if len(fitting) > 1:
        raise ScenesError(f"{folder} holds several sets: type {' or '.join(f'{name}@{folder}' for name in fitting)}")
    return next(iter((fitting or within).values()), None)


def refuse_labels_as_scenes(folder: Path) -> None:
    """Raise ScenesError where a plain listing would take label maps for scenes: a folder is, or holds under a name of
    its own, a root of a set or of one's own set in such a layout."""
    for place in (folder, *_places(folder)):
        for data_set in _fitting(place):
            maps = next((place / name for name in data_set.labels_among_scenes if _has_label_map(place / name)), None)
            if maps is not None:
                raise ScenesError(_named_instead(data_set, place, maps))


def _has_label_map(folder: Path) -> bool:
    return next(walk(folder, LABEL_SUFFIXES, []), None) is not None


def refuse_labels_listed(uri: str, paths: Sequence[str]) -> None:
    """As `refuse_labels_as_scenes`, of what lies below a URI, by its files' paths alone."""
    held = {*paths, *(str(parent) for path in paths for parent in PurePosixPath(path).parents)}
    for place in dict.fromkeys(PurePosixPath(name) for one in DATASETS.values() for name in (".", *one.folders)):
        for data_set in DATASETS.values():
            has_one = any(str(place / name) in held for name in (data_set.holds, *data_set.also_holds))
            if not has_one or not all(str(place / sign) in held for sign in data_set.signs):
                continue
            for name in data_set.labels_among_scenes:
                if any(path.startswith(f"{place / name}/") and path.lower().endswith(LABEL_SUFFIXES) for path in paths):
                    images = f"{uri.rstrip('/')}/{place / data_set.images}"
                    alone = "a folder of images alone" if data_set.images == "." else f"{images} for its images alone"
                    raise ScenesError(f"{uri.rstrip('/')}/{place / name} {ARE_LABELS}: name {alone}")


def _named_instead(data_set: DataSetSpec, root: Path, maps: Path) -> str:
    """What is wrong with listing a root, and what to name; of a layout that one's own sets have, too, both ways on."""
    is_other = bool(data_set.why_other(root))
    if data_set.signs and not data_set.own_layout and not is_other:
        return (
            f"{root} is a root of {data_set.title}, whose label maps are not scenes: type {data_set.name}@{root} "
            f"for its split {data_set.scene_split}, or name a folder of images in it"
        )
    images = root / data_set.images
    alone = "a folder of images alone" if images == root else f"{images} for its images alone"
    by_name = "" if is_other else f", or type {data_set.name}@{root} if the set is {data_set.title}"
    return f"{maps} {ARE_LABELS}: name {alone}{by_name}"
