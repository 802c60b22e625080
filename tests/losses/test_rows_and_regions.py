"""Losses of regions, pairs of rows and sequences: where they differ from Keras, closed forms, and what they refuse."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.oracle import oracle
from verax import losses
from verax.errors import DataError, InputError, ShapeError

RNG = np.random.default_rng(4)
T = RNG.integers(0, 2, (6, 4, 3)).astype("float32")
P = RNG.uniform(0.02, 0.98, (6, 4, 3)).astype("float32")


@pytest.mark.parametrize("name", ["Dice", "Tversky"])
def test_a_row_of_a_region_loss_does_not_depend_on_the_others(name):
    loss = getattr(losses, name)()
    rows = loss.per_example(T, P)
    assert rows.shape == (6,)
    np.testing.assert_allclose(rows, [loss.per_example(T[i : i + 1], P[i : i + 1])[0] for i in range(6)], rtol=1e-6)
    assert float(loss(T, P)) == pytest.approx(float(rows.mean()), rel=1e-6)


@pytest.mark.parametrize("name", ["Dice", "Tversky"])
@pytest.mark.parametrize("axis", [(0, 1, 2), (0, 1), 0, (-3, -1)])
def test_over_the_batch_where_its_axis_is_asked_for(name, axis):
    loss = getattr(losses, name)(axis=axis)
    with oracle() as keras:
        expected = np.asarray(getattr(keras.losses, name)(axis=axis)(T, P))
        if axis == (0, 1, 2):
            np.testing.assert_array_equal(expected, getattr(keras.losses, name)()(T, P))  # Keras' default
    assert float(loss(T, P)) == pytest.approx(float(expected), rel=1e-6)
    assert loss.per_example(T, P).shape[0] == 6


def test_alpha_of_tversky_weighs_false_positives():
    loss = losses.Tversky(alpha=0.2, beta=0.9)
    hits, positives = (T * P).sum((1, 2)), ((1 - T) * P).sum((1, 2))
    negatives = (T * (1 - P)).sum((1, 2))
    expected = 1 - hits / (hits + 0.2 * positives + 0.9 * negatives)
    np.testing.assert_allclose(loss.per_example(T, P), expected, rtol=1e-6)
    with oracle() as keras:  # where Keras is said to differ, it does
        theirs = np.asarray(keras.losses.Tversky(alpha=0.2, beta=0.9, axis=(1, 2), reduction=None)(T, P))
    assert np.abs(theirs - expected).max() > 0.01


def test_empty_regions():
    loss, zeros = losses.Dice(), jnp.zeros((1, 4))
    assert float(loss(zeros, zeros)) == 1.0
    assert float(jnp.abs(jax.grad(lambda p: loss(zeros, p))(zeros)).max()) == 0.0


def test_dice_of_hard_regions_is_one_minus_the_f1_score():
    hard = (P > 0.5).astype("float32")
    expected = [1 - f1_score(t.ravel(), p.ravel()) for t, p in zip(T, hard, strict=True)]
    np.testing.assert_allclose(losses.dice(T, hard), expected, rtol=1e-5)


def paths_of(labels, count, classes):
    """Every way of writing the labels on ``count`` frames: repetitions fall together, then blanks fall away."""
    for path in itertools.product(range(classes), repeat=count):
        if [k for k, _ in itertools.groupby(path) if k] == labels:
            yield path


@pytest.mark.parametrize("labels", [[1, 2], [2, 2], [1], [], [1, 2, 1]])
def test_ctc_is_the_sum_over_every_path(labels):
    z = RNG.normal(size=(4, 3))
    logs = z - np.log(np.exp(z).sum(-1, keepdims=True))
    probability = sum(math.exp(sum(logs[i, k] for i, k in enumerate(path))) for path in paths_of(labels, 4, 3))
    padded = np.array([labels + [0] * (3 - len(labels))])
    assert float(losses.ctc(padded, z[None].astype("float32"))[0]) == pytest.approx(-math.log(probability), rel=1e-5)


def test_rows_alone_in_their_class_do_not_count():
    p = RNG.normal(size=(5, 3)).astype("float32")
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    y = np.array([0, 0, 1, 1, 2])
    loss = losses.Circle(gamma=4.0)
    assert loss.counted(y).tolist() == loss.counted(y[:, None]).tolist() == [True] * 4 + [False]
    values = loss.per_example(y, p)
    assert float(values[4]) == 0.0
    assert float(loss(y, p)) == pytest.approx(float(values[:4].mean()), rel=1e-6)
    assert np.isfinite(jax.grad(lambda p: loss(y, p))(p)).all()
    assert not loss.counted(np.zeros(5)).any()


def test_circle_with_rows_of_reference():
    p = RNG.normal(size=(5, 3)).astype("float32")
    others = RNG.normal(size=(4, 3)).astype("float32")
    y, of_others = np.array([0, 1, 0, 1, 2]), np.array([1, 0, 2, 0])
    arguments = {"ref_labels": of_others, "ref_embeddings": others, "remove_diagonal": False, "gamma": 2.0}
    with oracle() as keras:
        expected = np.asarray(keras.losses.circle(y, p, **arguments))
    np.testing.assert_allclose(losses.circle(y, p, **arguments), expected, rtol=1e-5)


def test_generalized_crossentropy_from_its_logits():
    loss = losses.CategoricalGeneralizedCrossEntropy(q=0.3)
    z, y = 3 * RNG.normal(size=(5, 4)).astype("float32"), np.array([0, 1, 2, 3, 0])
    assert loss.link == "softmax"
    np.testing.assert_allclose(loss.from_link(y, z), loss.per_example(y, jax.nn.softmax(z)), rtol=1e-5)
    np.testing.assert_allclose(loss.per_example(y[:, None], jax.nn.softmax(z)), loss.from_link(y, z), rtol=1e-5)
    far = jnp.array([[200.0, 0.0]])
    gradient = jax.grad(lambda z: loss.from_link(jnp.array([1]), z).sum())(far)
    assert np.isfinite(gradient).all()
    small = losses.CategoricalGeneralizedCrossEntropy(q=1e-3)
    np.testing.assert_allclose(
        small.from_link(y, z), losses.sparse_categorical_crossentropy(y, z, from_logits=True), rtol=0.01
    )
    assert bool(jnp.isnan(losses.categorical_generalized_cross_entropy([4], z[:1], q=0.5)[0]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_dtype_is_that_of_the_values_which_are_computed_in_float32(dtype):
    loss, whole = losses.MeanSquaredError(dtype=dtype), losses.MeanSquaredError()
    assert loss.dtype == dtype
    values = loss.per_example(T, P)
    assert values.dtype == jnp.dtype(dtype)
    np.testing.assert_array_equal(values, whole.per_example(T, P).astype(dtype))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=1.0), InputError, "q above 0"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy().check(np.array([3]), (None, 3)), DataError, "label 3"),
        (lambda: losses.CategoricalGeneralizedCrossEntropy().check(np.eye(3), (None, 3)), ShapeError, "one integer"),
        (lambda: losses.CTC().check(np.array([1, 2]), (None, 5, 3)), ShapeError, r"\(batch, labels\)"),
        (lambda: losses.CTC().check(np.array([[1, 3]]), (None, 5, 3)), DataError, "label 3"),
        (lambda: losses.ctc([1], [[[0.0]]]), ShapeError, r"\(batch, frames, classes\)"),
        (lambda: losses.Circle().check(np.eye(3), (None, 3)), ShapeError, "one class label a row"),
        (lambda: losses.Circle().check(np.array([np.nan]), (None, 3)), DataError, "not finite"),
        (lambda: losses.circle([0, 1], [0.0, 1.0]), ShapeError, r"\(batch, features\)"),
        (lambda: losses.dice([[1.0]], [[1.0, 0.0]]), ShapeError, "belong together"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_sound_targets_are_not_refused():
    losses.CTC().check(np.array([[1, 2, 0]]), (None, 5, 3))
    losses.Circle().check(np.array([[1], [2]]), (None, 3))
    losses.CategoricalGeneralizedCrossEntropy().check(np.array([[0], [2]]), (None, 3))
    losses.Dice().check(T, (None, 4, 3))
