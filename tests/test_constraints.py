"""Constraints against Keras, and that what they return is allowed."""

from __future__ import annotations

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import constraints

CASES = [
    ("NonNeg", {}),
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.5, "axis": [0, 1, 2]}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": (0, 1, 2)}),
    ("MinMaxNorm", {}),
    ("MinMaxNorm", {"min_value": 1.5, "max_value": 2.5, "rate": 0.3, "axis": -1}),
    ("MinMaxNorm", {"rate": 0.5}),
    ("MinMaxNorm", {"min_value": 0.5, "axis": [0, 2]}),
    ("MaxNorm", {"max_value": 1.0, "axis": 2}),
    ("UnitNorm", {"axis": [1, 3]}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_against_keras(name, arguments):
    w = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    w[..., 0] = 0.0
    made = getattr(constraints, name)(**arguments)
    ours = jax.jit(made)(jnp.asarray(w))
    with oracle() as keras:
        axis = arguments.get("axis")
        theirs = getattr(keras.constraints, name)(
            **{**arguments, **({"axis": tuple(axis)} if isinstance(axis, list) else {})}
        )
        np.testing.assert_allclose(ours, theirs(w), rtol=1e-6, atol=1e-9)
        reference = getattr(keras.constraints, name)(**arguments)
        back = getattr(keras.constraints, name).from_config(constraints.serialize(made)["config"])
        assert back.get_config() == reference.get_config()
        returned = constraints.deserialize(keras.constraints.serialize(reference))
        assert returned.get_config() == made.get_config()
    assert ours.dtype == jnp.float32
    assert made(jnp.asarray(w, "bfloat16")).dtype == jnp.bfloat16
    again = constraints.deserialize(constraints.serialize(made))
    assert type(again) is type(made)
    assert again.get_config() == made.get_config()


def test_norms_end_where_they_may():
    w = jnp.asarray(np.random.default_rng(1).normal(size=(6, 8)) * 3, "float32")
    assert float(jnp.linalg.norm(constraints.MaxNorm(2.0)(w), axis=0).max()) <= 2.0
    np.testing.assert_allclose(jnp.linalg.norm(constraints.UnitNorm(axis=1)(w), axis=1), 1.0, rtol=1e-6)
    assert float(constraints.NonNeg()(w).min()) == 0.0


def test_names():
    assert constraints.get(None) is None
    for name, cls in (("max_norm", "MaxNorm"), ("NonNeg", "NonNeg"), ("unit_norm", "UnitNorm")):
        assert type(constraints.get(name)) is getattr(constraints, cls)
    assert constraints.min_max_norm is constraints.MinMaxNorm
    assert constraints.get(jnp.abs) is jnp.abs


def test_examples():
    assert doctest.testmod(constraints).failed == 0
