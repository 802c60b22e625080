"""Every activation against Keras: values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import activations
from verax.errors import UnknownNameError

X = np.random.default_rng(0).normal(0, 3, (5, 4, 6)).astype("float32")
PLAIN = [n for n in activations.__all__ if n not in ("get", "serialize", "deserialize", "threshold")]
CASES = [(name, {}) for name in PLAIN if name != "sparsemax"] + [
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 2.0}),
    ("relu", {"max_value": 6.0}),
    ("relu", {"threshold": 1.5}),
    ("relu", {"threshold": -1.5, "negative_slope": 0.3}),
    ("relu", {"negative_slope": 0.2, "max_value": 3.0, "threshold": 0.5}),
    ("leaky_relu", {"negative_slope": 0.4}),
    ("elu", {"alpha": 0.7}),
    ("celu", {"alpha": 0.7}),
    ("gelu", {"approximate": True}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("elu", {"alpha": 2.0}),
    ("softmax", {"axis": 1}),
    ("softmax", {"axis": (1, 2)}),
    ("log_softmax", {"axis": 1}),
    ("log_softmax", {"axis": 0}),
    ("glu", {"axis": 1}),
    ("squareplus", {"b": 2}),
    ("soft_shrink", {"threshold": 1.0}),
    ("hard_shrink", {"threshold": 1.0}),
    ("threshold", {"threshold": 0.5, "default_value": -2.0}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_values_and_gradients(name, arguments):
    ours = getattr(activations, name)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=ours(X, **arguments).shape), "float32")

    def both(fn, x):
        value = fn(x, **arguments)
        return (value * weights).sum(), value

    (_, value), gradient = jax.jit(jax.value_and_grad(lambda x: both(ours, x), has_aux=True))(X)
    with oracle() as keras:
        theirs = getattr(keras.activations, name, None) or keras.activations.get(name)
        (_, expected), slope = jax.jit(jax.value_and_grad(lambda x: both(theirs, x), has_aux=True))(X)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("axis", [-1, 1])
def test_sparsemax_is_the_nearest_point_of_the_simplex(axis):
    """Its defining conditions (Martins & Astudillo 2016): the result is max(x − τ, 0) with one τ, and sums to 1."""
    p = np.moveaxis(np.asarray(activations.sparsemax(X, axis=axis)), axis, -1)
    x = np.moveaxis(X, axis, -1)
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
    offset = ((x - p) * (p > 0)).sum(-1, keepdims=True) / (p > 0).sum(-1, keepdims=True)
    np.testing.assert_allclose(np.maximum(x - offset, 0.0), p, atol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_dtypes(name):
    fn = getattr(activations, name)
    assert fn(jnp.ones(4, jnp.bfloat16)).dtype == jnp.bfloat16
    if name != "linear":
        assert fn(np.arange(4)).dtype == jnp.float32


def test_names():
    with oracle() as keras:
        theirs = keras.src.activations.ALL_OBJECTS_DICT
        assert set(theirs) == set(activations.__all__) - {"get", "serialize", "deserialize"}
    for name in theirs:
        fn = activations.get(name)
        assert activations.deserialize(activations.serialize(fn)) is fn
        with oracle() as keras:
            assert keras.activations.deserialize(activations.serialize(fn)) is theirs[name]
            assert activations.deserialize(keras.activations.serialize(theirs[name])) is fn
    assert activations.get(None) is activations.linear
    assert activations.get(jnp.sin) is jnp.sin
    with pytest.raises(UnknownNameError, match="Did you mean 'relu'"):
        activations.get("rellu")


def test_only_a_softmax_over_the_last_axis_and_a_sigmoid_note_their_logits(monkeypatch):
    noted = []
    monkeypatch.setattr(activations, "note_link", lambda output, kind, logits: noted.append((kind, output, logits)))
    outputs = [activations.softmax(X), activations.softmax(X, axis=2), activations.sigmoid(X)]
    activations.softmax(X, axis=1)
    assert [kind for kind, *_ in noted] == ["softmax", "softmax", "sigmoid"]
    assert all(output is mine for (_, output, _), mine in zip(noted, outputs, strict=True))
    assert all((logits == X).all() for *_, logits in noted)
