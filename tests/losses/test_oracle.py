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


def signs(*shape):
    return 2 * bits(*shape) - 1


def counts(*shape):
    return RNG.poisson(2.0, shape).astype("float32")


def positive(*shape):
    return np.abs(reals(*shape)) + 0.1


def far(*shape):
    return 40 * reals(*shape)


def certain(*shape):
    """Probabilities with exact zeros and ones among them."""
    return np.where(RNG.uniform(size=shape) < 0.3, bits(*shape), probabilities(*shape)).astype("float32")


def words(*shape):
    """Up to three labels of four a row, some of them twice in a row, filled up with blanks."""
    return np.array([[1, 2, 2], [3, 3, 0], [4, 0, 0], [0, 0, 0], [1, 2, 3], [2, 4, 2]])[: shape[0]]


def frames(*shape):
    return 2 * reals(shape[0], 8, 5)


def classes(*shape):
    """One row is alone in its class."""
    return np.array([0, 1, 0, 2, 1, 0])[: shape[0]]


def embeddings(*shape):
    x = reals(shape[0], 4)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# name, arguments, targets, predictions
CASES = [
    ("MeanSquaredError", {}, reals, reals),
    ("MeanSquaredError", {}, reals, far),
    ("MeanAbsoluteError", {}, reals, reals),
    ("MeanAbsolutePercentageError", {}, reals, reals),
    ("MeanAbsolutePercentageError", {}, bits, reals),
    ("MeanSquaredLogarithmicError", {}, reals, reals),
    ("MeanSquaredLogarithmicError", {}, positive, positive),
    ("Huber", {}, reals, reals),
    ("Huber", {"delta": 0.3}, reals, reals),
    ("Huber", {"delta": 2.5}, reals, far),
    ("LogCosh", {}, reals, reals),
    ("LogCosh", {}, reals, far),
    ("CosineSimilarity", {}, reals, reals),
    ("CosineSimilarity", {"axis": 1}, reals, reals),
    ("CosineSimilarity", {"axis": -2}, bits, reals),
    ("Hinge", {}, bits, reals),
    ("Hinge", {}, signs, reals),
    ("SquaredHinge", {}, bits, reals),
    ("SquaredHinge", {}, signs, reals),
    ("CategoricalHinge", {}, one_hot, reals),
    ("CategoricalHinge", {}, one_hot, distribution),
    ("KLDivergence", {}, distribution, distribution),
    ("KLDivergence", {}, one_hot, certain),
    ("Poisson", {}, counts, probabilities),
    ("Poisson", {}, counts, positive),
    ("BinaryCrossentropy", {}, bits, probabilities),
    ("BinaryCrossentropy", {}, probabilities, probabilities),
    ("BinaryCrossentropy", {}, bits, certain),
    ("BinaryCrossentropy", {"label_smoothing": 0.3}, bits, probabilities),
    ("BinaryCrossentropy", {"from_logits": True}, bits, far),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, bits, reals),
    ("BinaryCrossentropy", {"axis": 1}, bits, probabilities),
    ("BinaryFocalCrossentropy", {}, bits, probabilities),
    ("BinaryFocalCrossentropy", {"gamma": 0.5}, bits, probabilities),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.6}, bits, probabilities),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.5, "from_logits": True}, bits, reals),
    ("BinaryFocalCrossentropy", {"label_smoothing": 0.2, "axis": 1}, bits, probabilities),
    ("CategoricalCrossentropy", {}, one_hot, probabilities),
    ("CategoricalCrossentropy", {}, distribution, distribution),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, one_hot, distribution),
    ("CategoricalCrossentropy", {"from_logits": True}, distribution, reals),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, one_hot, far),
    ("CategoricalCrossentropy", {"from_logits": True, "axis": 1}, bits, reals),
    ("CategoricalFocalCrossentropy", {}, one_hot, distribution),
    ("CategoricalFocalCrossentropy", {"gamma": 3.0}, one_hot, probabilities),
    ("CategoricalFocalCrossentropy", {"alpha": [0.2, 0.5, 0.9]}, one_hot, distribution),
    ("CategoricalFocalCrossentropy", {"label_smoothing": 0.2}, one_hot, distribution),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "gamma": 1.0, "alpha": 0.5}, one_hot, reals),
    ("SparseCategoricalCrossentropy", {}, labels, distribution),
    ("SparseCategoricalCrossentropy", {}, labels, probabilities),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, labels, far),
    ("SparseCategoricalCrossentropy", {"ignore_class": 0}, labels, distribution),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 1}, labels, reals),
    ("CategoricalGeneralizedCrossEntropy", {}, labels, distribution),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.1}, labels, distribution),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.9}, labels, probabilities),
    ("Dice", {}, bits, probabilities),
    ("Dice", {"axis": -1}, bits, probabilities),
    ("Dice", {"axis": 1}, one_hot, distribution),
    ("Dice", {"axis": [1, 2]}, bits, certain),
    ("Tversky", {}, bits, probabilities),
    ("Tversky", {"alpha": 0.3, "beta": 0.7}, bits, probabilities),
    ("Tversky", {"alpha": 1.0, "beta": 0.0, "axis": -1}, one_hot, distribution),
    ("Tversky", {"alpha": 0.1, "axis": (1, 2)}, bits, certain),
    ("Circle", {}, classes, embeddings),
    ("Circle", {"gamma": 8.0}, classes, embeddings),
    ("Circle", {"gamma": 2.0, "margin": 0.1}, classes, embeddings),
    ("Circle", {"gamma": 4.0, "remove_diagonal": False}, classes, embeddings),
    ("CTC", {}, words, frames),
]
IDS = [f"{name}-{'-'.join(arguments)}-{i}" for i, (name, arguments, *_) in enumerate(CASES)]
ONE_OF_A_NAME = {case[0]: case for case in reversed(CASES)}
FORGETFUL = ("Huber", "CosineSimilarity")  # Keras leaves delta and axis out of their configurations
UNCOUNTED = ("ignore_class", "Circle")  # some values do not count: Keras scales the others up where it reduces nothing


