"""Where layers and variables stand: identity fixes a path."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verax import layers
from verax.errors import FrameError, FrozenError, InputError, NotBuiltError, ShapeError
from verax.frame.frame import call, load_values, pure, values
from verax.frame.mode import Mode
from verax.frame.tree import Tree
from verax.layers import Dense, Dropout, Layer

X = jnp.ones((2, 3))


class Held(Layer):
    """Layers in every kind of attribute."""

    def __init__(self):
        super().__init__()
        self.one = Dense(3)
        self.listed = [Dense(3), (Dense(3), Dense(3, name="named"))]
        self.table = {"a": Dense(3), "b": {"c": Dense(3)}}
        self.shared = self.one

    def build(self, input_shape):
        self.own = self.add_weight((1,), "zeros", trainable=False, name="count")
        self.scale = self.add_weight((1,), "ones", name="scale")

    def call(self, x):
        for layer in (self.one, self.listed[0], *self.listed[1], self.table["a"], self.table["b"]["c"], self.shared):
            x = layer(x)
        return x * self.scale.reshape(1, 1)


def test_paths():
    layer = Held()
    layer(X)
    kernels = ["one", "listed/0", "listed/1/0", "named", "table/a", "table/b/c"]
    expected = ["scale", "count"] + [f"{path}/{name}" for path in kernels for name in ("kernel", "bias")]
    assert [v.path for v in layer.weights] == expected
    params, state = values(layer)
    assert list(state) == ["count"]
    assert len(params) == len(expected) - 1
    assert layer.count_params() == 6 * 12 + 2


def test_names_that_collide_are_told_apart():
    class Two(Layer):
        def __init__(self):
            super().__init__()
            self.a, self.b = Dense(1, name="same"), Dense(1, name="same")

        def call(self, x):
            return self.a(x) + self.b(x)

    layer = Two()
    layer(X)
    assert [v.path for v in layer.weights] == ["same/kernel", "same/bias", "same_1/kernel", "same_1/bias"]


def test_a_shared_layer_has_one_set_of_weights_and_the_sum_of_gradients():
    class Shared(Layer):
        def __init__(self):
            super().__init__()
            self.dense = Dense(3, use_bias=False)

        def call(self, x):
            return self.dense(self.dense(x))

    layer = Shared()
    layer(X)
    params, state = values(layer)
    assert list(params) == ["dense/kernel"]
    got = jax.grad(lambda p: pure(layer)(p, state, X, mode=Mode.INFER)[0].sum())(params)["dense/kernel"]
    expected = jax.grad(lambda w: (X @ w @ w).sum())(params["dense/kernel"])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_tied_weights():
    class Tied(Layer):
        def __init__(self):
            super().__init__()
            self.inside = Dense(5, use_bias=False)

        def call(self, x):
            return self.inside(x) @ self.inside.kernel.T

    layer = Tied()
    np.testing.assert_allclose(layer(X), X @ layer.inside.kernel.value @ layer.inside.kernel.value.T, rtol=1e-6)
    assert list(values(layer)[0]) == ["inside/kernel"]


def test_a_layer_nobody_holds_is_refused():
    loose = Dense(2)
    loose(X)

    class Forgetful(Layer):
        def call(self, x):
            return loose(x)

    with pytest.raises(FrameError, match="no layer of the model holds it"):
        Forgetful()(X)


def test_a_layer_made_in_build_is_found():
    class Late(Layer):
        def build(self, input_shape):
            self.inner = Dense(input_shape[-1])

        def call(self, x):
            return self.inner(x)

    layer = Late()
    layer(X)
    assert [v.path for v in layer.weights] == ["inner/kernel", "inner/bias"]


def test_a_call_that_fails_leaves_nothing_half_built():
    class Breaks(Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = Dense(4), Dense(2)
            self.broken = True

        def call(self, x):
            x = self.first(x)
            if self.broken:
                raise RuntimeError("no")
            return self.second(x)

    layer = Breaks()
    with pytest.raises(RuntimeError, match="no") as caught:
        layer(X)
    assert "Breaks" in "".join(caught.value.__notes__)
    assert not layer.built
    assert not layer.first.built
    assert layer.weights == []
    layer.broken = False
    layer(jnp.ones((2, 7)))
    assert layer.first.kernel.shape == (7, 4)


def test_a_size_that_only_shapes_know_builds_nothing():
    layer = Chain(layers.Flatten(), Dense(2))
    with pytest.raises(ShapeError, match="unknown size"):
        layer(layers.Input((None, 3)))
    assert not layer.built
    assert layer.weights == []
    assert layer(layers.Input((4, 3))).shape == (None, 2)
    assert layer.parts[1].kernel.shape == (12, 2)


class Chain(Layer):
    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("features", [7, 11, 509, 1056, 1248, 613, 2208])
def test_no_known_size_is_taken_for_unknown(features):
    # Sizes that stand for unknown ones while shapes are traced, at one time or another.
    layer = Dense(2)
    assert layer(layers.Input((None, features))).shape == (None, None, 2)
    assert layer.kernel.shape == (features, 2)
    with pytest.raises(ShapeError):
        layer(layers.Input((None, features + 1)))


def test_frozen_layers_have_no_params():
    layer = Held()
    layer(X)
    layer.listed[0].trainable = False
    params, state = values(layer)
    assert "listed/0/kernel" in state
    assert "listed/0/kernel" not in params
    layer.trainable = False
    assert values(layer)[0] == {}
    assert layer.one.trainable is False
    layer.trainable = True
    assert len(values(layer)[0]) == 13


def test_values_need_a_built_layer_and_fit():
    layer = Chain(Dense(2), Dense(2))
    with pytest.raises(NotBuiltError):
        values(layer)
    layer(X)
    params, state = values(layer)
    with pytest.raises(InputError, match="no variable of the layer has it"):
        pure(layer)({**params, "parts/2/kernel": X}, state, X, mode=Mode.INFER)
    before = layer.get_weights()
    with pytest.raises(InputError, match=r"shape \(1,\)"):
        load_values(layer, {"parts/0/kernel": jnp.zeros((3, 2)), "parts/1/bias": jnp.zeros(1)})
    with pytest.raises(ShapeError, match="array"):
        layer.set_weights(before[:-1])
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_assignments_follow_the_rules():
    class Counter(Layer):
        def build(self, input_shape):
            self.seen = self.add_weight((), "zeros", dtype="int32", trainable=False, name="seen")
            self.weight = self.add_weight((), "ones", name="weight")

        def call(self, x, step=True):
            if step:
                self.seen.assign_add(x.shape[0])
            else:
                self.weight.assign(2.0)
            return x * self.weight

    layer = Counter()
    layer(X)
    layer(X)
    assert int(layer.seen) == 4
    params, state = values(layer)
    _, new = pure(layer)(params, state, X, mode=Mode.INFER)
    assert int(new["seen"]) == 6
    assert int(layer.seen) == 4
    with pytest.raises(FrameError, match="it is trainable"):
        layer(X, step=False)
    with pytest.raises(ShapeError, match="was assigned"):
        layer.seen.assign(np.zeros(3))
    with pytest.raises(FrozenError):
        layer.add_weight((), name="late")
    with pytest.raises(FrameError, match="inside a jax transformation"):
        jax.jit(layer)(X)


def test_a_traced_value_kept_in_an_attribute_is_refused():
    class Leaks(Layer):
        def call(self, x):
            self.last = x
            return x

    layer = Leaks()
    layer(X)  # values may be kept
    with pytest.raises(FrameError, match="traced value"):
        jax.jit(lambda x: pure(layer)({}, {}, x, mode=Mode.INFER)[0])(X)


def test_draws_do_not_depend_on_names_or_on_other_layers():
    def masks(*parts):
        layer = Chain(*parts)
        layer(X)
        return call(layer, {}, {}, (jnp.ones((50, 4)),), mode=Mode.TRAIN, key=jax.random.key(0)).output

    plain = masks(Dropout(0.5), layers.Identity())
    np.testing.assert_array_equal(masks(Dropout(0.5, name="mine"), layers.Identity()), plain)
    np.testing.assert_array_equal(masks(Dropout(0.5), layers.GaussianNoise(0.0)), plain)
    assert (masks(layers.Identity(), Dropout(0.5)) != plain).any()


def test_tree_lists_every_layer_once():
    layer = Held()
    assert len(Tree.of(layer).layers) == 7
