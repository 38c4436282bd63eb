"""Vectors of regions: pooled from one pass an image, against a pass for each region's crop.

    OMP_NUM_THREADS=1 python benchmarks/embed.py --camvid DIR --bsds DIR --backbones resnet18 vit_tiny_patch16_224

Speed: regions a second of one core, counted in seconds of CPU, of photographs with 25 regions each; decoding and
finding the regions are not in it, resizing is. Pooling must be 10 times as quick as crops at
the same --image-px, by default.

Quality: same-class precision at 10 of CamVid's labelled objects (of the 10 nearest objects of other images, how many
have the query's class), as the mean over objects and the mean over classes; and, as BSDS has segments without classes,
how well a segment that one person drew finds the same one as others drew it: of its m nearest segments, how many of the
m that overlap it (IoU over 0.5) are there, among all other people's segments of all images. Each is of the CAPPED
largest segments of at least --min-area px in an image.

--weights FILE measures the quality of trained weights instead, of the architecture --backbones.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from skimage.measure import label as components

from samclr.config.embedding import EVERY_REGION, EmbedConfig
from samclr.config.evaluation import TargetConfig
from samclr.embedding.embedders import crop_vectors, pooled_vectors
from samclr.evaluation.targets import open_target
from samclr.regions.records import ImageRegions, region_from_mask
from samclr.scenes.decode import Scene

CAPPED = 25
VOID = 11
BAR = 10.0
CPU = torch.device("cpu")


def item_of(image, masks):
    """A scene and its regions, as the job hands them to the embedders."""
    pixels = np.asarray(Image.open(image).convert("RGB"))
    regions = tuple(map(region_from_mask, masks))
    height, width = pixels.shape[:2]
    found = ImageRegions(image_id=image.name, content_hash="", height=height, width=width, regions=regions)
    return Scene(image_id=image.name, pixels=pixels, content_hash=""), found, range(len(regions))


def segments_of(path, min_area, with_classes):
    """The largest masks of a label map, with their classes, or with one number each."""
    labels = np.asarray(Image.open(path)).astype(np.int64)
    parts = components(labels + 1, connectivity=1) if with_classes else labels + 1
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    found = []
    for number in np.argsort(-areas, kind="stable")[: 4 * CAPPED]:
        if areas[number] >= min_area and len(found) < CAPPED:
            mask = parts == number
            if not with_classes or labels[mask][0] != VOID:
                found.append((mask, int(labels[mask][0])))
    return found


def spread(paths, count):
    return [paths[number] for number in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]


def camvid_items(folder, count, min_area):
    items, classes = [], []
    for image in spread(sorted((folder / "images" / "test").iterdir()), count):
        found = segments_of((folder / "labels" / "test" / image.name).with_suffix(".png"), min_area, True)
        if found:
            items.append(item_of(image, [mask for mask, _ in found]))
            classes.append(np.array([number for _, number in found]))
    return items, classes


def bsds_items(folder, count, min_area):
    """Segments of three people of each image, one after the other, and whose each is."""
    items, people = [], []
    for image in spread(sorted((folder / "images" / "test").iterdir()), count):
        maps = sorted((folder / "segmentations" / "test").glob(f"{image.stem}_*.png"))[:3]
        found = [(mask, person) for person, path in enumerate(maps) for mask, _ in segments_of(path, min_area, False)]
        items.append(item_of(image, [mask for mask, _ in found]))
        people.append(np.array([person for _, person in found]))
    return items, people


def vectors_of(backbone, items, config):
    """Of each item the vectors of its regions at unit length, and the seconds of CPU that all took."""
    start, found = time.process_time(), []
    for item in items:
        if config.regions_by == "crop":
            (vectors,) = crop_vectors(backbone, [item], config, EVERY_REGION, CPU)
        else:
            (vectors,) = pooled_vectors(backbone, [item], config, CPU)
        found.append(vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True))
    return found, time.process_time() - start


def precision_at_10(found, classes):
    """Mean over objects, and over classes, of the share of the 10 nearest objects of other images of the same class."""
    image = np.repeat(np.arange(len(found)), [len(one) for one in found])
    vectors, classes = np.concatenate(found), np.concatenate(classes)
    likeness = vectors @ vectors.T
    likeness[image[:, None] == image] = -np.inf
    nearest = np.argsort(-likeness, 1, kind="stable")[:, :10]
    precision = (classes[nearest] == classes[:, None]).mean(1)
    return precision.mean(), np.mean([precision[classes == one].mean() for one in np.unique(classes)])


def same_segment(items, found, people):
    """Mean over segments of the share of their m matches that are among the m nearest."""
    image = np.repeat(np.arange(len(found)), [len(one) for one in found])
    vectors, person = np.concatenate(found), np.concatenate(people)
    likeness = vectors @ vectors.T
    likeness[(image[:, None] == image) & (person[:, None] == person)] = -np.inf
    shares, first = [], 0
    for (_, regions, numbers), own in zip(items, people, strict=True):
        rles = regions.coco_rles()
        overlap = np.asarray(coco_mask.iou(rles, rles, [0] * len(rles)))
        for number in numbers:
            matches = first + np.flatnonzero((overlap[number] > 0.5) & (own != own[number]))
            if len(matches):
                nearest = np.argsort(-likeness[first + number], kind="stable")[: len(matches)]
                shares.append(np.isin(matches, nearest).mean())
        first += len(numbers)
    return float(np.mean(shares))


def speed(backbone, items, modes, rounds):
    """Regions a second of CPU of each mode: the median of some rounds, the modes in turn."""
    taken = {name: [] for name in modes}
    for number in range(rounds + 1):  # the first warms up
        for name, config in modes.items():
            seconds = vectors_of(backbone, items if number else items[:1], config)[1]
            if number:
                taken[name].append(sum(len(numbers) for _, _, numbers in items) / seconds)
    return {name: float(np.median(rates)) for name, rates in taken.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--bsds", type=Path, required=True)
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "vit_tiny_patch16_224"])
    parser.add_argument("--weights")
    parser.add_argument("--images", type=int, default=40, help="of each set, for quality; 0 measures speed alone")
    parser.add_argument("--speed-images", type=int, default=4)
    parser.add_argument("--min-area", type=int, default=100, help="px of a segment, for quality")
    parser.add_argument(
        "--pool-px", type=int, nargs="*", default=[EmbedConfig().image_px], help="--image-px to pool at"
    )
    parser.add_argument("--crop-px", type=int, nargs="*", default=[EmbedConfig().image_px, 224], help="of crops")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    modes = {f"pool at {px} px": EmbedConfig(image_px=px) for px in given.pool_px}
    modes |= {f"crops of {px} px": EmbedConfig(image_px=px, regions_by="crop") for px in given.crop_px}
    camvid, bsds = (read(path, max(given.images, given.speed_images), given.min_area) for read, path in (
        (camvid_items, given.camvid), (bsds_items, given.bsds)))  # fmt: skip
    timed = {
        name: [(scene, found, range(min(CAPPED, len(found.regions)))) for scene, found, _ in items]
        for name, items in (
            ("CamVid", spread(camvid[0], given.speed_images)),
            ("BSDS", spread(bsds[0], given.speed_images)),
        )
    }
    for name in given.backbones:
        target = given.weights or name
        model = TargetConfig(backbone=name) if given.weights else TargetConfig()
        backbone = open_target(target, model, given.weights is None, 0, 224).backbone
        for on, items in timed.items() if given.weights is None else ():
            rates = speed(backbone, items, modes, given.rounds)
            regions = sum(len(numbers) for _, _, numbers in items) / len(items)
            print(f"{name}, {on}, {regions:.1f} regions an image")
            for mode, rate in rates.items():
                times = [
                    f"x{rate / rates[one]:.1f} of {one}" for one in modes if one.startswith("crops") and one != mode
                ]
                print(f"  {mode}: {rate:.1f} regions/s, {', '.join(times)}")
            first, crops = (next(one for one in modes if one.startswith(kind)) for kind in ("pool", "crops"))
            bar = rates[first] / rates[crops]
            print(f"  bar of x{BAR:g} {'met' if bar >= BAR else 'MISSED'} (x{bar:.1f})", flush=True)
        for mode, config in modes.items() if given.images else ():
            found, _ = vectors_of(backbone, camvid[0], config)
            mean, by_class = precision_at_10(found, camvid[1])
            segments, _ = vectors_of(backbone, bsds[0], config)
            same = same_segment(bsds[0], segments, bsds[1])
            print(f"{target}, {mode}: CamVid precision at 10 {mean:.1%} of objects, {by_class:.1%} of classes; "
                  f"BSDS same segment {same:.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
