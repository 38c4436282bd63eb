"""kNN and linear probe against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from samclr.config import ProbeConfig
from samclr.evaluation.knn import knn_predict, top1
from samclr.evaluation.linear import linear_probe


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
