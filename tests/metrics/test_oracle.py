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


def certain(*shape):
    """Probabilities with exact zeros and ones among them."""
    return np.where(RNG.uniform(size=shape) < 0.3, bits(*shape), probabilities(*shape)).astype("float32")


def signs(*shape):
    return 2 * bits(*shape) - 1


def order(*shape):
    return np.argsort(reals(*shape))


def ids(*shape):
    return RNG.integers(0, 4, shape[0])


def many(*shape):
    """Rows of enough values to correlate."""
    return reals(shape[0], 6)


def shifted(*shape):
    return 2 * many(*shape) + 1


AT = {"num_thresholds": 40}

# name, arguments, targets, predictions
CASES = [
    ("Accuracy", {}, numbers, numbers),
    ("Accuracy", {"name": "mine", "dtype": "float32"}, numbers, numbers),
    ("BinaryAccuracy", {}, bits, probabilities),
    ("BinaryAccuracy", {"threshold": 0.3}, bits, probabilities),
    ("BinaryAccuracy", {"threshold": 0.0}, bits, certain),
    ("CategoricalAccuracy", {}, one_hot, distribution),
    ("CategoricalAccuracy", {}, one_hot, reals),
    ("SparseCategoricalAccuracy", {}, labels, distribution),
    ("SparseCategoricalAccuracy", {}, column, distribution),
    ("TopKCategoricalAccuracy", {"k": 1}, one_hot, distribution),
    ("TopKCategoricalAccuracy", {"k": 2}, one_hot, distribution),
    ("TopKCategoricalAccuracy", {}, one_hot, distribution),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, labels, distribution),
    ("SparseTopKCategoricalAccuracy", {"k": 1}, column, reals),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, labels, order),
    ("MeanSquaredError", {}, reals, reals),
    ("MeanSquaredError", {"name": "mine"}, bits, probabilities),
    ("RootMeanSquaredError", {}, reals, reals),
    ("MeanAbsoluteError", {}, reals, reals),
    ("MeanAbsolutePercentageError", {}, reals, reals),
    ("MeanSquaredLogarithmicError", {}, reals, reals),
    ("LogCoshError", {}, reals, reals),
    ("LogCoshError", {"name": "mine"}, reals, reals),
    ("CosineSimilarity", {}, reals, reals),
    ("CosineSimilarity", {"axis": 1}, reals, reals),
    ("R2Score", {}, reals, reals),
    ("R2Score", {"class_aggregation": None}, reals, reals),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, reals, reals),
    ("KLDivergence", {}, distribution, distribution),
    ("KLDivergence", {}, one_hot, certain),
    ("Poisson", {}, bits, probabilities),
    ("Hinge", {}, bits, reals),
    ("Hinge", {}, signs, reals),
    ("SquaredHinge", {}, bits, reals),
    ("SquaredHinge", {}, signs, reals),
    ("CategoricalHinge", {}, one_hot, reals),
    ("BinaryCrossentropy", {}, bits, probabilities),
    ("BinaryCrossentropy", {}, bits, certain),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, bits, probabilities),
    ("BinaryCrossentropy", {"from_logits": True}, bits, reals),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits, reals),
    ("CategoricalCrossentropy", {}, one_hot, distribution),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, one_hot, distribution),
    ("CategoricalCrossentropy", {"from_logits": True}, one_hot, reals),
    ("CategoricalCrossentropy", {"axis": 1}, distribution, distribution),
    ("SparseCategoricalCrossentropy", {}, labels, distribution),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, column, reals),
    ("SparseCategoricalCrossentropy", {"axis": 1}, labels, distribution),
    ("TruePositives", {}, bits, probabilities),
    ("TruePositives", {"thresholds": 0.7}, bits, probabilities),
    ("TruePositives", {"thresholds": [0.0, 0.5, 1.0]}, bits, certain),
    ("TrueNegatives", {}, bits, probabilities),
    ("TrueNegatives", {"thresholds": [0.2, 0.7]}, bits, probabilities),
    ("FalsePositives", {}, bits, probabilities),
    ("FalsePositives", {"thresholds": 0.3}, bits, probabilities),
    ("FalseNegatives", {}, bits, certain),
    ("FalseNegatives", {"thresholds": [0.8, 0.1, 0.5]}, bits, probabilities),
    ("Precision", {}, bits, probabilities),
    ("Precision", {"thresholds": 0.25}, bits, probabilities),
    ("Precision", {"thresholds": [0.1, 0.5, 0.9]}, bits, probabilities),
    ("Precision", {"top_k": 2}, bits, probabilities),
    ("Precision", {"top_k": 2, "thresholds": 0.6}, bits, probabilities),
    ("Precision", {"class_id": 1}, one_hot, distribution),
    ("Precision", {"class_id": 0, "thresholds": [0.2, 0.4]}, one_hot, distribution),
    ("Precision", {"class_id": 1, "top_k": 2, "name": "mine"}, one_hot, distribution),
    ("Recall", {}, bits, probabilities),
    ("Recall", {"thresholds": [0.3, 0.6]}, bits, probabilities),
    ("Recall", {"top_k": 1}, bits, probabilities),
    ("Recall", {"class_id": 2}, one_hot, distribution),
    ("Recall", {"top_k": 1, "class_id": 2}, one_hot, distribution),
    ("SensitivityAtSpecificity", {"specificity": 0.6}, bits, probabilities),
    ("SensitivityAtSpecificity", {"specificity": 0.4, "class_id": 1, **AT}, one_hot, distribution),
    ("SensitivityAtSpecificity", {"specificity": 1.0, **AT}, bits, probabilities),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6}, bits, probabilities),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 1}, bits, probabilities),
    ("SpecificityAtSensitivity", {"sensitivity": 0.3, "class_id": 0, **AT}, one_hot, distribution),
    ("PrecisionAtRecall", {"recall": 0.4}, bits, probabilities),
    ("PrecisionAtRecall", {"recall": 0.5, "class_id": 2, **AT}, one_hot, distribution),
    ("RecallAtPrecision", {"precision": 0.5}, bits, probabilities),
    ("RecallAtPrecision", {"precision": 0.3, "class_id": 2, **AT}, one_hot, distribution),
    ("AUC", {}, bits, probabilities),
    ("AUC", {"num_thresholds": 3}, bits, probabilities),
    ("AUC", {"curve": "PR", "num_thresholds": 20}, bits, probabilities),
    ("AUC", {"curve": "PR"}, bits, certain),
    ("AUC", {"curve": "PR", "summation_method": "minoring"}, bits, probabilities),
    ("AUC", {"curve": "PR", "summation_method": "majoring"}, bits, probabilities),
    ("AUC", {"curve": "PRGAIN"}, bits, probabilities),
    ("AUC", {"curve": "PRGAIN", "summation_method": "minoring", "num_thresholds": 15}, bits, probabilities),
    ("AUC", {"summation_method": "minoring"}, bits, probabilities),
    ("AUC", {"summation_method": "majoring", "num_thresholds": 10}, bits, probabilities),
    ("AUC", {"thresholds": [0.5]}, bits, probabilities),
    ("AUC", {"multi_label": True}, bits, probabilities),
    ("AUC", {"multi_label": True, "num_labels": 3, "summation_method": "majoring"}, bits, probabilities),
    ("AUC", {"multi_label": True, "curve": "PR", "label_weights": [1.0, 2.0, 0.5]}, bits, probabilities),
    ("AUC", {"multi_label": True, "from_logits": True, "thresholds": [0.2, 0.6]}, bits, reals),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5], "thresholds": [0.3, 0.35, 0.8]}, bits, probabilities),
    ("AUC", {"from_logits": True, "name": "mine"}, bits, reals),
    ("F1Score", {}, one_hot, distribution),
    ("F1Score", {"average": "micro"}, one_hot, distribution),
    ("F1Score", {"average": "macro", "threshold": 0.5}, bits, probabilities),
    ("F1Score", {"average": "weighted", "threshold": 0.4}, bits, probabilities),
    ("FBetaScore", {"threshold": 0.3}, bits, probabilities),
    ("FBetaScore", {"average": "micro", "beta": 2.0}, one_hot, distribution),
    ("FBetaScore", {"average": "macro", "beta": 0.5}, one_hot, distribution),
    ("FBetaScore", {"average": "weighted", "beta": 1.5, "threshold": 0.6}, bits, probabilities),
    ("IoU", {"num_classes": 4, "target_class_ids": [0]}, ids, ids),
    ("IoU", {"num_classes": 4, "target_class_ids": (1, 3), "ignore_class": 3}, ids, ids),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 2], "sparse_y_pred": False}, labels, distribution),
    ("IoU", {"num_classes": 3, "target_class_ids": [1], "sparse_y_true": False}, one_hot, labels),
    ("BinaryIoU", {}, bits, probabilities),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, bits, probabilities),
    ("BinaryIoU", {"target_class_ids": [0], "threshold": 1.0}, bits, certain),
    ("MeanIoU", {"num_classes": 4}, ids, ids),
    ("MeanIoU", {"num_classes": 3}, ids, ids),  # elements of a class that is none do not count
    ("MeanIoU", {"num_classes": 4, "ignore_class": 0, "dtype": "float32"}, ids, ids),
    ("MeanIoU", {"num_classes": 4, "dtype": "int32"}, ids, ids),
    ("MeanIoU", {"num_classes": 3, "sparse_y_true": False, "sparse_y_pred": False}, one_hot, distribution),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0, 2]}, one_hot, distribution),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [1], "sparse_y_pred": True}, one_hot, labels),
    ("OneHotIoU", {"num_classes": 3, "target_class_ids": [0, 1], "ignore_class": 2}, one_hot, distribution),
    ("OneHotMeanIoU", {"num_classes": 3}, one_hot, distribution),
    ("OneHotMeanIoU", {"num_classes": 3, "ignore_class": 1, "name": "mine"}, one_hot, distribution),
    ("OneHotMeanIoU", {"num_classes": 3, "sparse_y_pred": True}, one_hot, labels),
    ("PearsonCorrelation", {}, many, many),
    ("PearsonCorrelation", {"axis": 1, "name": "mine"}, many, shifted),
    ("ConcordanceCorrelation", {}, many, many),
    ("ConcordanceCorrelation", {"axis": 1, "dtype": "float32"}, many, shifted),
]
IDS = [f"{name}-{'-'.join(arguments)}-{i}" for i, (name, arguments, *_) in enumerate(CASES)]


