"""Correlations and intersection over union: against scipy and scikit-learn, differences from Keras, and errors."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import stats

from tests.oracle import oracle
from verax import metrics
from verax.errors import InputError, ShapeError
from verax.ledger.tally import fold

RNG = np.random.default_rng(6)
T = RNG.normal(size=(40, 3)).astype("float32")
P = (0.6 * T + 0.5 * RNG.normal(size=(40, 3)) + [0.0, 1.0, -2.0]).astype("float32")
W = RNG.uniform(0, 2, 40).astype("float32")


def concordance(t, p, w=None):
    mt, mp = np.average(t, weights=w), np.average(p, weights=w)
    squares = [np.average(x, weights=w) for x in ((t - mt) ** 2, (p - mp) ** 2, (t - mt) * (p - mp))]
    return 2 * squares[2] / (squares[0] + squares[1] + (mt - mp) ** 2)


def weighted_pearson(t, p, w):
    return (
        np.corrcoef(t, p)[0, 1]
        if w is None
        else np.cov(t, p, aweights=w)[0, 1] / np.sqrt(np.prod(np.diag(np.cov(t, p, aweights=w))))
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(40,), (7, 33), (1, 2, 37), (1,) * 40])
@pytest.mark.parametrize(
    ("name", "of"), [("PearsonCorrelation", weighted_pearson), ("ConcordanceCorrelation", concordance)]
)
def test_along_the_batch_it_is_that_of_all_rows_for_any_split(name, of, sizes, weighted):
    metric, w = getattr(metrics, name)(axis=0), W if weighted else None
    metric.tally = jax.jit(metric.tally)
    for a, b in itertools.pairwise(np.cumsum([0, *sizes])):
        metric.update_state(T[a:b], P[a:b], None if w is None else w[a:b])
    assert metric.result() == pytest.approx(np.mean([of(T[:, i], P[:, i], w) for i in range(3)]), rel=1e-4)


def test_pearson_against_scipy():
    expected = [stats.pearsonr(t, p).statistic for t, p in zip(T.T, P.T, strict=True)]
    np.testing.assert_allclose(metrics.pearson_correlation(T, P, axis=0), expected, rtol=1e-5)
    assert metrics.PearsonCorrelation(axis=0)(T, P) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("shapes", [((40,), (40, 1)), ((40, 1), (40, 1)), ((40,), (40,))])
@pytest.mark.parametrize("axis", [-1, 0])
def test_one_output_is_correlated_over_the_rows(shapes, axis):
    t, p = T[:, 0].reshape(shapes[0]), P[:, 0].reshape(shapes[1])
    expected = stats.pearsonr(T[:, 0], P[:, 0]).statistic
    assert metrics.PearsonCorrelation(axis=axis)(t, p) == pytest.approx(expected, rel=1e-5)
    assert metrics.ConcordanceCorrelation(axis=axis)(t, p) == pytest.approx(concordance(T[:, 0], P[:, 0]), rel=1e-4)
    if shapes == ((40, 1), (40, 1)) and axis == -1:  # where Keras is said to differ, it does
        with oracle() as keras:
            assert np.isnan(float(keras.metrics.PearsonCorrelation()(t, p)))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e3])
def test_a_constant_has_no_correlation(value):
    flat = np.full((3, 7), value, "float32")
    many = RNG.normal(size=(3, 7)).astype("float32")
    assert metrics.pearson_correlation(many, flat).tolist() == [0.0] * 3
    for axis in (-1, 0):
        assert metrics.PearsonCorrelation(axis=axis)(many, flat) == 0.0
        assert metrics.ConcordanceCorrelation(axis=axis)(many, flat) == pytest.approx(0.0, abs=1e-5)


def test_nothing_weighed():
    zeros = np.zeros(40, "float32")
    assert metrics.PearsonCorrelation(axis=0)(T, P, zeros) == metrics.PearsonCorrelation()(T, P, zeros) == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_iou_is_the_jaccard_score(weighted):
    t, p = RNG.integers(0, 5, (6, 4, 3)), RNG.integers(0, 5, (6, 4, 3))
    w = RNG.uniform(0.2, 2, 6).astype("float32") if weighted else None
    flat = None if w is None else np.repeat(w, 12)
    scores = sk.jaccard_score(t.ravel(), p.ravel(), average=None, sample_weight=flat)
    assert metrics.MeanIoU(5)(t, p, w) == pytest.approx(scores.mean(), rel=1e-5)
    assert metrics.IoU(5, [1, 4])(t, p, w) == pytest.approx(scores[[1, 4]].mean(), rel=1e-5)
    hot, p_hot = np.eye(5)[t], np.eye(5)[p]
    assert metrics.OneHotMeanIoU(5)(hot, p_hot, w) == pytest.approx(scores.mean(), rel=1e-5)
    moved = metrics.OneHotIoU(5, [0], axis=1)(np.moveaxis(hot, -1, 1), np.moveaxis(p_hot, -1, 1), w)
    assert moved == pytest.approx(scores[0], rel=1e-5)


def test_weights_are_not_cut_off():
    t, p, w = np.array([0, 1, 1]), np.array([0, 1, 0]), np.array([0.5, 0.5, 0.75], "float32")
    assert metrics.IoU(2, [1])(t, p, w) == pytest.approx(0.5 / 1.25)
    assert metrics.IoU(2, [1], dtype="int32")(t, p, 2 * w) == pytest.approx(1 / 2)
    with oracle() as keras:
        assert float(keras.metrics.IoU(2, [1])(t, p, w)) == 0.0


def test_classes_that_do_not_count():
    assert metrics.MeanIoU(3)([0, 0], [0, 0]) == 1.0  # two classes are nowhere seen
    assert metrics.MeanIoU(3)([0, 7, -1], [0, 0, 1]) == 1.0
    assert metrics.MeanIoU(3, ignore_class=1)([0, 1, 1], [0, 2, 1]) == 1.0
    assert metrics.MeanIoU(3)([7], [0]) == 0.0


def test_iou_on_logits_and_of_columns():
    logits = np.array([[-1.0], [0.2], [0.4], [-0.1]], "float32")
    metric = metrics.resolve("binary_iou", (4, 1), (4, 1), loss=metrics.losses.BinaryCrossentropy(from_logits=True))
    assert metric.threshold == 0.0
    assert metric([0, 1, 0, 0], logits) == metrics.BinaryIoU()([0, 1, 0, 0], jax.nn.sigmoid(logits)[:, 0])
    assert metrics.MeanIoU(2)([[0], [1]], [0, 1]) == 1.0


def test_sums_are_exact_for_any_split():
    t, p = RNG.integers(0, 4, 30), RNG.integers(0, 4, 30)
    metric = metrics.MeanIoU(4)
    parts = [metric.tally(t[a:b], p[a:b]) for a, b in ((0, 1), (1, 13), (13, 30))]
    assert metric.finish(fold(parts)) == metric(t, p)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: metrics.IoU(3, [3]), InputError, "from 0 to 2"),
        (lambda: metrics.IoU(3, []), InputError, "one or more"),
        (lambda: metrics.MeanIoU(3)(jnp.zeros((2, 4)), jnp.zeros((2, 3))), ShapeError, "OneHotIoU"),
        (lambda: metrics.PearsonCorrelation()(jnp.zeros((2, 4)), jnp.zeros((2, 3))), ShapeError, "belong together"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
