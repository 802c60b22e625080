"""Layers under jit, grad, vmap, scan and checkpoint; modes; what a call leaves behind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verax import layers
from verax.errors import FrameError, InputError, UnknownNameError
from verax.frame.frame import call, pure, values
from verax.frame.lift import lift
from verax.frame.mode import Mode, ModeMap, Observation
from verax.layers import BatchNormalization, Dense, Dropout, Layer

KEY = jax.random.key(3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)).astype("float32"))


class Block(Layer):
    """Everything a call can leave behind."""

    def __init__(self):
        super().__init__()
        self.dense = Dense(4, activity_regularizer="l2")
        self.norm = BatchNormalization()
        self.drop = Dropout(0.5)

    def call(self, x):
        x = self.drop(self.norm(self.dense(x)))
        self.add_loss(jnp.mean(x))
        return x


class Around(Layer):
    """A block, called by itself or through a transformation."""

    def __init__(self, how):
        super().__init__()
        self.block = Block()
        self.how = how

    def call(self, x):
        if self.how == "raw":
            return jax.checkpoint(self.block)(x)
        if self.how == "lifted":
            return lift(jax.checkpoint, self.block)(x)
        return self.block(x)


def like(other: Layer, how: str) -> Layer:
    layer = Around(how)
    layer(X)
    layer.set_weights(other.get_weights())
    return layer


@pytest.fixture
def plain():
    layer = Around("plain")
    layer(X)
    return layer


def test_lift_changes_nothing(plain):
    lifted = like(plain, "lifted")

    def run(layer):
        params, state = values(layer)

        def loss(params, x):
            outcome = call(layer, params, state, (x,), mode=Mode.TRAIN, key=KEY)
            observed.append(outcome.observed)
            total = jnp.sum(outcome.output**2) + sum(outcome.penalties.values())
            return total, (outcome.output, outcome.state, outcome.penalties)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, X)

    observed = []
    expected, got = run(plain), run(lifted)
    assert observed[0] == observed[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)
    # The transformation is really there.
    jaxpr = jax.make_jaxpr(lambda p, s: pure(lifted)(p, s, X, mode=Mode.TRAIN, key=KEY))(*values(lifted))
    assert any(e.primitive.name in ("checkpoint", "remat2", "remat") for e in jaxpr.eqns)


def test_lift_carries_masks_and_links():
    class Sorter(Layer):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(5, 3, mask_zero=True)
            self.lstm = layers.LSTM(4, return_sequences=True)
            self.head = Dense(2, "softmax")

        def call(self, ids):
            return lift(jax.checkpoint, self.head)(lift(jax.checkpoint, self.lstm)(self.table(ids)))

    layer = Sorter()
    ids = jnp.array([[1, 2, 0]])
    layer(ids)
    outcome = call(layer, *values(layer), (ids,), mode=Mode.INFER)
    np.testing.assert_array_equal(outcome.masks[0], [[True, True, False]])
    kind, logits = outcome.links[0]
    assert kind == "softmax"
    np.testing.assert_allclose(jax.nn.softmax(logits), outcome.output, rtol=1e-6)
    steps = layer.lstm(layer.table(ids), mask=ids != 0)
    np.testing.assert_allclose(layer.head(steps), outcome.output, rtol=1e-6)


def test_a_lifted_layer_called_twice_draws_twice():
    class Twice(Layer):
        def __init__(self):
            super().__init__()
            self.drop = Dropout(0.5)

        def call(self, x):
            return lift(jax.checkpoint, self.drop)(x), lift(jax.checkpoint, self.drop)(x)

    layer = Twice()
    layer(X)
    a, b = pure(layer)({}, {}, jnp.ones((20, 20)), mode=Mode.TRAIN, key=KEY)[0]
    assert (a != b).any()


@pytest.mark.parametrize("inner", [Dropout(0.5), BatchNormalization(), layers.Masking()])
def test_a_raw_transformation_around_a_layer_is_refused_where_it_would_leak(inner):
    class Raw(Layer):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def call(self, x):
            return jax.checkpoint(self.inner)(x)

    layer = Raw()
    if isinstance(inner, layers.Masking):
        layer(X, training=True)  # nothing leaks: the mask is the output's
        return
    with pytest.raises(FrameError, match="lift"):
        layer(X, training=True)


def test_lift_needs_a_model_around_it():
    with pytest.raises(FrameError, match=r"transform verax\.pure"):
        lift(jax.checkpoint, Dense(1))(X)


def test_jit_grad_vmap_and_scan(plain):
    params, state = values(plain)
    run = pure(plain)
    expected, new = run(params, state, X, mode=Mode.TRAIN, key=KEY)
    got, new_there = jax.jit(lambda p, s, x, k: run(p, s, x, mode=Mode.TRAIN, key=k))(params, state, X, KEY)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), new_there, new)

    rows = jax.vmap(lambda x: run(params, state, x[None], mode=Mode.INFER)[0][0])(X)
    np.testing.assert_allclose(rows, run(params, state, X, mode=Mode.INFER)[0], rtol=1e-5, atol=1e-6)

    def step(state, key):
        output, state = run(params, state, X, mode=Mode.TRAIN, key=key)
        return state, output

    keys = jax.random.split(KEY, 3)
    last, outputs = jax.lax.scan(step, state, keys)
    for i, key in enumerate(keys):
        output, state = run(params, state, X, mode=Mode.TRAIN, key=key)
        np.testing.assert_allclose(outputs[i], output, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), last, state)


def test_gradient_against_finite_differences(plain):
    params, state = values(plain)

    def loss(params):
        return jnp.sum(jnp.sin(pure(plain)(params, state, X, mode=Mode.TRAIN, key=KEY)[0]))

    gradients = jax.grad(loss)(params)
    direction = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape), params)
    moved = lambda t: loss(jax.tree.map(lambda p, d: p + t * d, params, direction))  # noqa: E731
    slope = sum(jnp.vdot(g, d) for g, d in zip(gradients.values(), direction.values(), strict=True))
    np.testing.assert_allclose((moved(2e-3) - moved(-2e-3)) / 4e-3, slope, rtol=1e-2)


def test_an_eager_call_is_pure_on_the_layers_own_values(plain):
    params, state = values(plain)
    np.testing.assert_array_equal(plain(X), pure(plain)(params, state, X, mode=Mode.INFER)[0])
    plain(X, training=True)
    assert not np.array_equal(plain.block.norm.moving_mean.numpy(), state["block/norm/moving_mean"])


def test_a_mode_and_a_key_are_needed(plain):
    params, state = values(plain)
    with pytest.raises(TypeError, match="mode"):
        pure(plain)(params, state, X)
    with pytest.raises(FrameError, match="key=None"):
        pure(plain)(params, state, X, mode=Mode.TRAIN)
    with pytest.raises(UnknownNameError, match="train"):
        pure(plain)(params, state, X, mode="trian")
    with pytest.raises(InputError, match="dict of effects"):
        ModeMap.of({"dropout": "infer"})


def test_paths_of_a_mode_map_are_checked():
    with pytest.raises(UnknownNameError, match="dropout"):
        ModeMap(Mode.TRAIN, paths={"dropuot": Mode.INFER}).check_paths(["body"])


def test_observations(plain):
    outcome = call(plain, *values(plain), (X,), mode=ModeMap.of({"dropout": "infer"}, default=Mode.TRAIN))
    assert outcome.observed == {
        "block/norm": Observation("batch_statistics", Mode.TRAIN),
        "block/drop": Observation("dropout", Mode.INFER),
    }
    assert list(outcome.penalties) == ["block/dense", "block"]


class Aware(Layer):
    """A layer that takes ``training``."""

    def build(self, input_shape):
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")

    def call(self, x, training=None):
        if training:
            self.calls.assign_add(1.0)
            self.add_loss(jnp.sum(x))
            return x + 1.0
        return x


class Forces(Layer):
    def __init__(self, training):
        super().__init__()
        self.inner, self.drop, self.training = Aware(), Dropout(0.5), training

    def call(self, x):
        return self.drop(self.inner(x, training=self.training))


def test_training_is_filled_in_and_can_be_forced():
    for mode in Mode:
        for forced in (None, True, False):
            layer = Forces(forced)
            layer(X)
            before = float(layer.inner.calls)
            outcome = call(layer, *values(layer), (X,), mode=mode, key=KEY)
            in_training = mode is Mode.TRAIN if forced is None else forced
            why = "asked" if forced in (None, mode is Mode.TRAIN) else "forced"
            assert outcome.observed["inner"] == Observation("custom:inner", Mode.of(in_training), why)
            assert outcome.observed["drop"] == Observation("dropout", mode)
            assert float(outcome.state["inner/calls"]) == before + in_training


def test_a_traced_flag_runs_both_branches_and_selects():
    layer = Forces(None)
    layer(X)
    params, state = values(layer)

    @jax.jit
    def run(flag):
        modes = ModeMap(Mode.INFER, effects={"custom:inner": flag})
        outcome = call(layer, params, state, (X,), mode=modes, key=KEY)
        assert outcome.observed["inner"] == Observation("custom:inner", None)
        return outcome.output, outcome.state, outcome.penalties

    for flag in (True, False):
        output, new, penalties = run(flag)
        np.testing.assert_allclose(output, np.asarray(X) + flag)
        assert float(new["inner/calls"]) == flag
        np.testing.assert_allclose(penalties["inner"], np.sum(np.asarray(X)) * flag, rtol=1e-5)


def test_a_flag_given_by_path():
    layer = Forces(None)
    layer(X)
    run = jax.jit(
        lambda flag: pure(layer)(*values(layer), X, mode=ModeMap(Mode.INFER, paths={"inner": flag}), key=KEY)[0]
    )
    np.testing.assert_allclose(run(True), X + 1)
    np.testing.assert_allclose(run(False), X)


def test_links_of_predictions():
    layer = Dense(3, "softmax")
    layer(X)
    params, state = values(layer)
    kind, logits = call(layer, params, state, (X,), mode=Mode.INFER).links[0]
    assert kind == "softmax"
    np.testing.assert_allclose(logits, X @ params["kernel"], rtol=1e-6)
    gates = layers.LSTM(2, return_sequences=True, activation="sigmoid")
    gates(X[None])
    assert call(gates, *values(gates), (X[None],), mode=Mode.INFER).links == [None]


def test_a_compiled_layer_leaks_no_tracer():
    layer = layers.LSTM(2, dropout=0.5)
    layer(X[None])
    with jax.checking_leaks():
        jax.jit(lambda p, s: pure(layer)(p, s, X[None], mode=Mode.TRAIN, key=KEY)[0])(*values(layer))