def of_keras(name, arguments):
    """The arguments that give the same numbers in Keras."""
    if name.endswith("IoU"):  # which cuts weights off by default
        return {"dtype": "float32", **arguments}
    return arguments


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_host_api_over_several_updates(name, arguments, targets, predictions):
    ours = getattr(metrics, name)(**arguments)
    for weighted in (False, True):
        batches = []
        for _ in range(3):
            weight = RNG.integers(0, 4, ROWS).astype("float32") if weighted else None
            batches.append((targets(ROWS, 3), predictions(ROWS, 3), weight))
        if weighted and name == "BinaryIoU":  # where Keras takes weights of elements only
            batches = [(t, p, np.repeat(w, 3)) for t, p, w in batches]
        with oracle() as keras:
            theirs = getattr(keras.metrics, name)(**of_keras(name, arguments))
            for t, p, w in batches:
                theirs.update_state(t, p, sample_weight=w)
            expected = np.asarray(theirs.result())
        for t, p, w in batches:
            ours.update_state(t, p, sample_weight=w[::3] if w is not None and len(w) != len(t) else w)
        np.testing.assert_allclose(ours.result(), expected, rtol=2e-5, atol=1e-6)
        ours.reset_state()
    assert ours.result() == 0.0
    assert ours.name == theirs.name or ours.name in theirs.name  # Keras numbers those it has named before


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_configurations_go_both_ways(name, arguments, targets, predictions):
    del targets, predictions
    ours = getattr(metrics, name)(**{"name": "given", **arguments})
    with oracle() as keras:
        theirs = getattr(keras.metrics, name).from_config(metrics.serialize(ours)["config"])
        again = metrics.deserialize(keras.metrics.serialize(theirs))
    assert type(again) is type(ours)
    expected, config = ours.get_config(), again.get_config()
    if name == "CosineSimilarity":  # Keras leaves the axis out of its configuration
        assert theirs._fn_kwargs["axis"] == expected.pop("axis")
        del config["axis"]
    if "dtype" not in arguments:  # Keras writes down its default
        del config["dtype"], expected["dtype"]
    assert config == expected


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


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("name", ["pearson_correlation", "concordance_correlation"])
def test_correlation_functions(name, axis):
    t, p = reals(5, 7), reals(5, 7) + 0.3
    with oracle() as keras:
        expected = np.asarray(getattr(keras.metrics, name)(t, p, axis=axis))
    np.testing.assert_allclose(getattr(metrics, name)(t, p, axis=axis), expected, rtol=1e-4, atol=1e-6)


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
