"""Every metric against the metric of the same name in Keras, over several updates, with and without weights."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import metrics

RNG = np.random.default_rng(0)
ROWS = 8


def reals(*shape):
    return RNG.normal(size=shape).astype("float32")


def probabilities(*shape):
    return RNG.uniform(0.02, 0.98, size=shape).astype("float32")


def distribution(*shape):
    p = probabilities(*shape)
    return p / p.sum(-1, keepdims=True)


def one_hot(*shape):
    return np.eye(shape[-1], dtype="float32")[RNG.integers(0, shape[-1], shape[:-1])]


def bits(*shape):
    return RNG.integers(0, 2, shape).astype("float32")


def labels(*shape):
    return RNG.integers(0, shape[-1], shape[:-1])


def column(*shape):
    return labels(*shape)[:, None]


def numbers(*shape):
    return RNG.integers(0, 2, shape)


# name, arguments, targets, predictions
CASES = [
    ("Accuracy", {}, numbers, numbers),
    ("BinaryAccuracy", {}, bits, probabilities),
    ("BinaryAccuracy", {"threshold": 0.3}, bits, probabilities),
    ("CategoricalAccuracy", {}, one_hot, distribution),
    ("SparseCategoricalAccuracy", {}, labels, distribution),
    ("SparseCategoricalAccuracy", {}, column, distribution),
    ("TopKCategoricalAccuracy", {"k": 2}, one_hot, distribution),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, labels, distribution),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, labels, lambda *s: np.argsort(reals(*s))),
    ("MeanSquaredError", {}, reals, reals),
    ("RootMeanSquaredError", {}, reals, reals),
    ("MeanAbsoluteError", {}, reals, reals),
    ("MeanAbsolutePercentageError", {}, reals, reals),
    ("MeanSquaredLogarithmicError", {}, reals, reals),
    ("LogCoshError", {}, reals, reals),
    ("CosineSimilarity", {}, reals, reals),
    ("R2Score", {}, reals, reals),
    ("R2Score", {"class_aggregation": None}, reals, reals),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, reals, reals),
    ("KLDivergence", {}, distribution, distribution),
    ("Poisson", {}, bits, probabilities),
    ("Hinge", {}, bits, reals),
    ("SquaredHinge", {}, bits, reals),
    ("CategoricalHinge", {}, one_hot, reals),
    ("BinaryCrossentropy", {}, bits, probabilities),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits, reals),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, one_hot, distribution),
    ("SparseCategoricalCrossentropy", {}, labels, distribution),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, column, reals),
    ("TruePositives", {}, bits, probabilities),
    ("TrueNegatives", {"thresholds": [0.2, 0.7]}, bits, probabilities),
    ("FalsePositives", {"thresholds": 0.3}, bits, probabilities),
    ("FalseNegatives", {"thresholds": [0.8, 0.1, 0.5]}, bits, probabilities),
    ("Precision", {}, bits, probabilities),
    ("Precision", {"thresholds": [0.1, 0.5, 0.9]}, bits, probabilities),
    ("Precision", {"top_k": 2}, bits, probabilities),
    ("Precision", {"class_id": 1}, one_hot, distribution),
    ("Recall", {}, bits, probabilities),
    ("Recall", {"top_k": 1, "class_id": 2}, one_hot, distribution),
    ("SensitivityAtSpecificity", {"specificity": 0.6}, bits, probabilities),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 1}, bits, probabilities),
    ("PrecisionAtRecall", {"recall": 0.4}, bits, probabilities),
    ("RecallAtPrecision", {"precision": 0.5}, bits, probabilities),
    ("AUC", {}, bits, probabilities),
    ("AUC", {"curve": "PR", "num_thresholds": 20}, bits, probabilities),
    ("AUC", {"curve": "PR", "summation_method": "minoring"}, bits, probabilities),
    ("AUC", {"curve": "PRGAIN"}, bits, probabilities),
    ("AUC", {"summation_method": "majoring", "num_thresholds": 10}, bits, probabilities),
    ("AUC", {"multi_label": True}, bits, probabilities),
    ("AUC", {"multi_label": True, "curve": "PR", "label_weights": [1.0, 2.0, 0.5]}, bits, probabilities),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5], "thresholds": [0.3, 0.35, 0.8]}, bits, probabilities),
    ("AUC", {"from_logits": True}, bits, reals),
    ("F1Score", {}, one_hot, distribution),
    ("F1Score", {"average": "weighted", "threshold": 0.4}, bits, probabilities),
    ("FBetaScore", {"average": "micro", "beta": 2.0}, one_hot, distribution),
    ("FBetaScore", {"average": "macro", "beta": 0.5}, one_hot, distribution),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(CASES)]


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_host_api_over_several_updates(name, arguments, targets, predictions):
    ours = getattr(metrics, name)(**arguments)
    for weighted in (False, True):
        batches = []
        for _ in range(3):
            weight = RNG.integers(0, 4, ROWS).astype("float32") if weighted else None
            batches.append((targets(ROWS, 3), predictions(ROWS, 3), weight))
        with oracle() as keras:
            theirs = getattr(keras.metrics, name)(**arguments)
            for t, p, w in batches:
                theirs.update_state(t, p, sample_weight=w)
            expected = np.asarray(theirs.result())
        for t, p, w in batches:
            ours.update_state(t, p, sample_weight=w)
        np.testing.assert_allclose(ours.result(), expected, rtol=2e-5, atol=1e-6)
        ours.reset_state()
    assert ours.result() == 0.0
    assert ours.name == theirs.name or ours.name in theirs.name  # Keras numbers those it has named before


@pytest.mark.parametrize("weights", [(4, 2), (4, 1), (4,)])
@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryAccuracy", "Recall"])
def test_weights_of_rows_and_tokens(name, weights):
    t, p, w = bits(4, 2, 3), probabilities(4, 2, 3), RNG.uniform(0.5, 2, weights).astype("float32")
    by_token = np.broadcast_to(w.reshape(weights + (1,) * (2 - w.ndim)), (4, 2)).reshape(8)
    with oracle() as keras:  # which spreads weights over one axis more than they have, so tokens are its rows here
        expected = float(getattr(keras.metrics, name)()(t.reshape(8, 3), p.reshape(8, 3), sample_weight=by_token))
    assert getattr(metrics, name)()(t, p, sample_weight=w) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("t", "p"), [((8,), (8, 1)), ((8, 1), (8,)), ((8,), (8,))])
@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryAccuracy", "RootMeanSquaredError", "AUC", "Precision"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_last_axis_of_one(name, t, p, weighted):
    t, p = bits(*t), probabilities(*p)
    w = RNG.uniform(0.5, 2, 8).astype("float32") if weighted else None
    with oracle() as keras:
        expected = float(getattr(keras.metrics, name)()(t.reshape(8, 1), p.reshape(8, 1), sample_weight=w))
    assert getattr(metrics, name)()(t, p, sample_weight=w) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "weight"),
    [(3.0, None), (3.0, 2.0), ([1.0, 4.0], None), ([1.0, 4.0], [1.0, 3.0]), ([[1.0, 2.0], [3.0, 5.0]], [1.0, 3.0])],
)
@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_mean_and_sum_of_values(name, values, weight):
    ours = getattr(metrics, name)()
    with oracle() as keras:
        theirs = getattr(keras.metrics, name)()
        for _ in range(2):
            theirs.update_state(jnp.asarray(values), sample_weight=weight)
            ours.update_state(values, sample_weight=weight)
        assert ours.result() == pytest.approx(float(theirs.result()))


@pytest.mark.parametrize("name", [n for n in metrics.__all__ if n.endswith("accuracy") and n.islower()])
def test_accuracy_functions(name):
    targets, predictions = {"c": (one_hot, distribution), "t": (one_hot, distribution), "b": (bits, probabilities)}.get(
        name[0], (labels, distribution)
    )
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    k = {"k": 2} if "top_k" in name else {}
    with oracle() as keras:
        expected = np.asarray(getattr(keras.metrics, name)(t, p, **k))
    np.testing.assert_array_equal(getattr(metrics, name)(t, p, **k), expected)
