"""Sets of boxes by name, such as Pascal VOC: images and labels as the catalogue declares them. No torch here."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from samclr.datasets.catalogue import Boxes, LabelledBox
from samclr.datasets.labelled_split import refuse_tested
from samclr.datasets.layouts import list_named
from samclr.datasets.names import NamedSource, refuse_split
from samclr.errors import EvaluationError, ScenesError, name_some
from samclr.evaluation.detection.instances import ImageInstances, InstanceSet, InstanceSplit, has_area
from samclr.log import say_once
from samclr.scenes.decode import DecodeError, read_header
from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import SceneRef


def open_boxes(source: NamedSource, boxes: Boxes) -> InstanceSet:
    """The splits of a set whose objects have boxes and no masks; its split is the one to train on.

    Raises:
        EvaluationError: it is not trained on that split, an image or its annotations are missing or broken, the
            training images have no object, or the test images none that counts.
    """
    data_set, root = source.data_set, source.root
    try:
        refuse_split(source, "detection", boxes.train, boxes.test)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    train = source.split if source.is_stated else boxes.train[0]
    classes, splits = boxes.classes(root), []
    for name in (train, boxes.test):
        split = NamedSource(data_set=data_set, split=name, root=root)
        splits.append(InstanceSplit(images=list(_images(split, boxes))))
    own, others = ([one.ref for one in split.images] for split in splits)
    refuse_tested(source, train, own, boxes.test, others)
    if not splits[0].trained.images:
        raise EvaluationError(f"the split {train} of {data_set.title} has no object with a box; expected some")
    if splits[1].num_objects == 0:
        raise EvaluationError(f"the split {boxes.test} of {data_set.title} has no object that counts; expected some")
    held = {int(label) for one in splits[0].images for label in one.labels}
    if idle := [name for number, name in enumerate(classes) if number not in held]:
        say_once(f"{data_set.title}, {train}: {len(idle)} classes have no object to train on: {name_some(idle)}")
    name = data_set.name if train == boxes.train[0] else f"{data_set.name}:{train}"
    return InstanceSet(name=name, classes=classes, has_masks=False, train=splits[0], val=splits[1], by_voc=boxes.by_voc)


def _images(split: NamedSource, boxes: Boxes) -> Iterator[ImageInstances]:
    notes = ListingNotes()
    try:
        refs = list_named(split, notes)
    except ScenesError as error:
        raise EvaluationError(str(error)) from None
    title = f"{split.data_set.title}, {split.split}"
    for line in notes.lines():
        say_once(f"{title}: {line}")
    sizes = [_size(ref) for ref in refs]
    objects = boxes.objects(split.root, split.split, [ref.image_id for ref in refs], sizes)
    left_out = 0
    for ref, size, own in zip(refs, sizes, objects, strict=True):
        kept = [one for one in own if has_area(one.box_xyxy, size)]
        left_out += len(own) - len(kept)
        yield _image(ref, size, kept)
    if left_out:
        say_once(f"{title}: {left_out:,} objects whose box has no area in the image are left out")


def _size(ref: SceneRef) -> tuple[int, int]:
    try:
        header = read_header(Path(ref.path))
    except DecodeError as error:
        raise EvaluationError(f"{ref.image_id}: {error}; fix or remove it") from None
    return header.height, header.width


def _image(ref: SceneRef, size: tuple[int, int], objects: Sequence[LabelledBox]) -> ImageInstances:
    difficult = np.array([one.is_difficult for one in objects], bool)
    return ImageInstances(
        ref=SceneRef(image_id=ref.image_id, path=ref.path),
        size=size,
        boxes_xyxy=np.array([one.box_xyxy for one in objects], np.float64).reshape(-1, 4),
        labels=np.array([one.label for one in objects], np.int64),
        is_crowd=np.array([one.is_crowd for one in objects], bool),
        is_difficult=difficult if difficult.any() else None,
        rles=(),
    )
