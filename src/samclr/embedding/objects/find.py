"""The objects of a set: the connected pieces of its label maps, as `samclr segment --segmenter labels` finds them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from pycocotools import mask as coco_mask
from skimage.measure import label as connected_pieces

from samclr.config.serialise import fingerprint
from samclr.datasets.label_maps import NO_REGION
from samclr.datasets.objects import ObjectScenes
from samclr.embedding.objects.retrieval import Like
from samclr.errors import EvaluationError
from samclr.evaluation.protocols.objects_spec import ObjectsConfig
from samclr.regions.records import ImageRegions, Region, regions_of_scene
from samclr.regions.segmenters.felzenszwalb import regions_of_partition
from samclr.scenes.decode import DecodeError, Scene, load_scene

OVERLAP = 0.5  # IoU over which two people's segments are the same


@dataclass(frozen=True, kw_only=True)
class Found:
    """The objects of one scene. classes: [r] of each its class; people: [r] whose map it is of."""

    regions: ImageRegions
    classes: Int[np.ndarray, "r"]
    people: Int[np.ndarray, "r"]


def read_scenes(objects: ObjectScenes, numbers: Sequence[int]) -> Iterator[Scene]:
    """The scenes of these numbers. Raises EvaluationError for one that cannot be read."""
    for number in numbers:
        try:
            yield load_scene(objects.refs[number])
        except DecodeError as error:
            name = objects.refs[number].image_id
            raise EvaluationError(f"{name} cannot be read ({error}); fix or remove it") from None


def find_objects(objects: ObjectScenes, number: int, config: ObjectsConfig) -> Found:
    """The largest connected pieces (8 neighbours) of each label map of a scene, with the class of most of their pixels.

    Raises:
        EvaluationError: the scene or a label map cannot be read.
    """
    (scene,) = read_scenes(objects, [number])
    height, width = scene.pixels.shape[:2]
    regions: list[Region] = []
    classes, people = [], []
    for person, (values, classes_of_pixels) in enumerate(objects.maps(number, (height, width))):
        pieces = connected_pieces(values, background=NO_REGION, connectivity=2)
        areas = np.bincount(pieces.ravel())
        areas[0] = 0
        largest = np.argsort(-areas, kind="stable")[: config.objects_per_image]
        kept = [piece for piece in largest if areas[piece] >= max(config.objects_min_area_px, 1)]
        chosen = np.zeros(len(areas), np.int64)
        chosen[kept] = np.arange(1, len(kept) + 1)
        numbered = chosen[pieces]
        regions += regions_of_partition(numbered, first=1)
        classes += [int(np.bincount(classes_of_pixels[numbered == one]).argmax()) for one in range(1, len(kept) + 1)]
        people += [person] * len(kept)
    return Found(
        regions=regions_of_scene(scene, regions), classes=np.array(classes, np.int64), people=np.array(people, np.int64)
    )


def objects_fingerprint(found: Sequence[Found]) -> str:
    """Changes with any image, object or class."""
    return fingerprint(
        [
            [one.regions.content_hash, [region.rle.decode("latin-1") for region in one.regions.regions], *lists]
            for one in found
            for lists in ([one.classes.tolist(), one.people.tolist()],)
        ]
    )


def same_segments(found: Sequence[Found]) -> Like:
    """Which segments other people drew of the same image, of an IoU over OVERLAP."""
    first = np.cumsum([0, *(len(one.classes) for one in found)])
    image = np.repeat(np.arange(len(found)), np.diff(first))
    overlaps = []
    for one in found:
        rles = one.regions.coco_rles()
        overlaps.append(np.asarray(coco_mask.iou(rles, rles, [0] * len(rles))).reshape(len(rles), len(rles)) > OVERLAP)

    def like(rows: Int[np.ndarray, "b"]) -> Bool[np.ndarray, "b n"]:
        likes = np.zeros((len(rows), first[-1]), bool)
        for place, row in enumerate(rows):
            start, end = first[image[row]], first[image[row] + 1]
            likes[place, start:end] = overlaps[image[row]][row - start]
        return likes

    return like
