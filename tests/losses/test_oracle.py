"""Every loss against the loss of the same name in Keras: values, gradients, weights, masks, reductions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import losses

RNG = np.random.default_rng(0)


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


# name, arguments, targets, predictions
CASES = [
    ("MeanSquaredError", {}, reals, reals),
    ("MeanAbsoluteError", {}, reals, reals),
    ("MeanAbsolutePercentageError", {}, reals, reals),
    ("MeanSquaredLogarithmicError", {}, reals, reals),
    ("Huber", {}, reals, reals),
    ("Huber", {"delta": 0.3}, reals, reals),
    ("LogCosh", {}, reals, reals),
    ("CosineSimilarity", {}, reals, reals),
    ("CosineSimilarity", {"axis": 1}, reals, reals),
    ("Hinge", {}, bits, reals),
    ("SquaredHinge", {}, bits, reals),
    ("Hinge", {}, lambda *s: 2 * bits(*s) - 1, reals),
    ("CategoricalHinge", {}, one_hot, reals),
    ("KLDivergence", {}, distribution, distribution),
    ("Poisson", {}, lambda *s: RNG.poisson(2.0, s).astype("float32"), probabilities),
    ("BinaryCrossentropy", {}, bits, probabilities),
    ("BinaryCrossentropy", {}, probabilities, probabilities),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits, reals),
    ("BinaryCrossentropy", {"axis": 1}, bits, probabilities),
    ("BinaryFocalCrossentropy", {}, bits, probabilities),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.5, "from_logits": True}, bits, reals),
    ("CategoricalCrossentropy", {}, one_hot, probabilities),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, one_hot, distribution),
    ("CategoricalCrossentropy", {"from_logits": True}, distribution, reals),
    ("CategoricalCrossentropy", {"from_logits": True, "axis": 1}, bits, reals),
    ("CategoricalFocalCrossentropy", {}, one_hot, distribution),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "gamma": 1.0, "alpha": 0.5}, one_hot, reals),
    ("SparseCategoricalCrossentropy", {}, labels, distribution),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, labels, reals),
    ("SparseCategoricalCrossentropy", {"ignore_class": 0}, labels, distribution),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 1}, labels, reals),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(CASES)]


def keras_loss(name, arguments, t, p, *, weight=None, mask=None, reduction="sum_over_batch_size"):
    with oracle() as keras:
        if mask is not None:
            p = keras.ops.convert_to_tensor(p)
            keras.src.backend.set_keras_mask(p, jnp.asarray(mask))
        loss = getattr(keras.losses, name)(**arguments, reduction=reduction)
        return np.asarray(loss(t, p, sample_weight=weight))


def close(actual, expected, rtol=2e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=2e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None])
@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES[:1] + CASES[15:16] + CASES[-1:])
def test_reductions_with_and_without_weights(name, arguments, targets, predictions, reduction):
    t, p, w = targets(6, 3), predictions(6, 3), RNG.uniform(0, 2, 6).astype("float32")
    loss = getattr(losses, name)(**arguments, reduction=reduction)
    close(loss(t, p), keras_loss(name, arguments, t, p, reduction=reduction))
    close(loss(t, p, sample_weight=w), keras_loss(name, arguments, t, p, weight=w, reduction=reduction))


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_values_per_example(name, arguments, targets, predictions):
    shape = (4, 2, 3)
    t, p = targets(*shape), predictions(*shape)
    loss = getattr(losses, name)(**arguments)
    expected = keras_loss(name, arguments, t, p, reduction="none")
    values = loss.call(jnp.asarray(t), jnp.asarray(p))
    if "ignore_class" not in arguments:  # Keras scales unreduced values by its mask; the reduced test has this case
        close(values, expected)
    assert values.shape == expected.shape
    assert values.shape[0] == 4


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_gradients(name, arguments, targets, predictions):
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    w = RNG.uniform(0.5, 2, (4, 2)).astype("float32")
    if arguments.get("axis") == 1:
        w = w[:, :1] * np.ones((1, 3), "float32")
    loss = getattr(losses, name)(**arguments)
    gradient = jax.jit(jax.grad(lambda p: loss(t, p, sample_weight=w)))(p)
    with oracle() as keras:
        theirs = getattr(keras.losses, name)(**arguments)
        expected = jax.jit(jax.grad(lambda p: theirs(t, p, sample_weight=w)))(p)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES[:1] + CASES[-1:])
def test_masks(name, arguments, targets, predictions, reduction, weighted):
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    mask = np.arange(2)[None] < np.array([1, 2, 0, 2])[:, None]
    weight = RNG.uniform(0.5, 2, (4, 2)).astype("float32") if weighted else None
    loss = getattr(losses, name)(**arguments, reduction=reduction)
    expected = keras_loss(name, arguments, t, p, weight=weight, mask=mask, reduction=reduction)
    close(loss(t, p, sample_weight=weight, mask=mask), expected)


@pytest.mark.parametrize(("t", "p"), [((6,), (6, 1)), ((6, 1), (6,)), ((6, 4), (6, 4, 1)), ((6, 4, 1), (6, 4))])
@pytest.mark.parametrize("name", ["MeanSquaredError", "Huber", "BinaryCrossentropy", "Poisson", "Hinge"])
def test_a_last_axis_of_one_is_paired_as_in_keras(name, t, p):
    t, p = bits(*t), probabilities(*p)
    close(getattr(losses, name)()(t, p), keras_loss(name, {}, t, p))


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "uint8", "bool"])
def test_targets_of_any_dtype(dtype):
    t, p = bits(6, 2).astype(dtype), probabilities(6, 2)
    close(losses.BinaryCrossentropy()(t, p), keras_loss("BinaryCrossentropy", {}, t.astype("float32"), p))
    close(losses.MeanSquaredError()(t, p), keras_loss("MeanSquaredError", {}, t.astype("float32"), p))


@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_sparse_targets_of_any_dtype_and_rank(dtype, shape):
    t, p = RNG.integers(0, 3, shape).astype(dtype), distribution(8, 3)
    loss = losses.SparseCategoricalCrossentropy()
    close(loss(t, p), keras_loss("SparseCategoricalCrossentropy", {}, t, p))
    one = losses.CategoricalCrossentropy()(np.eye(3, dtype="float32")[t.reshape(-1).astype(int)], p)
    close(one, loss(t, p))


def test_half_precision_is_computed_in_float32():
    t, p = bits(6, 2), jnp.asarray(probabilities(6, 2)).astype(jnp.bfloat16)
    value = losses.BinaryCrossentropy()(t, p)
    assert value.dtype == jnp.float32
    close(value, keras_loss("BinaryCrossentropy", {}, t, np.asarray(p.astype(jnp.float32))))


FUNCTIONS = {
    "binary_crossentropy": (bits, probabilities),
    "binary_focal_crossentropy": (bits, probabilities),
    "categorical_crossentropy": (one_hot, distribution),
    "categorical_focal_crossentropy": (one_hot, distribution),
    "sparse_categorical_crossentropy": (labels, distribution),
    "kl_divergence": (distribution, distribution),
    "poisson": (probabilities, probabilities),
}


VERBS = {"get", "resolve", "serialize", "deserialize"}


@pytest.mark.parametrize("name", [n for n in losses.__all__ if n.islower() and n not in VERBS])
def test_functions(name):
    targets, predictions = FUNCTIONS.get(name, (bits, reals))
    t, p = targets(4, 3), predictions(4, 3)
    with oracle() as keras:
        expected = np.asarray(getattr(keras.losses, name)(jnp.asarray(t), jnp.asarray(p)))
    close(getattr(losses, name)(t, p), expected)
