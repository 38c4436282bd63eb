"""What people segmented, to score a store by: the label maps of each of its images, and how they are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samclr.datasets.annotation_index import all_labels, key_of
from samclr.datasets.catalogue import DATASETS, LabelKind
from samclr.datasets.label_maps import AS_THEY_STAND, People, match_people
from samclr.datasets.layouts import list_named
from samclr.datasets.names import NamedSource, as_named
from samclr.errors import ScenesError, name_some
from samclr.log import option_of, say
from samclr.regions.segmenters.labels_spec import LABEL_RULE, OWN
from samclr.scenes.refs import LabelFile, stem_of
from samclr.storage.parts import PartsFolder

BY_NAME = "NAME:SPLIT@ROOT"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Label maps by the id of their image in the store, each person's; and which are left out, in words."""

    maps: dict[str, list[LabelFile]]
    left_out: list[str] = field(default_factory=list)


def truth_of(store: PartsFolder, image_ids: Sequence[str], source: Path, has_ignored: bool) -> Truth:
    """The label maps of a folder, or those of a data set as NAME:SPLIT@ROOT, read by that set's own rule.

    A folder's are read as they stand; where the store's regions are the label maps of a data set and no values were
    given to ignore (`has_ignored`), by the rule of that set.

    Raises:
        ScenesError: there is no such folder or set, the set has no label maps, none of its images is one of the store,
            or one fits several.
    """
    named = as_named(source)
    if named is not None:
        return _of_set(named, store, image_ids)
    return _of_people(match_people(source, image_ids), image_ids, _rule_of(store, has_ignored))


def _rule_of(store: PartsFolder, has_ignored: bool) -> LabelFile:
    """How the maps of a folder are read: a LabelFile without a path."""
    as_they_stand = LabelFile(path="", rule=AS_THEY_STAND)
    if has_ignored or store.maker.get("labels") != OWN:
        return as_they_stand
    rule = store.notes.get(LABEL_RULE, {})
    if rule.get("set") in DATASETS:
        kind = DATASETS[rule["set"]].kind(rule["kind"])
        if kind.void or kind.regions_of is not None:
            say(f"label maps are read by the rule of {rule['set']}, as when the store was made")
        return LabelFile(path="", rule=rule["set"], kind=kind.name)
    if "annotations" not in store.maker:
        say(
            f"{store.path} was made of a data set's label maps, and does not say by which rule: all their values count "
            f"as segments; type {BY_NAME} in place of the folder, or add {option_of('ignore_label')}"
        )
    return as_they_stand


def _of_people(people: People, image_ids: Sequence[str], rule: LabelFile) -> Truth:
    by_id = {one: people.by_stem[stem_of(one)] for one in image_ids if stem_of(one) in people.by_stem}
    left_out = [f"{name} (of no image of the store)" for name in people.strays]
    left_out += [f"{name} ({why})" for name, why in people.doubtful.items()]
    maps = {one: [replace(rule, path=str(path)) for path in paths] for one, paths in by_id.items()}
    return Truth(maps=maps, left_out=left_out)


def _of_set(source: NamedSource, store: PartsFolder, image_ids: Sequence[str]) -> Truth:
    """A set's images are those of the store by their whole ids, or by the ends of them that a store of a folder has."""
    refs = list_named(source)
    if source.data_set.people:
        own_ids = [ref.image_id for ref in refs]
        people = match_people(source.root / source.data_set.people, own_ids)
        drawn = _of_people(people, own_ids, LabelFile(path="", rule=AS_THEY_STAND)).maps
    else:
        kind = _kind_of(source, store.maker)
        labels = {ref.image_id: [one for one in all_labels(ref) if one.kind == kind.name] for ref in refs}
        drawn = {image_id: found for image_id, found in labels.items() if found}
    known, maps = dict.fromkeys(image_ids, b""), dict[str, list[LabelFile]]()
    for own_id, labels_of_one in drawn.items():
        image_id = key_of(own_id, known)
        if image_id in maps:
            raise ScenesError(f"{image_id} of {store.path} may be several images of {source.spec()}: {own_id}, others")
        if image_id is not None:
            maps[image_id] = labels_of_one
    if not maps:
        raise ScenesError(
            f"none of the {len(drawn):,} images of {source.spec()} with label maps is an image of {store.path}: they "
            f"are {name_some(list(drawn), 2) or 'none'}; the store has {name_some(list(image_ids), 2)}"
        )
    return Truth(maps=maps)


def _kind_of(source: NamedSource, maker: dict[str, Any]) -> LabelKind:
    """The kind of label maps that the store was made of, else the set's first. Raises ScenesError where it has none."""
    kinds = [kind for kind in source.data_set.kinds() if kind.form == "map"]
    if not kinds:
        raise ScenesError(f"{source.data_set.title} has no label maps for regions; name a folder of label maps")
    return next((kind for kind in kinds if kind.name == maker.get("annotations")), kinds[0])
