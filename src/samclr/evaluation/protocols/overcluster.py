"""Overclustering: k-means on the patches of the evaluated images, its clusters matched with classes (Ziegler and Asano,
"Self-supervised learning of object parts for semantic segmentation", CVPR 2022)."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from samclr.config.evaluation import IntervalConfig
from samclr.datasets.labelled_scenes import LabelledScenes
from samclr.errors import EvaluationError
from samclr.evaluation.clusters import KmeansSetting, kmeans, principal_components
from samclr.evaluation.dense_features import (
    check_room,
    part_title,
    scene_parts,
    scenes_fingerprint,
)
from samclr.evaluation.intervals import bootstrap_values, interval_ends, resampled_details, score_of
from samclr.evaluation.mapped import is_sound, make_arrays, map_array
from samclr.evaluation.matching import count_pairs, hungarian, many_to_one, matched_counts, pair_table
from samclr.evaluation.patches import RESIZED
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.on_scenes import Squares, chosen_part
from samclr.evaluation.protocols.overcluster_spec import OverclusterConfig
from samclr.evaluation.protocols.pixels import require_labels
from samclr.evaluation.segmentation import class_ious, miou_and_accuracy
from samclr.evaluation.square_scenes import resize_labels, stream_test_squares
from samclr.log import option_of, tell
from samclr.models.fingerprints import cache_key
from samclr.runs.results import Score

MEASURES = ("miou", "pixel_accuracy")


class Overcluster(DenseProtocol[OverclusterConfig]):
    """For each number of clusters the mean over several runs of k-means."""

    def check(self, task: DenseTask) -> None:
        """The backbone has feature maps of squares."""
        self._squares(task).check(task.backbone, "overclustering")

    def measure(self, task: DenseTask) -> list[Outcome]:
        """An outcome for each number of clusters, the first named without a variant."""
        config, one = self.config, task.scenes
        numbers = chosen_part(one, "test", config.overcluster_num_test, config.overcluster_seed)
        squares = self._squares(task)
        squares.tell_rounded("clusters", config.overcluster_px)
        maps = square_maps(task, numbers, squares)
        num_patches = maps[..., 0].numel()
        most = max(config.overcluster)
        if num_patches < most:
            raise EvaluationError(
                f"{one.name}: {num_patches} patches of {len(numbers)} test images cannot be put into {most} clusters; "
                f"name fewer ({option_of('overcluster')}) or take more images ({option_of('overcluster_num_test')})"
            )
        labels = label_squares(one.test, numbers, squares.side_px, config.overcluster_mask_px)
        rows = principal_components(maps.flatten(0, 2), config.overcluster_components, task.device)
        outcomes = []
        for variant, k in zip(config.variants, config.overcluster, strict=True):
            runs = []
            for seed in range(config.overcluster_seed, config.overcluster_seed + config.overcluster_runs):
                setting = KmeansSetting(
                    k=k, iterations=config.overcluster_iterations, starts=config.overcluster_starts,
                    per_cluster=config.overcluster_per_cluster, seed=seed,
                )  # fmt: skip
                clusters = kmeans(rows, setting, task.device).reshape(maps.shape[:3]).numpy()
                runs.append(cluster_counts(clusters, labels, k, len(one.test.classes)))
                tell(f"{k} clusters, seed {seed}: mIoU {miou_and_accuracy(runs[-1].sum(0))[0]:.1%}")
            scores, details = run_scores(np.stack(runs), task.config.interval)
            outcomes.append(
                Outcome(
                    variant=variant,
                    scores=scores,
                    settings=config.settings() | {"overcluster": k},
                    counts={"num_test": len(numbers), "num_patches": num_patches, "num_components": rows.shape[1]},
                    details=details,
                    test_fingerprint=scenes_fingerprint(one.test, numbers),
                )
            )
        return outcomes

    def _squares(self, task: DenseTask) -> Squares:
        config = self.config
        return Squares.of(task.backbone, config.overcluster_px, config.overcluster_stage, "overcluster_stage")


def build(config: OverclusterConfig) -> Overcluster:
    """See ProtocolSpec.build."""
    return Overcluster(config)


def square_maps(task: DenseTask, numbers: Sequence[int], squares: Squares) -> Float[Tensor, "n gh gw d"]:
    """Feature maps of the test squares, mapped from the cache.

    Raises:
        EvaluationError: an image or label map is broken, or the disk has too little room.
    """
    side_px, stage, scenes = squares.side_px, squares.stage, task.scenes.test
    images = scenes_fingerprint(scenes, numbers)
    key = cache_key(task.backbone, task.device, images, side_px, stage, RESIZED, "squares")
    path = task.cache / "patches" / f"{key}-squares.npy"
    if not is_sound(path):
        parts = scene_parts(len(numbers))
        copies = 1 if len(parts) == 1 else 2

        def rows(part: range) -> Iterator[tuple[Float[np.ndarray, "1 gh gw d"]]]:
            title, own = part_title("test images", part, len(numbers)), numbers[part.start : part.stop]
            found = stream_test_squares(task.backbone, scenes, own, side_px, stage, task.device, title=title)
            for place, (maps, _) in enumerate(found):
                if part.start + place == 0:
                    needed = copies * 4 * maps.numel() * len(numbers)
                    check_room(needed, task.cache, "overcluster_num_test", "test")
                yield (maps.permute(1, 2, 0)[None].cpu().numpy(),)

        make_arrays([path], parts, rows)
    return map_array(path)


def label_squares(
    scenes: LabelledScenes, numbers: Sequence[int], side_px: int, mask_px: int
) -> UInt8[np.ndarray, "n t t"]:
    """Label maps as squares of `side_px`, then of `mask_px`."""

    def load(number: int) -> UInt8[np.ndarray, "t t"]:
        square = resize_labels(scenes.label_map(number), (side_px, side_px))
        return resize_labels(square, (mask_px, mask_px), corners=True)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return np.stack(list(pool.map(load, numbers)))


def cluster_counts(
    clusters: Int[np.ndarray, "n gh gw"], labels: UInt8[np.ndarray, "n t t"], k: int, num_classes: int
) -> Float[np.ndarray, "n m"]:
    """What `iou_counts` gives for each image, once clusters are matched with classes over all images.

    Raises:
        EvaluationError: no pixel has a label.
    """
    sized = (resize_labels(one, (wanted.shape[0], wanted.shape[1]), corners=True)
             for one, wanted in zip(clusters, labels, strict=True))  # fmt: skip
    images = [count_pairs(wanted, one, num_classes) for wanted, one in zip(labels, sized, strict=True)]
    require_labels(images)
    table = pair_table(images, k, num_classes)
    return matched_counts(images, hungarian(table) if k == num_classes else many_to_one(table), num_classes)


def run_scores(runs: Float[np.ndarray, "s n m"], interval: IntervalConfig) -> tuple[dict[str, Score], dict[str, Any]]:
    """Means over the runs, with intervals over images: a resample has the same images in all runs, and clusters stay
    matched as they are over all images."""
    num_runs, num_images, _ = runs.shape

    def mean_over_runs(sums: Float[np.ndarray, "q"]) -> Float[np.ndarray, "2"]:
        return np.mean([miou_and_accuracy(own) for own in sums.reshape(num_runs, -1)], axis=0)

    counts = runs.transpose(1, 0, 2).reshape(num_images, -1)
    values, drawn = mean_over_runs(counts.sum(0)), bootstrap_values(counts, interval, mean_over_runs)
    scores = {
        measure: score_of(value, ends, num_images)
        for measure, value, ends in zip(MEASURES, values, interval_ends(drawn), strict=True)
    }
    ious = np.stack([class_ious(own.sum(0)) for own in runs])
    per_class = [float(np.nanmean(one)) if np.isfinite(one).any() else None for one in ious.T]
    by_run = [float(miou_and_accuracy(own.sum(0))[0]) for own in runs]
    return scores, {"per_class_iou": per_class, "miou_by_run": by_run} | resampled_details(MEASURES, drawn)
