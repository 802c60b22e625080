"""The functional API: symbolic tensors, graphs, and the order in which layers are listed."""

from __future__ import annotations

import random

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import layers
from verax.errors import GraphError, ShapeError
from verax.frame.frame import values
from verax.frame.graph import Graph
from verax.layers import Add, Concatenate, Dense, Input, Layer

A = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
B = np.random.default_rng(1).normal(size=(2, 4)).astype("float32")


class Functional(Layer):
    """The least model: it holds a graph's layers and runs it."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.graph = Graph.between(inputs, outputs)
        self.inner = self.graph.layers

    def call(self, inputs):
        return self.graph.run(inputs)


def test_several_inputs_and_outputs():
    a, b = Input((3,), name="a"), Input((4,), name="b")
    joined = Concatenate()([a, b])
    outputs = {"sum": Dense(2)(joined), "more": [joined[:, :2] * 2.0, -a]}
    model = Functional({"a": a, "b": b}, outputs)
    got = model({"a": A, "b": B})
    np.testing.assert_array_equal(got["more"][0], 2 * A[:, :2])
    np.testing.assert_array_equal(got["more"][1], -A)
    kernel = next(v for v in model.weights if v.name == "kernel")
    np.testing.assert_allclose(got["sum"], np.concatenate([A, B], 1) @ kernel.numpy(), rtol=1e-5)


def test_operators():
    x = Input((3,))
    out = [x + 1.0, 1.0 - x, x * x, 2.0 / (x + 9.0), x**2, x % 2.0, x // 2.0, abs(x), x > 0.0, x @ jnp.ones((3, 2))]
    out += [x[..., 0], x.reshape(-1, 1), x.astype("bfloat16")]
    got = Functional(x, out)(A)
    expected = [A + 1, 1 - A, A * A, 2 / (A + 9), A**2, A % 2, A // 2, abs(A), A > 0, A @ np.ones((3, 2)), A[..., 0]]
    for a, b in zip(got, [*expected, A.reshape(-1, 1), jnp.asarray(A).astype("bfloat16")], strict=True):
        np.testing.assert_allclose(np.asarray(a, "float32"), np.asarray(b, "float32"), rtol=1e-5, atol=1e-6)
    assert [t.shape for t in out[-4:]] == [(None, 2), (None,), (None, 1), (None, 3)]


def test_a_shared_layer_and_a_nested_model():
    x = Input((3,))
    inner = Functional(x, Dense(3, activation="tanh")(x))
    y = Input((3,))
    model = Functional(y, inner(inner(y)))
    assert model.inner == [y.node.target, inner]
    model(A)
    kernel, bias = (v.numpy() for v in model.weights)
    once = np.tanh(A @ kernel + bias)
    np.testing.assert_allclose(model(A), np.tanh(once @ kernel + bias), rtol=1e-5)
    assert len(values(model)[0]) == 2


def test_part_of_a_graph():
    x = Input((3,))
    hidden = Dense(4)(x)
    out = Dense(2)(hidden)
    head = Functional(hidden, out)
    assert head(B).shape == (2, 2)
    assert [layer.name for layer in head.inner][-1] == out.name


def test_an_input_that_is_not_given_is_refused():
    a, b = Input((3,)), Input((3,), name="other")
    with pytest.raises(GraphError, match="other"):
        Graph.between(a, Add()([a, b]))


@pytest.mark.parametrize(
    ("misuse", "told"),
    [
        (lambda x: bool(x > 0), "truth value"),
        (lambda x: list(x), "Index it"),
        (lambda x: np.asarray(x), "verax.ops"),
        (lambda x: jnp.sin(x), "verax.ops"),
        (lambda x: Graph.between(x, jnp.ones(3)), "made of symbolic tensors"),
        (lambda x: Graph.between([], x), "at least one"),
    ],
)
def test_misuse_of_a_symbolic_tensor(misuse, told):
    with pytest.raises(GraphError, match=told):
        misuse(Input((3,)))


def test_a_graph_cannot_be_made_inside_a_call():
    x = Input((3,))

    class Inside(Layer):
        def call(self, y):
            return x + 1.0

    with pytest.raises(GraphError, match="inside a layer's call"):
        Inside()(A)


def test_unknown_sizes():
    x = Input((None, None, 3))
    y = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    assert y.shape == (None, None, None, 4)
    # Down, up and joined again: sizes that stand for unknown ones must come out even.
    down = layers.MaxPooling2D()(layers.MaxPooling2D()(x))
    up = layers.UpSampling2D(4)(down)
    assert Concatenate()([x, up]).shape == (None, None, None, 6)
    assert layers.GlobalAveragePooling2D()(x).shape == (None, 3)
    assert layers.Reshape((-1, 6))(Input((None, 3))).shape == (None, None, 6)
    assert Input((3,), batch_size=5).shape == (5, 3)
    assert Dense(2)(Input((3,), batch_size=5)).shape == (5, 2)
    flat = layers.Flatten()(x)
    assert flat.shape == (None, None)
    with pytest.raises(ShapeError, match="unknown size"):
        Dense(2)(flat)


def random_graph(m, seed: int):
    """The same branching graph with shared layers, from ``m.Input``, ``m.Dense`` and ``m.Add``."""
    rng = random.Random(seed)
    inputs = [m.Input((3,), name=f"in{i}") for i in range(rng.randint(1, 3))]
    tensors, shared = list(inputs), []
    for i in range(rng.randint(3, 12)):
        what = rng.random()
        if what < 0.35 and len(tensors) > 1:
            tensors.append(m.Add(name=f"add{i}")(rng.sample(tensors, 2)))
        elif what < 0.6 and shared:
            tensors.append(rng.choice(shared)(rng.choice(tensors)))
        else:
            shared.append(m.Dense(3, name=f"dense{i}"))
            tensors.append(shared[-1](rng.choice(tensors)))
    outputs = rng.sample(tensors[len(inputs) :], rng.randint(1, 2))
    return inputs, outputs


@pytest.mark.parametrize("seed", range(60))
def test_layers_are_listed_in_keras_order(seed):
    with oracle() as keras:
        expected = [layer.name for layer in keras.Model(*random_graph(keras.layers, seed)).layers]
    graph = Graph.between(*random_graph(layers, seed))
    used = [layer.name for layer in graph.layers]
    assert used == [name for name in expected if name in used]
    assert {name for name in expected if not name.startswith("in")} <= set(used)
