"""Overclustering against scikit-learn, scipy, and loops over the arithmetic of Leopart's code."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from support.scenes import write_shapes

from samclr.config import EvaluationConfig, IntervalConfig, OverclusterConfig
from samclr.config.pretrain import ModelConfig
from samclr.datasets.labelled_scenes import IGNORED
from samclr.evaluation import clusters
from samclr.evaluation.clusters import KmeansSetting, kmeans, lloyd, nearest_centre, principal_components
from samclr.evaluation.inputs import open_dense_set
from samclr.evaluation.matching import count_pairs, hungarian, many_to_one, matched_counts, pair_table
from samclr.evaluation.protocols.base import DenseTask
from samclr.evaluation.protocols.on_scenes import Squares
from samclr.evaluation.protocols.overcluster import Overcluster, cluster_counts, label_squares, square_maps
from samclr.evaluation.segmentation import confusion, iou_counts, miou_and_accuracy
from samclr.models.backbone import create_backbone

CPU = torch.device("cpu")
CONFIG = OverclusterConfig(
    overcluster=(3, 12), overcluster_px=48, overcluster_mask_px=20, overcluster_runs=2, overcluster_components=8
)


@pytest.fixture
def task(tmp_path):
    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone="small-cnn")).eval()
    shapes = open_dense_set(write_shapes(tmp_path / "shapes"))
    config = EvaluationConfig(interval=IntervalConfig(bootstrap=100))
    return DenseTask(backbone=backbone, config=config, device=CPU, cache=tmp_path / "cache", scenes=shapes)


def blobs(num=500, width=6, centres=9):
    random = np.random.default_rng(0)
    rows = random.normal(size=(num, width)) + 6 * random.normal(size=(centres, width))[random.integers(0, centres, num)]
    return torch.tensor(rows, dtype=torch.float32)


@pytest.mark.parametrize("at_once", [64, 16_384])
def test_components_are_those_of_scikit_learn(at_once, monkeypatch):
    monkeypatch.setattr(clusters, "ROWS_AT_ONCE", at_once)
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 10)) @ random.normal(size=(10, 10)) * 7 + 40
    features[:, 3] = 5.0  # a feature that never changes
    found = principal_components(torch.tensor(features, dtype=torch.float32), 4, CPU).numpy()
    wanted = PCA(4).fit_transform(StandardScaler().fit_transform(features))
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-3)
    assert principal_components(torch.tensor(features, dtype=torch.float32), 50, CPU).shape == (300, 10)


@pytest.mark.parametrize("at_once", [64, 16_384])
def test_clusters_are_those_of_scikit_learn(at_once, monkeypatch):
    monkeypatch.setattr(clusters, "ROWS_AT_ONCE", at_once)
    rows = blobs()
    first = rows[torch.arange(0, 90, 10)].clone()
    centres, inertia = lloyd(rows, first, 300)
    oracle = KMeans(9, init=first.numpy(), n_init=1, algorithm="lloyd", max_iter=300, tol=0).fit(rows.numpy())
    np.testing.assert_allclose(centres.numpy(), oracle.cluster_centers_, atol=1e-4)
    assert inertia == pytest.approx(oracle.inertia_, rel=1e-4)
    cluster, distance = nearest_centre(rows, centres)
    assert (cluster.numpy() == oracle.labels_).all()
    torch.testing.assert_close(distance, ((rows - centres[cluster]) ** 2).sum(1), atol=1e-3, rtol=1e-3)


def test_the_best_of_several_starts_comes_near_scikit_learn_and_a_seed_repeats_it():
    rows = blobs()
    setting = KmeansSetting(k=9, starts=5, seed=3)
    found = kmeans(rows, setting, CPU)
    assert torch.equal(found, kmeans(rows, setting, CPU))
    assert not torch.equal(found, kmeans(rows, replace(setting, seed=4), CPU))
    means = torch.stack([rows[found == k].mean(0) for k in range(9)])
    inertia = float(((rows - means[found]) ** 2).sum())
    oracle = KMeans(9, init="random", n_init=5, random_state=0).fit(rows.numpy())
    assert inertia == pytest.approx(oracle.inertia_, rel=0.15)
    sampled = kmeans(rows, replace(setting, per_cluster=10), CPU)  # learns from 90 rows, assigns all
    assert sampled.shape == (500,)
    assert len(sampled.unique()) == 9


def test_an_empty_cluster_is_given_half_of_the_largest():
    rows = torch.cat([torch.zeros(60, 2), torch.full((40, 2), 9.0)]) + torch.randn(100, 2) / 10
    centres, _ = lloyd(rows, torch.tensor([[0.0, 0.0], [9.0, 9.0], [500.0, 500.0]]), 50)
    assert len(nearest_centre(rows, centres)[0].unique()) == 3
    same, inertia = lloyd(torch.ones(20, 2), torch.ones(3, 2), 10)  # rows that are all alike
    assert torch.isfinite(same).all()
    assert inertia < 1e-3


def loose_labels(k, classes=4, images=5):
    random = np.random.default_rng(k)
    labels = random.integers(0, classes, (images, 12, 12)).astype(np.uint8)
    predicted = (labels.astype(np.int64) * 3 + random.integers(0, 6, labels.shape)) % k
    labels[random.random(labels.shape) < 0.2] = IGNORED
    return labels, predicted


def papers_match(labels, predicted, k, classes, one_to_one):
    """Loops over clusters and classes; the best permutation by trying all."""
    kept = labels != IGNORED
    gt, given = labels[kept], predicted[kept]
    if one_to_one:
        iou = np.array([[(a & b).sum() / max((a | b).sum(), 1) for b in (given == j for j in range(k))]
                        for a in (gt == i for i in range(classes))])  # fmt: skip
        best = max(itertools.permutations(range(classes)), key=lambda order: sum(iou[order[j], j] for j in range(k)))
        return np.array(best)
    match = []
    for cluster in range(k):
        precision = [
            np.sum((gt == i) & (given == cluster)) / max(np.sum(given == cluster), 1e-8) for i in range(classes)
        ]
        match.append(int(np.argmax(precision)))
    return np.array(match)


def papers_miou(labels, predicted, match, classes):
    kept = labels != IGNORED
    gt, given = labels[kept], match[predicted[kept]]
    jac = [np.sum((gt == i) & (given == i)) / max(np.sum((gt == i) | (given == i)), 1e-8) for i in range(classes)]
    return float(np.mean(jac))


@pytest.mark.parametrize("k", [4, 9, 3])
def test_matching_and_counts_are_those_of_the_papers_code(k):
    labels, predicted = loose_labels(k)
    images = [count_pairs(*pair, 4) for pair in zip(labels, predicted, strict=True)]
    table = pair_table(images, k, 4)
    match = hungarian(table) if k == 4 else many_to_one(table)
    assert (match == papers_match(labels, predicted, k, 4, k == 4)).all()
    counts = matched_counts(images, match, 4)
    for own, wanted, given in zip(counts, labels, predicted, strict=True):
        assert (own == iou_counts(confusion(wanted, match[given].astype(np.uint8), 4))).all()
    assert miou_and_accuracy(counts.sum(0))[0] == pytest.approx(papers_miou(labels, predicted, match, 4))


def test_clusters_left_over_by_one_to_one_matching_are_of_the_first_class():
    assert hungarian(np.array([[0, 9], [9, 0], [1, 1]])).tolist() == [1, 0, 0]
    assert many_to_one(np.array([[2, 2], [0, 0], [1, 3]])).tolist() == [0, 0, 1]


def test_the_miou_is_the_mean_over_seeds_of_what_the_papers_code_counts(task):
    outcomes = Overcluster(CONFIG).measure(task)
    assert [(one.variant, one.settings["overcluster"]) for one in outcomes] == [("", 3), ("k12", 12)]
    maps = square_maps(task, range(3), Squares.of(task.backbone, 48, None, "overcluster_stage"))
    labels = label_squares(task.scenes.test, range(3), 48, 20)
    rows = principal_components(maps.flatten(0, 2), 8, CPU)
    for k, outcome in zip((3, 12), outcomes, strict=True):
        mious = []
        for seed in range(2):
            found = kmeans(rows, KmeansSetting(k=k, seed=seed), CPU).reshape(3, 1, 6, 6)
            given = F.interpolate(found.float(), (20, 20), mode="nearest")[:, 0].long().numpy()
            mious.append(papers_miou(labels, given, papers_match(labels, given, k, 3, k == 3), 3))
        score = outcome.scores["miou"]
        assert score.value == pytest.approx(np.mean(mious))
        assert outcome.details["miou_by_run"] == pytest.approx(mious)
        assert score.low <= score.value <= score.high
        assert outcome.counts["num_patches"] == 108
        assert len(outcome.details["per_class_iou"]) == 3


def test_perfect_clusters_are_perfect_whatever_their_numbers():
    labels = np.random.default_rng(0).integers(0, 4, (3, 6, 6)).astype(np.uint8)
    turned = (labels.astype(np.int64) + 1) % 4
    assert miou_and_accuracy(cluster_counts(turned, labels, 4, 4).sum(0)).tolist() == [1.0, 1.0]
    split = turned + 4 * (np.arange(6) % 2)
    assert miou_and_accuracy(cluster_counts(split, labels, 8, 4).sum(0)).tolist() == [1.0, 1.0]
