"""Lifted functions: on arrays, variables and symbolic tensors, with Keras' names and arguments."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import layers, ops
from verax.frame.frame import values
from verax.frame.graph import Graph
from verax.frame.variable import Variable

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
I = np.array([0, 2, 1])  # noqa: E741

LIKE_KERAS = [
    ("mean", (X, 1, True), {}),
    ("mean", (), {"x": X, "axis": 0}),
    ("sum", (X,), {"axis": (0, 1), "keepdims": True}),
    ("max", (X, 1), {}),
    ("argmax", (X, 1), {}),
    ("var", (X, 0), {}),
    ("std", (X,), {}),
    ("logsumexp", (X, 1, True), {}),
    ("any", (X > 0, 1), {}),
    ("add", (X, Y), {}),
    ("matmul", (X, Y.T), {}),
    ("maximum", (), {"x1": X, "x2": Y}),
    ("greater", (X, Y), {}),
    ("where", (X > 0, X, Y), {}),
    ("where", (), {"condition": X > 0, "x1": X, "x2": Y}),
    ("clip", (X, -0.5, 0.5), {}),
    ("clip", (X,), {"x_min": -0.5, "x_max": 0.5}),
    ("cast", (X, "int32"), {}),
    ("saturate_cast", (X * 300, "uint8"), {}),
    ("saturate_cast", (X * 1e20, "int32"), {}),
    ("expand_dims", (X, 1), {}),
    ("expand_dims", (X,), {"axis": (0, 2)}),
    ("squeeze", (X[:, None],), {"axis": 1}),
    ("reshape", (X, (4, 3)), {}),
    ("reshape", (X,), {"newshape": (-1,)}),
    ("transpose", (X,), {"axes": (1, 0)}),
    ("concatenate", ([X, Y], 0), {}),
    ("stack", ([X, Y],), {"axis": 1}),
    ("split", (X, 2, 1), {}),
    ("repeat", (X, 2, 1), {}),
    ("tile", (X, (2, 1)), {}),
    ("flip", (X, 0), {}),
    ("roll", (X, 1, 1), {}),
    ("take", (X, I, 1), {}),
    ("take_along_axis", (X, np.argsort(X, 1), 1), {}),
    ("cumsum", (X, 1), {}),
    ("sort", (X, 1), {}),
    ("argsort", (X,), {}),
    ("top_k", (X, 2), {}),
    ("one_hot", (I, 4), {}),
    ("one_hot", (I,), {"num_classes": 4, "axis": 0, "dtype": "int32"}),
    ("multi_hot", (I[None], 5), {}),
    ("zeros_like", (X,), {"dtype": "int32"}),
    ("full_like", (X, 2.0), {}),
    ("pad", (X, ((1, 0), (0, 2))), {"constant_values": 3.0}),
    ("pad", (X, ((1, 0), (0, 2)), "reflect"), {}),
    ("divide_no_nan", (X, np.where(Y > 0, Y, 0)), {}),
    ("moments", (X, [0]), {}),
    ("normalize", (X,), {}),
    ("norm", (X,), {"axis": 1}),
    ("in_top_k", (I, X, 2), {}),
    ("scatter", (np.array([[0, 1], [1, 0]]), np.float32([3, 4]), (2, 3)), {}),
    ("scatter_update", (X, np.array([[0, 1], [1, 0]]), np.float32([3, 4])), {}),
    ("slice", (X, (1, 1), (2, 2)), {}),
    ("slice_update", (X, (1, 1), Y[:2, :2]), {}),
    ("segment_sum", (X, I), {"num_segments": 4}),
    ("einsum", ("ij,kj->ik", X, Y), {}),
    ("tensordot", (X, Y), {"axes": [[1], [1]]}),
    ("diag", (X[:3, :3],), {"k": 1}),
    ("tril", (X, 1), {}),
    ("round", (X, 1), {}),
    ("nan_to_num", (np.where(X > 0, X, np.nan),), {"nan": 2.0}),
    ("quantile", (X, 0.3), {"axis": 1}),
    ("det", (X[:3, :3],), {}),
    ("inv", (X[:3, :3],), {}),
    ("solve", (X[:3, :3], Y[:3, :2]), {}),
    ("relu", (X,), {}),
    ("sigmoid", (X,), {}),
    ("softmax", (X,), {}),
    ("log_softmax", (X,), {"axis": 0}),
    ("gelu", (X,), {}),
    ("leaky_relu", (X,), {}),
    ("elu", (X,), {}),
    ("silu", (X,), {}),
    ("softplus", (X,), {}),
    ("erf", (X,), {}),
    ("exp", (X,), {}),
    ("linspace", (0.0, 1.0, 5), {}),
    ("arange", (5,), {}),
    ("ones", ((2, 3),), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), LIKE_KERAS, ids=lambda v: v if isinstance(v, str) else "")
def test_like_keras(name, args, kwargs):
    with oracle() as keras:
        expected = jax.tree.leaves(getattr(keras.ops, name)(*args, **kwargs))
    got = jax.tree.leaves(getattr(ops, name)(*args, **kwargs))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_on_symbolic_tensors_and_back_on_arrays():
    x, y = layers.Input((4,)), layers.Input((4,))
    joined = ops.concatenate([ops.exp(x), y * 2.0], axis=-1)
    out = ops.where(ops.mean(joined, axis=1, keepdims=True) > 0.5, joined, 0.0)
    assert out.shape == (None, 8)
    assert ops.shape(out) == (None, 8)
    assert ops.reshape(layers.Input((None, 4)), (-1, 2)).shape == (None, 2)
    got = Graph.between([x, y], out).run([jnp.asarray(X), jnp.asarray(Y)])
    whole = np.concatenate([np.exp(X), 2 * Y], -1)
    np.testing.assert_allclose(got, np.where(whole.mean(1, keepdims=True) > 0.5, whole, 0), rtol=1e-6)


def test_on_variables():
    v = Variable(X, name="v")
    np.testing.assert_array_equal(ops.sum(v, 0), jnp.sum(X, 0))
    np.testing.assert_array_equal(ops.concatenate([v, Y], 0), np.concatenate([X, Y]))
    assert ops.shape(v) == (3, 4)
    np.testing.assert_array_equal(ops.convert_to_numpy(v), X)
    assert ops.is_tensor(ops.convert_to_tensor(X))
    assert not ops.is_tensor(X)


def test_inside_a_layer():
    class Gate(layers.Layer):
        def build(self, input_shape):
            self.gate = self.add_weight((input_shape[-1],), "zeros", name="gate")

        def call(self, x):
            return ops.multiply(x, ops.expand_dims(ops.sigmoid(self.gate), 0))

    layer = Gate()
    np.testing.assert_allclose(layer(X), X / 2)
    assert list(values(layer)[0]) == ["gate"]


def test_unknown_names_and_arguments():
    with pytest.raises(AttributeError, match="concatenate"):
        ops.concatenat
    with pytest.raises(AttributeError, match=r"verax\.ops\.nn has no function 'relux'"):
        ops.nn.relux
    assert not hasattr(ops, "_private")
    with pytest.raises(TypeError, match="missing a required argument: 'axis'"):
        ops.expand_dims(X)
    with pytest.raises(TypeError, match="multiple values"):
        ops.mean(X, x=X)
    with pytest.raises(TypeError, match="too many"):
        ops.mean(X, 0, True, 1)


def test_functions_are_made_once_and_listed():
    assert ops.relu is ops.relu
    listed = dir(ops)
    assert {"relu", "mean", "cast", "shape", "logsumexp", "cond"} <= set(listed)
    assert all(callable(getattr(ops, name)) or inspect.ismodule(getattr(ops, name)) for name in listed)


def test_no_gradient_where_the_divisor_is_zero():
    gradient = jax.grad(lambda x: ops.divide_no_nan(x, jnp.zeros(())))(jnp.ones(()))
    assert float(gradient) == 0.0
