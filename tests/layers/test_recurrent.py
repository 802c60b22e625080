"""Recurrences: cells of a person's own, states from batch to batch, masks, training as in Keras."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.layers.cases import QUICK
from tests.oracle import oracle
from verax import layers
from verax.errors import FrozenError, InputError, ShapeError, StateError, UnknownNameError
from verax.frame.frame import call, pure, values
from verax.frame.mode import Mode

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 4)).astype("float32")
IMAGES = RNG.normal(size=(2, 6, 4, 5, 2)).astype("float32")
KEEP = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 0, 1, 1]], bool)
KEY = jax.random.key(3)


def alike(make, x, **given):
    """Our layer and Keras', built, with the same weights."""
    ours = make(layers)
    ours(x, **given)
    with oracle() as keras:
        theirs = make(keras.layers)
        theirs(x, **given)
        weights = [0.5 * RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
        theirs.set_weights(weights)
        for variable in jax.tree.leaves(getattr(theirs, "states", None)):  # Keras cannot reset a stack
            variable.assign(np.zeros(variable.shape))
    ours.set_weights(weights)
    if getattr(ours, "stateful", False):
        ours.reset_state()
    return ours, theirs


def compare(ours, theirs):
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


STATEFUL = {
    "LSTM": (lambda m: m.LSTM(3, stateful=True, return_state=True, **QUICK), X),
    "GRU backwards": (lambda m: m.GRU(3, stateful=True, go_backwards=True, **QUICK), X),
    "SimpleRNN": (lambda m: m.SimpleRNN(3, stateful=True, return_sequences=True, **QUICK), X),
    "a stack": (lambda m: m.RNN([m.LSTMCell(3), m.GRUCell(2)], stateful=True, return_state=True), X),
    "both ways": (lambda m: m.Bidirectional(m.LSTM(3, stateful=True, **QUICK)), X),
    "images": (lambda m: m.ConvLSTM2D(3, 2, stateful=True, padding="same", **QUICK), IMAGES),
}


@pytest.mark.parametrize("name", STATEFUL)
def test_states_go_from_batch_to_batch_as_in_keras(name):
    make, x = STATEFUL[name]
    ours, theirs = alike(make, x)
    for part in (x[:, :2], x[:, 2:5], x[:, 5:]):
        with oracle():
            expected = theirs(part)
        compare(ours(part), expected)
    compare(
        [np.asarray(v) for v in jax.tree.leaves(ours.states)], [np.asarray(v) for v in jax.tree.leaves(theirs.states)]
    )
    ours.reset_states()
    with oracle():
        for variable in jax.tree.leaves(theirs.states):
            variable.assign(np.zeros(variable.shape))
        expected = theirs(x)
    compare(ours(x), expected)


def stateful_model(batches: int = 4):
    verax.utils.set_random_seed(1)
    model = verax.Sequential(
        [verax.Input(batch_shape=(2, 3, 4)), layers.GRU(3, stateful=True, dropout=0.2), layers.Dense(1)]
    )
    model.compile(verax.optimizers.SGD(0.05), "mse")
    x = np.random.default_rng(1).normal(size=(2 * batches, 3, 4)).astype("float32")
    return model, x, x.sum((1, 2))[:, None]


def state_of(model):
    return np.asarray(model.layers[0].states[0])


def in_a_row(model, x, first):
    """The outputs of batches of two, each from the state the one before ended with."""
    gru, dense = model.layers
    outputs, state = [], first
    for part in np.split(x, len(x) // 2):
        _, state = pure(layers_like(gru))(*values_of(gru), part, mode=Mode.INFER, initial_state=[state])[0]
        outputs.append(dense(state))
    return np.concatenate(outputs), state


def layers_like(gru):
    plain = layers.GRU(3, return_state=True)
    plain(np.ones((2, 3, 4), "float32"))
    return plain


def values_of(gru):
    params, state = values(gru)
    return {path: value for path, value in {**params, **state}.items() if path != "rnn_state"}, {}


def test_predict_goes_on_where_it_stopped():
    model, x, _ = stateful_model()
    expected, last = in_a_row(model, x, jnp.zeros((2, 3)))
    np.testing.assert_allclose(model.predict(x, batch_size=2, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(state_of(model), last, rtol=1e-5)
    model.layers[0].reset_state()
    halves = [model.predict(part, batch_size=2, verbose=0) for part in (x[:4], x[4:])]
    np.testing.assert_allclose(np.concatenate(halves), expected, rtol=1e-5)


def test_measuring_carries_states_and_leaves_them_as_they_were():
    model, x, y = stateful_model()
    model.predict(x[:2], batch_size=2, verbose=0)
    before = state_of(model)
    expected, _ = in_a_row(model, x, before)
    for _ in range(2):
        assert model.evaluate(x, y, batch_size=2, verbose=0) == pytest.approx(((expected - y) ** 2).mean(), rel=1e-5)
        np.testing.assert_array_equal(state_of(model), before)


def test_training_keeps_states_and_validation_and_gaps_do_not():
    model, x, y = stateful_model()
    alone, _, _ = stateful_model()
    verax.utils.set_random_seed(2)
    history = model.fit(x, y, validation_data=(x, y), batch_size=2, epochs=2, shuffle=False, verbose=0)
    verax.utils.set_random_seed(2)
    alone.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0)
    after = state_of(model)
    assert np.abs(after).max() > 0
    np.testing.assert_array_equal(after, state_of(alone))
    gap = history.gap("loss")
    assert abs(gap.residual) < 1e-5
    assert {link.cause.name for link in gap.links} >= {"DROPOUT"}
    np.testing.assert_array_equal(state_of(model), after)


def test_training_begins_each_batch_where_the_last_one_ended():
    model, x, y = stateful_model()
    model.layers[0].trainable = model.layers[1].trainable = False
    seen = verax.Sequential([verax.Input(batch_shape=(2, 3, 4)), *model.layers])
    seen.compile(verax.optimizers.SGD(0.0), "mse")
    expected, last = in_a_row(model, x, jnp.zeros((2, 3)))
    history = seen.fit(x, y, batch_size=2, shuffle=False, verbose=0, mode="infer")
    assert history.history["loss"][0] == pytest.approx(((expected - y) ** 2).mean(), rel=1e-5)
    np.testing.assert_allclose(state_of(model), last, rtol=1e-5)


def test_states_are_no_weights():
    model, _, _ = stateful_model()
    gru = model.layers[0]
    assert [v.path for v in gru.non_trainable_variables] == ["rnn_state"]
    assert [len(found) for found in (gru.weights, gru.get_weights(), gru.non_trainable_weights)] == [3, 3, 0]
    other = layers.GRU(3)
    other(X)
    gru.set_weights(other.get_weights())


def test_stateful_layers_know_their_rows():
    with pytest.raises(ShapeError, match="batch_shape"):
        layers.LSTM(2, stateful=True)(layers.Input((3, 4)))
    lstm = layers.LSTM(2, stateful=True)
    lstm(X)
    before = np.asarray(lstm.states[0])
    with pytest.raises(ShapeError, match="the states of 2 rows"):
        lstm(X[:1])
    np.testing.assert_array_equal(lstm.states[0], before)
    with pytest.raises(StateError, match="stateful=True"):
        layers.Bidirectional(layers.LSTM(2)).reset_state()
    plain = layers.LSTM(2)
    plain(X)
    plain.reset_state()


MASKED = {
    "LSTM, 0": (lambda m: m.LSTM(3, zero_output_for_mask=True, return_sequences=True, **QUICK), X),
    "GRU, 0 at the end": (lambda m: m.GRU(3, zero_output_for_mask=True, **QUICK), X),
    "GRU backwards, 0": (lambda m: m.GRU(3, zero_output_for_mask=True, go_backwards=True, **QUICK), X),
    "a stack": (lambda m: m.RNN([m.LSTMCell(3), m.GRUCell(2)], return_sequences=True, return_state=True), X),
    "a stack, 0": (lambda m: m.RNN([m.GRUCell(3), m.LSTMCell(2)], zero_output_for_mask=True), X),
    "both ways": (lambda m: m.Bidirectional(m.LSTM(3, return_sequences=True, return_state=True, **QUICK)), X),
    "both ways, the end": (lambda m: m.Bidirectional(m.GRU(3, **QUICK), merge_mode="sum"), X),
    "both ways over cells": (lambda m: m.Bidirectional(m.RNN(m.GRUCell(3), return_sequences=True)), X),
    "stateful": (lambda m: m.GRU(3, stateful=True, return_state=True, **QUICK), X),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_as_in_keras(name):
    make, x = MASKED[name]
    ours, theirs = alike(make, x, mask=KEEP)
    with oracle():
        expected = theirs(x, mask=KEEP)
    compare(ours(x, mask=KEEP), expected)


@pytest.mark.parametrize(
    "options", [{}, {"zero_output_for_mask": True}, {"go_backwards": True}, {"return_state": True}]
)
def test_unrolled_gives_what_the_loop_gives(options):
    for make in (lambda **o: layers.LSTM(3, **o, **options), lambda **o: layers.RNN(Wide(3), **o, **options)):
        loop, unrolled = make(return_sequences=True), make(return_sequences=True, unroll=True)
        loop(X), unrolled(X)
        unrolled.set_weights(loop.get_weights())
        compare(unrolled(X, mask=KEEP), loop(X, mask=KEEP))


def test_masked_images_change_nothing():
    layer = layers.ConvLSTM2D(3, 2, return_sequences=True)
    y = np.asarray(layer(IMAGES, mask=KEEP))
    for row in range(2):
        alone = np.asarray(layer(IMAGES[row : row + 1, KEEP[row]]))[0]
        np.testing.assert_allclose(y[row, KEEP[row]], alone, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(y[0, 2], y[0, 1])
    np.testing.assert_array_equal(y[1, 0], 0)


class Wide(layers.Layer):
    """A cell whose output is not its state, with a layer inside."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.state_size, self.output_size = units, units, units + 1
        self.mix, self.out = layers.Dense(units, "tanh"), layers.Dense(units + 1)

    def call(self, inputs, states):
        h = self.mix(jnp.concatenate([inputs, states[0]], -1))
        return self.out(h), [h]


def test_a_masked_step_gives_the_output_before_also_where_that_is_not_the_state():
    layer = layers.RNN(Wide(3), return_sequences=True, return_state=True)
    y, h = layer(X, mask=KEEP)
    assert y.shape == (2, 6, 4)
    for row in range(2):
        alone, last = layer(X[row : row + 1, KEEP[row]])
        np.testing.assert_allclose(y[row, KEEP[row]], alone[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(h[row], last[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y[1, 0], 0)
    np.testing.assert_array_equal(y[1, 3], y[1, 2])
    np.testing.assert_array_equal(layers.RNN(layer.cell)(X, mask=KEEP), layer(X, mask=KEEP)[0][:, -1])


def minimal_cell(m):
    """Keras' example of a cell, from either library."""
    matmul = jnp.matmul

    class Minimal(m.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = self.state_size = units

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="uniform", name="kernel")
            self.recurrent = self.add_weight(shape=(self.units, self.units), initializer="uniform", name="recurrent")

        def call(self, inputs, states):
            output = matmul(inputs, jnp.asarray(self.kernel)) + matmul(states[0], jnp.asarray(self.recurrent))
            return output, [output]

    return Minimal


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "return_state": True}, {"go_backwards": True}])
def test_a_cell_of_a_persons_own_as_in_keras(options):
    ours, theirs = alike(lambda m: m.RNN(minimal_cell(m)(3), **options), X)
    stacked, keras_stacked = alike(lambda m: m.RNN([minimal_cell(m)(3), m.LSTMCell(2)], **options), X)
    for given in ({}, {"mask": KEEP}):
        with oracle():
            expected = theirs(X, **given)
        compare(ours(X, **given), expected)
    with oracle():  # with a mask Keras takes the first cell's state for the output of the stack
        expected = keras_stacked(X)
    compare(stacked(X), expected)
    unknown = layers.RNN(minimal_cell(layers)(3), return_sequences=True)(layers.Input((None, 4)))
    assert unknown.shape == (None, None, 3)


def test_a_cell_that_is_no_layer_and_nested_states():
    class Nested:
        state_size = (2, (4, 4))
        output_size = 4

        def call(self, inputs, states):
            a, (b, c) = states
            return inputs + b, [a + 1.0, [b + inputs, c * 2.0]]

    y, a, (b, c) = layers.RNN(Nested(), return_state=True)(X)
    np.testing.assert_allclose(y, X.sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(a, np.full((2, 2), 6.0))
    np.testing.assert_allclose(b, X.sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(c, 0)
    stacked = layers.RNN([Nested(), layers.GRUCell(3)], stateful=True)
    first, second = stacked(X), stacked(X)
    assert not np.allclose(first, second)
    stacked.reset_state()
    np.testing.assert_array_equal(stacked(X), first)
    with pytest.raises(ShapeError, match="shapes"):
        layers.RNN(Nested())(X, initial_state=[jnp.zeros((2, 2))])


class Lively(layers.Layer):
    """A cell that draws, counts, penalizes and asks for the mode."""

    state_size = 4

    def __init__(self):
        super().__init__()
        self.drop = layers.Dropout(0.5)

    def build(self, input_shape):
        self.steps = self.add_weight((), "zeros", trainable=False, name="steps")

    def call(self, inputs, states, training):
        self.steps.assign(self.steps + 1.0)
        self.add_loss(self.steps.value)
        return self.drop(jnp.ones_like(inputs)) * (2.0 if training else 1.0), [states[0] + 1.0]


def test_what_a_cell_leaves_behind_comes_out():
    layer = layers.RNN(Lively(), return_sequences=True)
    layer(X)
    params, state = values(layer)
    assert float(state["cell/steps"]) == 7  # a first step built it
    outcome = call(layer, params, state, (jnp.asarray(X),), mode=Mode.TRAIN, key=KEY)
    assert float(outcome.state["cell/steps"]) == 13
    assert float(outcome.penalties["cell"]) == sum(range(8, 14))
    assert {found.effect for found in outcome.observed.values()} == {"dropout", "custom:cell"}
    drawn = np.asarray(outcome.output)
    assert set(np.unique(drawn)) <= {0.0, 4.0}
    assert (drawn[:, 0] != drawn[:, 1]).any()
    np.testing.assert_array_equal(layer(X), 1.0)
    quiet = jax.grad(lambda x: pure(layer)(params, state, x, mode=Mode.TRAIN, key=KEY)[0].sum())(jnp.asarray(X))
    np.testing.assert_array_equal(quiet, 0)


@pytest.mark.parametrize("make", [lambda **o: layers.RNN(layers.LSTMCell(8, **o)), lambda **o: layers.LSTM(8, **o),
                                  lambda **o: layers.RNN([layers.GRUCell(8, **o)])])  # fmt: skip
def test_cells_draw_one_mask_for_all_steps(make):
    ones = np.ones((40, 5, 6), "float32")
    for rate in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        layer = make(**rate)
        layer(ones)
        one, again, other = (
            call(layer, *values(layer), (ones,), mode=Mode.TRAIN, key=jax.random.key(k)) for k in (0, 0, 1)
        )
        np.testing.assert_array_equal(one.output, again.output)
        assert (one.output != other.output).any()
        assert [found.effect for found in one.observed.values()] == ["dropout"]
        np.testing.assert_array_equal(layer(ones)[0], layer(ones)[1])
    assert "scan" in str(jax.make_jaxpr(lambda x: pure(layer)(*values(layer), x, mode=Mode.INFER)[0])(ones))


def test_cells_one_step_at_a_time_as_in_keras():
    h = [RNG.normal(size=(2, 3)).astype("float32") for _ in range(2)]
    ours, theirs = alike(lambda m: m.LSTMCell(3), X[:, 0], states=h)
    with oracle():
        expected = theirs(X[:, 0], h)
    compare(ours(X[:, 0], h), expected)
    make = lambda m: m.StackedRNNCells([m.LSTMCell(3), m.GRUCell(3), m.SimpleRNNCell(2)])  # noqa: E731
    states = [h, [h[0]], [h[1][:, :2]]]
    ours, theirs = alike(make, X[:, 0], states=states)
    with oracle():
        expected = theirs(X[:, 0], states)
    got = ours(X[:, 0], states)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    compare(got, expected)
    assert (ours.state_size, ours.output_size) == (theirs.state_size, theirs.output_size)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_both_ways_from_a_first_state(kind):
    n = 4 if kind == "LSTM" else 2
    states = [RNG.normal(size=(2, 3)).astype("float32") for _ in range(n)]
    ours, theirs = alike(lambda m: m.Bidirectional(getattr(m, kind)(3, return_state=True, **QUICK)), X)
    with oracle():
        expected = theirs(X, initial_state=states)
    compare(ours(X, initial_state=states), expected)
    with pytest.raises(ShapeError, match="as many"):
        ours(X, initial_state=states[:-1])


def test_both_ways_with_a_forward_layer_that_runs_backwards():
    turned = layers.Bidirectional(layers.GRU(3, go_backwards=True, return_sequences=True), merge_mode=None)
    straight = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode=None)
    turned(X), straight(X)
    weights = turned.get_weights()
    straight.set_weights([*weights[3:], *weights[:3]])
    compare(turned(X), straight(X)[::-1])
    made = layers.Bidirectional(layers.GRU(3), weights=list(weights))
    made(X)
    compare(made.get_weights(), weights)


def train_both(make, x, y, steps=20):
    """Losses and weights of ours and Keras' after as many steps."""
    with oracle() as keras:
        theirs = make(keras, keras.layers)
        theirs.compile(keras.optimizers.Adam(0.01), "mse")
        weights = [0.3 * RNG.normal(size=w.shape).astype("float32") for w in theirs.weights]
        theirs.set_weights(weights)
        expected = theirs.fit(x, y, batch_size=len(x) // 4, epochs=steps // 4, shuffle=False, verbose=0)
    ours = make(verax, layers)
    ours.compile(verax.optimizers.Adam(0.01), "mse")
    ours.set_weights(weights)
    got = ours.fit(x, y, batch_size=len(x) // 4, epochs=steps // 4, shuffle=False, verbose=0)
    np.testing.assert_allclose(got.history["loss"], expected.history["loss"], rtol=1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("kind", ["both ways", "own cell", "images"])
def test_twenty_steps_of_training_as_in_keras(kind):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(16, 5, 3)).astype("float32")
    if kind == "images":
        x = rng.normal(size=(16, 3, 4, 4, 2)).astype("float32")

    def make(k, m):
        inside = {
            "both ways": lambda: m.Bidirectional(m.LSTM(4, **QUICK)),
            "own cell": lambda: m.RNN(minimal_cell(m)(4)),
            "images": lambda: m.ConvLSTM2D(3, 2, **QUICK),
        }[kind]()
        flat = [m.Flatten()] if kind == "images" else []
        return k.Sequential([k.Input(x.shape[1:]), inside, *flat, m.Dense(1)])

    train_both(make, x, x.reshape(len(x), -1).sum(1, keepdims=True) / 4)


def test_an_activity_regularizer_of_simple_rnn_counts():
    layer = layers.SimpleRNN(3, activity_regularizer="l2")
    y = layer(X)
    outcome = call(layer, *values(layer), (X,), mode=Mode.INFER)
    assert float(outcome.penalties[layer.name]) == pytest.approx(0.01 * float((y**2).sum()) / 2, rel=1e-5)


# ---- step by step --------------------------------------------------------------------------------------------------


class Seen(layers.Layer):
    """A layer of a person's own that takes a mask and mixes rows."""

    def call(self, x, mask=None):
        centered = x - x.mean(0, keepdims=True)
        return centered if mask is None else jnp.where(mask[..., None], centered, 0.0)


def test_each_step_is_a_call_of_its_own():
    x = RNG.normal(size=(3, 4, 5, 2)).astype("float32")
    keep = RNG.random((3, 4, 5)) < 0.5
    timed = layers.TimeDistributed(Seen())
    np.testing.assert_allclose(timed(x), x - x.mean(0, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(timed(x, mask=keep), (x - x.mean(0)) * keep[..., None], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(timed(x, mask=keep[..., 0]), x - x.mean(0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="rows and the steps"):
        timed(x, mask=keep[:, :2])
    masked = layers.TimeDistributed(layers.LSTM(2))
    masked(x)
    np.testing.assert_allclose(masked(x, mask=keep)[:, 1], masked.layer(x[:, 1], mask=keep[:, 1]), rtol=1e-5, atol=1e-6)


def test_steps_as_rows_of_one_call_are_the_steps_themselves():
    x = RNG.normal(size=(3, 4, 5, 2)).astype("float32")
    timed = layers.TimeDistributed(layers.LSTM(2, return_state=True))
    outputs = timed(x)
    for t in range(4):
        for whole, step in zip(outputs, timed.layer(x[:, t]), strict=True):
            np.testing.assert_allclose(whole[:, t], step, rtol=1e-5, atol=1e-6)
    dropped = layers.TimeDistributed(layers.Dropout(0.5))
    ones = np.ones((2, 5, 50), "float32")
    dropped(ones)
    y = np.asarray(pure(dropped)({}, {}, ones, mode=Mode.TRAIN, key=KEY)[0])
    assert (y[:, 0] != y[:, 1]).any()
    noisy = layers.TimeDistributed(layers.Dense(3, activity_regularizer="l2"))
    out = noisy(X)
    penalty = call(noisy, *values(noisy), (X,), mode=Mode.INFER).penalties["layer"]
    assert float(penalty) == pytest.approx(0.01 * float((out**2).sum()) / len(X), rel=1e-5)


def test_steps_of_unknown_number_and_size():
    timed = layers.TimeDistributed(layers.Conv2D(2, 3))
    assert timed(layers.Input((None, None, None, 1))).shape == (None, None, None, None, 2)
    assert timed(np.ones((1, 2, 5, 6, 1), "float32")).shape == (1, 2, 3, 4, 2)
    assert layers.TimeDistributed(layers.BatchNormalization())(layers.Input((None, 3))).shape == (None, None, 3)
    assert layers.ConvLSTM2D(2, 3)(layers.Input((None, None, None, 1))).shape == (None, None, None, 2)


# ---- configurations and errors -------------------------------------------------------------------------------------


class Doubling(layers.LSTMCell):
    """A cell made of one of ours."""

    def call(self, inputs, states):
        output, states = super().call(inputs, states)
        return 2.0 * output, states


def test_configurations_of_layers_around_others():
    own = layers.RNN(Doubling(3), return_sequences=True)
    y = own(X)
    again = layers.RNN.from_config(own.get_config())
    again(X)
    assert again.cell is not own.cell
    again.set_weights(own.get_weights())
    np.testing.assert_array_equal(again(X), y)
    plain = layers.LSTM(3, return_sequences=True)
    plain(X)
    plain.set_weights(own.get_weights())
    np.testing.assert_allclose(y, 2.0 * plain(X), rtol=1e-6)
    described = {"class_name": "Doubling", "config": {"units": 3}}
    config = {"layer": {"class_name": "RNN", "config": {"cell": described}}, "merge_mode": "sum"}
    made = layers.Bidirectional.from_config(config, custom_objects={"Doubling": Doubling})
    assert type(made.backward_layer.cell) is Doubling
    assert made(X).shape == (2, 3)
    with pytest.raises(UnknownNameError, match="Doubling"):
        layers.Bidirectional.from_config(config)


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (lambda: layers.RNN(3), InputError, "no call and no state_size"),
        (lambda: layers.RNN(layers.Dense(3)), InputError, "no state_size"),
        (lambda: layers.RNN([layers.LSTMCell(2), layers.Dense(3)]), InputError, "no state_size"),
        (lambda: layers.LSTMCell(0), InputError, "units=0"),
        (lambda: layers.ConvLSTM2D(0, 2), InputError, "filters=0"),
        (lambda: layers.ConvLSTM2D(2, (2, 2, 2)), InputError, "kernel_size"),
        (lambda: layers.ConvLSTM2D(2, 2, strides=2, dilation_rate=2), InputError, "one of them is 1"),
        (lambda: layers.ConvLSTM2D(2, 2, padding="causal"), UnknownNameError, "padding"),
        (lambda: layers.ConvLSTM1D(2, 2, dropout=1.5), InputError, "dropout"),
        (lambda: layers.LSTM(2, use_cudnn=True), InputError, "use_cudnn=True"),
        (lambda: layers.Bidirectional(layers.Dense(2)), InputError, "go_backwards"),
        (lambda: layers.Bidirectional(3), InputError, "Pass a layer"),
        (lambda: layers.Bidirectional(layers.GRU(2), merge_mode="add"), UnknownNameError, "merge_mode"),
        (lambda: layers.Bidirectional(layers.GRU(2), backward_layer=layers.GRU(2)), InputError, "go_backwards=False"),
        (
            lambda: layers.Bidirectional(
                layers.GRU(2), backward_layer=layers.GRU(2, go_backwards=True, return_state=True)
            ),
            InputError,
            "return_state=True",
        ),
        (lambda: layers.TimeDistributed("dense"), InputError, "Pass a layer"),
        (lambda: layers.TimeDistributed(layers.Dense(2))(X[:, 0]), ShapeError, "at least 3 axes"),
        (lambda: layers.RNN(layers.GRUCell(2))(X[:, 0]), ShapeError, "at least 3 axes"),
        (lambda: layers.ConvLSTM2D(2, 2)(X), ShapeError, "needs 5 axes"),
        (lambda: layers.ConvLSTM2D(2, 7)(IMAGES), ShapeError, "does not fit"),
        (lambda: layers.GRU(2)(X, initial_state=[jnp.zeros((2, 3))]), ShapeError, "needs 1 of shape"),
        (lambda: layers.RNN([layers.GRUCell(2)])(X, initial_state=[1, 2]), ShapeError, "1 cells"),
    ],
)
def test_what_is_refused(make, kind, told):
    with pytest.raises(kind, match=told):
        make()


def test_a_refused_first_call_leaves_nothing_built():
    lstm = layers.LSTM(2, stateful=True)
    with pytest.raises(ShapeError):
        lstm(X, initial_state=[jnp.zeros((2, 3))] * 2)
    assert not lstm.built
    assert not lstm.cell.built
    assert not lstm.variables
    lstm(X)
    with pytest.raises(FrozenError, match="cell"):
        lstm.dropout = 0.5
    with pytest.raises(FrozenError):
        lstm.stateful = False
    with pytest.raises(ShapeError, match="built for 4 features"):
        lstm(X[..., :3])
