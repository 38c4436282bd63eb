"""The classes of a COCO JSON file: its categories, but those that only stand above others. No torch here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from samclr.errors import EvaluationError
from samclr.log import say_once
from samclr.regions.annotation_files import Entry
from samclr.regions.annotations import as_object, short


class Category(NamedTuple):
    """As a file lists it. above: the supercategory, if it states one."""

    id: int
    name: str
    above: Any


def read_classes(file: Path, categories: Any, entries: Sequence[Entry]) -> dict[int, str]:
    """Names of classes by their ids, in the order of the ids.

    Raises:
        EvaluationError: there are none, or one is twice or without a name. RegionError: one is no object.
    """
    if not isinstance(categories, list) or not categories:
        raise EvaluationError(f"{file} has no list of categories; expected one of id and name for each class")
    listed = []
    for number, category in enumerate(categories):
        values = as_object(category, f"category number {number} of {file}")
        own, name = values.get("id"), values.get("name")
        if type(own) is not int or not isinstance(name, str) or not name:
            raise EvaluationError(f"category number {number} of {file} is {short(values)}; expected an id and a name")
        listed.append(Category(own, name, values.get("supercategory")))
    found: dict[int, str] = {}
    for one in _without_roots(file, listed, entries):
        if one.id in found or one.name in found.values():
            raise EvaluationError(f"{file} has the category {one.id} ({one.name}) twice; make ids and names unique")
        found[one.id] = one.name
    return dict(sorted(found.items()))


def used_names(entries: Sequence[Entry], ids: dict[int, str]) -> set[str]:
    """Names of the classes that objects have."""
    return {ids[one] for one in _used_ids(entries) if one in ids}


def _without_roots(file: Path, listed: Sequence[Category], entries: Sequence[Entry]) -> list[Category]:
    """Those that do not stand above others, or that an object has.

    Roboflow's exports begin with one that is called as the project, maybe as a class is.
    """
    named = {one.above for one in listed if isinstance(one.above, str)}
    above = [one for one in listed if one.name in named and one.above != one.name]  # COCO's person is a person
    used = _used_ids(entries) if above else set()
    roots = [one for one in above if one.id not in used]
    for one in roots:
        say_once(
            f"{file.name}: category {one.id} ({one.name}) is the supercategory of others and of no object: no class"
        )
    return [one for one in listed if one not in roots]


def _used_ids(entries: Sequence[Entry]) -> set[int]:
    used = (one.get("category_id") for entry in entries for one in entry.annotations() if isinstance(one, dict))
    return {one for one in used if type(one) is int}