def of_keras(name, arguments, ndim=3):
    """The arguments that give the same numbers in Keras."""
    arguments = dict(arguments)
    if name in ("Dice", "Tversky"):  # which sum over the batch by default
        arguments["axis"] = arguments.get("axis") or tuple(range(1, ndim))
        if isinstance(arguments["axis"], list):
            arguments["axis"] = tuple(arguments["axis"])
    if name == "Tversky":  # whose α and β are swapped in 3.15
        arguments["alpha"], arguments["beta"] = arguments.get("beta", 0.5), arguments.get("alpha", 0.5)
    return arguments


def keras_loss(name, arguments, t, p, *, weight=None, mask=None, reduction="sum_over_batch_size"):
    with oracle() as keras:
        arguments = of_keras(name, arguments, p.ndim)
        if mask is not None:
            p = keras.ops.convert_to_tensor(p)
            keras.src.backend.set_keras_mask(p, jnp.asarray(mask))
        loss = getattr(keras.losses, name)(**arguments, reduction=reduction)
        return np.asarray(loss(t, p, sample_weight=weight))


def close(actual, expected, rtol=2e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=2e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None])
@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), ONE_OF_A_NAME.values(), ids=ONE_OF_A_NAME)
def test_reductions_with_and_without_weights(name, arguments, targets, predictions, reduction):
    if name in UNCOUNTED and reduction in ("none", None):
        pytest.skip("Keras scales what is not reduced")
    t, p, w = targets(6, 3), predictions(6, 3), RNG.uniform(0, 2, 6).astype("float32")
    loss = getattr(losses, name)(**arguments, reduction=reduction)
    close(loss(t, p), keras_loss(name, arguments, t, p, reduction=reduction))
    if name in UNCOUNTED and reduction == "mean_with_sample_weight":
        return  # where Keras' weights of rows that do not count are in the mean
    close(loss(t, p, sample_weight=w), keras_loss(name, arguments, t, p, weight=w, reduction=reduction))


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_values_per_example(name, arguments, targets, predictions):
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    values = getattr(losses, name)(**arguments).call(jnp.asarray(t), jnp.asarray(p))
    with oracle() as keras:
        theirs = getattr(keras.losses, name)(**of_keras(name, arguments))
        expected = np.asarray(theirs.call(jnp.asarray(t), jnp.asarray(p)))
    close(values, expected)
    assert values.shape == expected.shape
    assert values.shape[0] == 4


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_gradients(name, arguments, targets, predictions):
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    loss = getattr(losses, name)(**arguments)
    w = RNG.uniform(0.5, 2, loss.per_example(t, p).shape).astype("float32")
    gradient = jax.jit(jax.grad(lambda p: loss(t, p, sample_weight=w)))(p)
    with oracle() as keras:
        theirs = getattr(keras.losses, name)(**of_keras(name, arguments))
        expected = jax.jit(jax.grad(lambda p: theirs(t, p, sample_weight=w)))(p)
    assert np.isfinite(gradient).all()
    known = np.isfinite(expected)  # Keras' gradient is NaN for a row without a partner
    assert known.any()
    assert known.all() or name == "Circle"
    size = np.abs(expected[known]).max()
    np.testing.assert_allclose(gradient[known], expected[known], rtol=1e-4, atol=max(1e-6, 1e-6 * size))


@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), CASES, ids=IDS)
def test_configurations_go_both_ways(name, arguments, targets, predictions):
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    ours = getattr(losses, name)(**arguments, reduction="sum", name="mine")
    with oracle() as keras:
        theirs = getattr(keras.losses, name).from_config(losses.serialize(ours)["config"])
        config = ours.get_config()
        assert {key: config[key] for key in theirs.get_config()} == theirs.get_config()
        assert all(theirs._fn_kwargs[key] == value for key, value in arguments.items())
        if name in FORGETFUL:
            return
        again = losses.deserialize(keras.losses.serialize(theirs))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()
    np.testing.assert_array_equal(again(t, p), ours(t, p))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize(("name", "arguments", "targets", "predictions"), ONE_OF_A_NAME.values(), ids=ONE_OF_A_NAME)
def test_masks(name, arguments, targets, predictions, reduction, weighted):
    t, p = targets(4, 2, 3), predictions(4, 2, 3)
    loss = getattr(losses, name)(**arguments, reduction=reduction)
    shape = loss.per_example(t, p).shape
    mask = np.arange(2)[None] < np.array([1, 2, 0, 2])[:, None] if len(shape) > 1 else np.array([1, 0, 1, 1]) > 0
    weight = RNG.uniform(0.5, 2, shape).astype("float32") if weighted else None
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
    "categorical_generalized_cross_entropy": (labels, distribution),
    "circle": (classes, embeddings),
    "ctc": (words, frames),
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
    more = {"q": 0.4} if name == "categorical_generalized_cross_entropy" else {}
    axis = {"axis": 1} if name in ("dice", "tversky") else {}
    with oracle() as keras:
        expected = np.asarray(getattr(keras.losses, name)(jnp.asarray(t), jnp.asarray(p), **more, **axis))
    close(getattr(losses, name)(t, p, **more), expected)
