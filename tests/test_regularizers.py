"""Regularizers against Keras and closed forms."""

from __future__ import annotations

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import regularizers
from verax.errors import InputError, ShapeError

CASES = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L2", {}),
    ("L2", {"l2": 0.3}),
    ("L1L2", {}),
    ("L1L2", {"l1": 0.2, "l2": 0.7}),
    ("OrthogonalRegularizer", {}),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}),
    ("OrthogonalRegularizer", {"factor": 0.5}),
    ("OrthogonalRegularizer", {"mode": "columns"}),
    ("L1", {"l1": 0.0}),
    ("L2", {"l2": 0.0}),
    ("L1L2", {"l1": 0.2}),
    ("L1L2", {"l2": 0.2}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_against_keras(name, arguments):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    made = getattr(regularizers, name)(**arguments)
    ours = jax.jit(made)(jnp.asarray(x))
    with oracle() as keras:
        theirs = getattr(keras.regularizers, name)(**arguments)
        np.testing.assert_allclose(ours, theirs(jnp.asarray(x)), rtol=1e-6)
        slope = jax.grad(theirs)(jnp.asarray(x))
        back = getattr(keras.regularizers, name).from_config(regularizers.serialize(made)["config"])
        again = regularizers.deserialize(keras.regularizers.serialize(theirs))
        assert back.get_config() == theirs.get_config()
    np.testing.assert_allclose(jax.grad(made)(jnp.asarray(x)), slope, rtol=1e-5, atol=1e-7)
    assert again.get_config() == {key: pytest.approx(value) for key, value in made.get_config().items()}
    assert ours.shape == ()
    assert ours.dtype == jnp.float32


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_low_precision_and_configuration(name, arguments):
    made = getattr(regularizers, name)(**arguments)
    assert made(jnp.ones((3, 2), "bfloat16")).dtype == jnp.bfloat16
    again = regularizers.deserialize(regularizers.serialize(made))
    assert type(again) is type(made)
    assert again.get_config() == made.get_config()


def test_names():
    assert regularizers.get(None) is None
    assert regularizers.get("l1").l1 == regularizers.get("L2").l2 == 0.01
    for name in ("l1_l2", "l1l2", "L1L2"):
        assert regularizers.get(name).get_config() == {"l1": 0.01, "l2": 0.01}
    assert type(regularizers.get("orthogonal_regularizer")) is regularizers.OrthogonalRegularizer
    assert regularizers.l2 is regularizers.L2
    assert regularizers.get(jnp.sum) is jnp.sum


def test_orthogonal_edges():
    regularizer = regularizers.OrthogonalRegularizer(factor=1.0)
    assert float(regularizer(jnp.eye(3))) == 0.0
    assert float(regularizer(jnp.ones((3, 2)))) == pytest.approx(1.0)
    assert float(regularizer(jnp.ones((1, 4)))) == 0.0
    assert bool(jnp.isfinite(jax.grad(regularizer)(jnp.zeros((3, 2)))).all())


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: regularizers.L1(-1.0), InputError),
        (lambda: regularizers.L2(float("nan")), InputError),
        (lambda: regularizers.L1L2(l2=float("inf")), InputError),
        (lambda: regularizers.OrthogonalRegularizer(mode="both"), InputError),
        (lambda: regularizers.OrthogonalRegularizer()(jnp.ones(3)), ShapeError),
    ],
)
def test_errors(make, error):
    with pytest.raises(error):
        make()


def test_examples():
    assert doctest.testmod(regularizers).failed == 0
