"""Linear SVMs on frozen features, one a class, by liblinear.

Squared hinge, L2, in the dual; a positive weighs twice a negative; the intercept is a feature of 1 and is regularised;
features are scaled to unit length. So does the code of Goyal et al. (ICCV 2019).
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from joblib import Parallel, delayed, parallel_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from samclr.errors import EvaluationError
from samclr.processes.threads import num_threads

FOLDS = 3
MOST_ITERATIONS = 2000  # of liblinear's coordinate descent, over all images each
POSITIVE_WEIGHT = 2
SEED = 0  # of the order in which liblinear takes the images


def unit_features(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of unit length in float64; a row of zeros stays."""
    wide = features.astype(np.float64)
    return wide / (np.linalg.norm(wide, axis=1, keepdims=True) + 1e-5)


def svm_scores(
    train: Float[np.ndarray, "n d"], marks: Int[np.ndarray, "n"], test: Float[np.ndarray, "m d"], cost: float
) -> Float[np.ndarray, "m"]:
    """Scores of the test images for one class. marks: 1 or -1, both there."""
    svm = LinearSVC(
        C=cost,
        class_weight={1: POSITIVE_WEIGHT, -1: 1},
        dual=True,
        tol=1e-4,
        max_iter=MOST_ITERATIONS,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at large costs, where the original stops as well
        svm.fit(train, marks)
    return np.asarray(svm.decision_function(test))


def cross_validated(features: Float[np.ndarray, "n d"], marks: Int[np.ndarray, "n"], cost: float) -> float:
    """Mean over three folds, which keep the share of positives, of scikit-learn's average precision."""
    found = []
    for train, test in StratifiedKFold(FOLDS).split(features, marks):
        scores = svm_scores(features[train], marks[train], features[test], cost)
        found.append(average_precision_score(marks[test] > 0, scores))
    return float(np.mean(found))


def few_scores(
    train: Float[np.ndarray, "n d"],
    marks: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m d"],
    rows: Int[np.ndarray, "few"],
    cost: float,
) -> Float[np.ndarray, "m"]:
    """As `svm_scores`, trained on some rows, which are copied for this SVM alone."""
    return svm_scores(train[rows], marks[rows], test, cost)


def in_processes(work: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> list[Any]:
    """The answers to calls, in their order, by a process a core (as OMP_NUM_THREADS has it).

    Threads would share liblinear's one random generator, and no two runs would give the same numbers. joblib's
    processes do not import the user's script, and map large arrays instead of copying them.

    Raises:
        EvaluationError: a process died.
    """
    num = num_threads()
    if num == 1:
        return [work(*given) for given in calls]
    try:
        with parallel_config(backend="loky", n_jobs=num, inner_max_num_threads=1):
            return list(Parallel()(delayed(work)(*given) for given in calls))
    except BrokenProcessPool:
        raise EvaluationError(
            "a worker process died while SVMs were fitted, perhaps because memory ran out; rerun the same command "
            f"with fewer processes: OMP_NUM_THREADS={num // 2}"
        ) from None
