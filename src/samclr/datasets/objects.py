"""Sets whose objects are looked for in each other: those with classes of pixels, and those that several people
segmented."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from samclr.datasets.catalogue import IGNORED, DataSetSpec
from samclr.datasets.label_maps import (
    NO_REGION,
    LabelError,
    match_people,
    read_label_regions,
    read_values,
)
from samclr.datasets.labelled import folder_of
from samclr.datasets.labelled_scenes import LabelledScenes, open_labelled_scenes
from samclr.datasets.layouts import list_named, recognise_in
from samclr.datasets.names import NamedSource, as_named, find_root, refuse_split
from samclr.datasets.set_names import name_of_set
from samclr.errors import EvaluationError, ScenesError, name_some
from samclr.log import say_once
from samclr.scenes.refs import SceneRef, stem_of

TEST = "test"


@dataclass(frozen=True, kw_only=True)
class ObjectScenes:
    """The test scenes of a set, and what their objects are read from.

    Attributes:
        scenes: of a set with classes of pixels, with their label maps; None of the others.
        people: else for each scene the label maps that people drew.
    """

    name: str
    refs: Sequence[SceneRef]
    scenes: LabelledScenes | None = None
    people: Sequence[Sequence[Path]] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names; none of a set that people segmented."""
        return () if self.scenes is None else self.scenes.classes

    def maps(
        self, number: int, image_hw: tuple[int, int]
    ) -> list[tuple[Int[np.ndarray, "h w"], Int[np.ndarray, "h w"]]]:
        """Of a scene, for each of its label maps: numbers that differ between touching objects, NO_REGION where there
        is none; and the classes of pixels, 0 where the set has none.

        Raises:
            EvaluationError: a label map cannot be read, or is of another size.
        """
        try:
            if self.scenes is None:
                values = [np.asarray(read_values(path, image_hw)) for path in self.people[number]]
                return [(one, np.zeros_like(one)) for one in values]
            classes = self.scenes.label_map(number).astype(np.int64)
            label = self.refs[number].label
            regions = classes if self.scenes.own or label is None else read_label_regions(label, image_hw)
            return [(np.where(classes == IGNORED, NO_REGION, regions), classes)]
        except LabelError as error:
            raise EvaluationError(f"{error} ({self.refs[number].image_id})") from None


def open_objects(name_or_path: Path) -> ObjectScenes:
    """Open a set with label maps, as `open_labelled_scenes` does, or one that several people segmented (BSDS500).

    Raises:
        EvaluationError: there is no such set, its test split is missing, or images lack their label maps.
    """
    try:
        found = _people_of(name_or_path)
        if found is not None:
            return _open_people(*found)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    _, test = open_labelled_scenes(name_or_path)
    _refuse_some_regions(test)
    name = name_of_set(name_or_path, lambda one: one.people or one.pixel_classes, test.own)
    return ObjectScenes(name=name, refs=test.refs, scenes=test)


def _refuse_some_regions(test: LabelledScenes) -> None:
    """Raise EvaluationError where some images have a label map of their objects and others would have their classes."""
    without = [ref.image_id for ref in test.refs if ref.label is None]
    if 0 < len(without) < len(test.refs):
        raise EvaluationError(
            f"{len(without):,} of {len(test.refs):,} images have no label map for regions, which the others have: "
            f"{name_some(without)}; samclr data check lists what is missing"
        )


def _people_of(name_or_path: Path) -> tuple[DataSetSpec, Path] | None:
    """The set that people segmented, and its root; None if it is another."""
    named = as_named(name_or_path)
    if named is not None:
        if named.data_set.people:
            refuse_split(named, "finding objects", (), TEST)
        return (named.data_set, named.root) if named.data_set.people else None
    path = folder_of(name_or_path)
    found = None if path is None else recognise_in(path, lambda one: one.people or one.pixel_classes)
    return (found[0], find_root(*found)) if found is not None and found[0].people else None


def _open_people(data_set: DataSetSpec, root: Path) -> ObjectScenes:
    refs = list_named(NamedSource(data_set=data_set, split=TEST, root=root))
    people = match_people(root / data_set.people, [ref.image_id for ref in refs])
    if people.doubtful:
        left_out = [f"{name} ({why})" for name, why in people.doubtful.items()]
        say_once(f"{len(left_out):,} label maps in {root / data_set.people} are left out: {name_some(left_out)}")
    drawn = [people.by_stem.get(stem_of(ref.image_id), []) for ref in refs]
    few = [ref.image_id for ref, paths in zip(refs, drawn, strict=True) if len(paths) < 2]
    if few:
        raise EvaluationError(
            f"{len(few)} of {len(refs)} images of {data_set.title} have not two people's label maps: {name_some(few)}"
        )
    return ObjectScenes(name=data_set.name, refs=refs, people=drawn)
