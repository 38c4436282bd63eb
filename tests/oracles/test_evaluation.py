"""kNN, linear probe, confusion and intervals against scikit-learn, SciPy and naive loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from samclr.config import ProbeConfig
from samclr.config.evaluation import IntervalConfig
from samclr.evaluation import linear, neighbours
from samclr.evaluation.intervals import bootstrap_intervals
from samclr.evaluation.linear import Standardiser, held_out, linear_probe
from samclr.evaluation.neighbours import NO_CLASS, KnnSetting, hits, knn_predict, knn_ranked, rank, top1
from samclr.evaluation.protocols.answers import class_details, share_score
from samclr.evaluation.protocols.pixels import pixel_scores


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    features, labels = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target, dtype=torch.int64)
    return features[:1200], labels[:1200], features[1200:], labels[1200:]


@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (200, 0.1), (1, 0.07)])
def test_knn_votes_as_scikit_learn(digits, k, temperature):
    train, train_labels, test, test_labels = digits
    oracle = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(train, train_labels)
    ours = knn_predict(test, train, train_labels, 10, k, temperature)
    assert (ours.numpy() == oracle.predict(test)).mean() > 0.998
    assert top1(ours, test_labels) == pytest.approx(oracle.score(test, test_labels), abs=0.003)


def test_more_neighbours_than_images_are_all_of_them(digits):
    train, train_labels, test, _ = digits
    assert (
        knn_predict(test[:5], train[:7], train_labels[:7], 10, 200, 0.1)
        == knn_predict(test[:5], train[:7], train_labels[:7], 10, 7, 0.1)
    ).all()


def test_the_probe_comes_near_logistic_regression(digits):
    train, train_labels, test, test_labels = digits
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    oracle = LogisticRegression(max_iter=2000).fit((train - mean) / std, train_labels)
    curve = linear_probe(train, train_labels, test, test_labels, 10, ProbeConfig())
    assert len(curve.top1) == 90
    assert curve.top1[-1] == pytest.approx(oracle.score((test - mean) / std, test_labels), abs=0.02)
    assert curve.top1 == linear_probe(train, train_labels, test, test_labels, 10, ProbeConfig()).top1


SETTINGS = (KnnSetting(k=20, temperature=0.07), KnnSetting(k=200, temperature=0.1), KnnSetting(k=1, temperature=0.1))


@pytest.mark.parametrize("chunks", [(64, 100), (1024, 16_384), (7, 1199)])
def test_all_settings_in_one_search_chunk_by_chunk(digits, chunks, monkeypatch):
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", chunks[0])
    monkeypatch.setattr(neighbours, "BANK_AT_ONCE", chunks[1])
    train, train_labels, test, test_labels = digits
    for setting, ranked in zip(SETTINGS, knn_ranked(test, train, train_labels, 10, SETTINGS), strict=True):
        oracle = KNeighborsClassifier(
            setting.k, metric="cosine", weights=lambda distance, t=setting.temperature: np.exp((1 - distance) / t)
        ).fit(train, train_labels)
        shares = oracle.predict_proba(test)
        assert ranked.shape == (len(test), 5)
        assert (ranked[:, 0].numpy() == shares.argmax(1)).mean() > 0.998
        # Top 5, where scikit-learn has no ties at zero votes to break as it likes.
        clear = (shares > 0).sum(1) >= 5
        if clear.any():
            wanted = top_k_accuracy_score(test_labels[clear], shares[clear], k=5, labels=range(10))
            assert float(hits(ranked, test_labels, 5)[clear].mean()) == pytest.approx(wanted, abs=0.003)


def test_a_class_without_votes_is_no_answer():
    bank, labels = torch.eye(3), torch.tensor([4, 0, 2])
    (ranked,) = knn_ranked(torch.tensor([[1.0, 0.5, 0.0]]), bank, labels, 9, [KnnSetting(k=2, temperature=1.0)])
    assert ranked.tolist() == [[4, 0, NO_CLASS, NO_CLASS, NO_CLASS]]
    assert hits(ranked, torch.tensor([2]), 5).tolist() == [0.0]
    assert rank(torch.tensor([[0.5, 2.0, 2.0, 1.0]])).tolist() == [[1, 2, 3, 0]]


def test_statistics_made_in_chunks_are_those_of_the_whole(digits, monkeypatch):
    monkeypatch.setattr(linear, "ROWS_AT_ONCE", 100)
    train = digits[0] * 3.0 + 1000.0
    found = Standardiser.of(train)
    torch.testing.assert_close(found.mean, train.double().mean(0).float())
    torch.testing.assert_close(found.std, train.double().std(0).float().clamp_min(1e-6))


def test_the_sweep_chooses_without_the_test_split(digits):
    train, train_labels, test, test_labels = digits
    config = ProbeConfig(probe_epochs=5, probe_sweep=(1e-6, 0.1, 1e-4))
    found = linear_probe(train, train_labels, test, test_labels, 10, config)
    assert found.lr == 0.1
    # Trained on all of the split once more: as the rate by itself.
    alone = linear_probe(train, train_labels, test, test_labels, 10, replace(config, probe_lr=0.1, probe_sweep=()))
    assert found.top1 == alone.top1
    shuffled = test_labels[torch.randperm(len(test_labels), generator=torch.Generator().manual_seed(0))]
    assert linear_probe(train, train_labels, test, shuffled, 10, config).lr == 0.1


def test_what_is_held_out_is_a_fifth_of_each_class():
    labels = np.array([0] * 50 + [1] * 10 + [2] * 2 + [3])
    kept, held = held_out(labels, 0)
    assert sorted([*kept, *held]) == list(range(63))
    assert np.bincount(labels[held], minlength=4).tolist() == [10, 2, 1, 0]
    assert (held_out(labels, 0)[1] == held).all()
    assert (held_out(labels, 1)[1] != held).any()


def test_confusion_and_shares_of_classes_as_scikit_learn():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 7, 500), random.integers(0, 8, 500)
    found = class_details(labels, predicted, 8)
    assert found["confusion"] == confusion_matrix(labels, predicted, labels=range(8)).tolist()
    recalls = recall_score(labels, predicted, labels=range(7), average=None)
    assert found["per_class_accuracy"][:7] == pytest.approx(recalls.tolist())
    assert found["per_class_accuracy"][7] is None


def test_intervals_are_those_of_the_binomial():
    right = np.zeros((400, 2))
    right[:300, 0], right[:20, 1] = 1, 1
    found = bootstrap_intervals(right, IntervalConfig(bootstrap=4000))
    for (low, high), share in zip(found, (0.75, 0.05), strict=True):
        exact = binom.ppf([0.025, 0.975], 400, share) / 400
        assert [low, high] == pytest.approx(exact.tolist(), abs=0.004)
    assert (found == bootstrap_intervals(right, IntervalConfig(bootstrap=4000))).all()
    # The same images are drawn whatever is measured, so two backbones are compared on equal resamples.
    assert (bootstrap_intervals(right[:, :1], IntervalConfig(bootstrap=4000)) == found[:1]).all()


@pytest.mark.parametrize(("num", "limit"), [(8, 0.6306), (1, 0.025)])
def test_where_all_images_are_right_or_wrong_the_interval_is_exact(num, limit):
    """Resamples are all alike then. At the end of Clopper and Pearson's a share of 8 in 8 has a chance of 2.5 %."""
    for right, ends in ((True, (limit, 1.0)), (False, (0.0, 1 - limit))):
        score = share_score(np.full(num, float(right)), IntervalConfig(bootstrap=100))
        assert (score.low, score.high) == pytest.approx(ends, abs=1e-4)
        assert score.value == right
        assert limit**num == pytest.approx(0.025, rel=1e-3)
    mixed = share_score(np.float64(np.arange(8) < 3), IntervalConfig(bootstrap=100))
    ((low, high),) = bootstrap_intervals(np.float64(np.arange(8) < 3)[:, None], IntervalConfig(bootstrap=100))
    assert (mixed.low, mixed.high) == (low, high)


def test_pixels_of_one_image_have_no_interval():
    counts = np.array([[3.0, 1.0, 2.0, 4.0, 2.0, 5.0]])
    assert {score.text.count("to") for score in pixel_scores(counts, IntervalConfig()).values()} == {0}
    assert {score.text.count("to") for score in pixel_scores(counts.repeat(2, 0), IntervalConfig()).values()} == {1}


def test_an_interval_of_a_ratio_is_resampled_by_images():
    random = np.random.default_rng(0)
    counts = random.integers(1, 9, (30, 2)).astype(float)
    found = bootstrap_intervals(counts, IntervalConfig(bootstrap=200), lambda sums: sums[:1] / sums[1:])
    naive, generator = [], np.random.Generator(np.random.PCG64(0))
    for _ in range(200):
        rows = generator.integers(0, 30, 30)
        naive.append(counts[rows, 0].sum() / counts[rows, 1].sum())
    assert found[0].tolist() == pytest.approx(np.percentile(naive, [2.5, 97.5]).tolist())
