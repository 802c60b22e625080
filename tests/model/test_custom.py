"""Training of one's own: steps, losses, metrics, layers with penalties, precision, and what a model shows of itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.model.twins import rows
from tests.oracle import oracle
from verax import layers
from verax.ledger.tally import Tally

X, Y = rows(20), rows(20, 1)

# ---- a training step of one's own ------------------------------------------------------------------------------------


class Penalized(verax.Sequential):
    """Adds to the gradient that of a penalty on all weights."""

    def train_step(self, carry, batch, key, observe, optimizer):
        def objective(params):
            total, rest = observe(params, carry.state, batch, key=key)
            return total + 0.1 * sum(jnp.sum(p**2) for p in params.values()), rest

        (_, (state, tallies)), grads = jax.value_and_grad(objective, has_aux=True)(carry.params)
        params, opt = optimizer.update(grads, carry.opt, carry.params)
        return type(carry)(params, state, opt, carry.step + 1), tallies


def test_an_extra_penalty_in_train_step_is_that_of_a_regularizer():
    start, found = None, []
    for model in (
        Penalized([verax.Input((4,)), layers.Dense(1)]),
        verax.Sequential([verax.Input((4,)), layers.Dense(1, kernel_regularizer=_l2(0.1), bias_regularizer=_l2(0.1))]),
    ):
        model.compile(verax.optimizers.SGD(0.1), "mse")
        start = start or model.get_weights()
        model.set_weights(start)
        history = model.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0)
        found.append((model.get_weights(), history.readings["loss"]))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    # The step of one's own keeps its penalty to itself; the regularizer's is in the number, and readable apart.
    assert [r.data for r in found[1][1]] == pytest.approx([r.value for r in found[0][1]], rel=1e-5)


def _l2(factor):
    return verax.regularizers.L2(factor)


class Noisy(verax.Sequential):
    """Gradient noise, drawn from the step's key."""

    def train_step(self, carry, batch, key, observe, optimizer):
        class Rule:
            def update(self, grads, opt, params):
                keys = dict(zip(sorted(grads), jax.random.split(jax.random.fold_in(key, 1), len(grads)), strict=True))
                noisy = {p: g + 0.1 * jax.random.normal(keys[p], g.shape) for p, g in grads.items()}
                return optimizer.update(noisy, opt, params)

        return super().train_step(carry, batch, key, observe, Rule())


def test_gradient_noise_is_reproducible():
    def run(seed, kind=Noisy):
        verax.utils.set_random_seed(seed)
        model = kind([verax.Input((4,)), layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()[0]

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))
    assert not np.array_equal(run(1), run(1, verax.Sequential))


# ---- layers, losses and metrics of one's own -------------------------------------------------------------------------


class Penalizing(verax.Layer):
    """Adds a loss in its call, and does something of its own in training."""

    def call(self, x, training):
        self.add_loss(0.5 * jnp.mean(x**2))
        return x * (2.0 if training else 1.0)


class Net(verax.Model):
    def __init__(self):
        super().__init__()
        self.parts = {"first": layers.Dense(3, activation="tanh"), "middle": [Penalizing()]}
        self.head = layers.Dense(1)

    def call(self, x):
        return self.head(self.parts["middle"][0](self.parts["first"](x)))


def test_a_subclass_with_penalties_and_a_mode_of_its_own():
    model = Net()
    model.compile(verax.optimizers.SGD(0.0), "mse")
    history = model.fit(X, Y, batch_size=20, epochs=1, verbose=0, validation_data=(X, Y))
    loss, val_loss = history.readings["loss"][0], history.readings["val_loss"][0]
    hidden = np.asarray(model.parts["first"](X))
    assert loss.penalties == pytest.approx(0.5 * np.mean(hidden**2), rel=1e-5)
    assert set(loss.parts) == {"net", "parts/middle/0"}
    kernel, bias = model.head.get_weights()
    assert loss.data == pytest.approx(np.mean((2 * hidden @ kernel + bias - Y) ** 2), rel=1e-5)
    assert val_loss.data == pytest.approx(np.mean((hidden @ kernel + bias - Y) ** 2), rel=1e-5)
    assert "parts/middle/0 in training mode" in str(loss)
    assert "parts/middle/0 in inference mode" in str(val_loss)
    with pytest.raises(AttributeError):
        model.nothing


def test_a_model_of_penalties_alone_trains_without_targets():
    class Auto(verax.Model):
        def __init__(self):
            super().__init__()
            self.code = layers.Dense(4)

        def call(self, x):
            self.add_loss(jnp.mean((x - self.code(x)) ** 2))
            return self.code(x)

    model = Auto()
    model.compile(verax.optimizers.SGD(0.5))
    history = model.fit(X, batch_size=5, epochs=5, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]
    assert model.evaluate(X, batch_size=20, verbose=0) == pytest.approx(np.mean((model.predict(X, verbose=0) - X) ** 2))


def quartic(y_true, y_pred):
    return jnp.mean((y_true - y_pred) ** 4, axis=-1)


class Quartic(verax.losses.Loss):
    def call(self, y_true, y_pred):
        return quartic(y_true, y_pred)


class Largest(verax.metrics.Metric):
    """The largest error: counts above thresholds, which add."""

    def tally(self, y_true, y_pred, sample_weight=None):
        errors = jnp.abs(y_true - y_pred)
        above = errors[..., None] > jnp.linspace(0.0, 4.0, 41).reshape(1, 1, -1)
        return {"above": jnp.sum(above.astype(jnp.float32), axis=(0, 1))}

    def finish(self, sums):
        return float(np.linspace(0.0, 4.0, 41)[np.argmax(np.asarray(sums["above"]) == 0)])


class HalfMean(verax.metrics.Metric):
    """A mean, as a Tally."""

    def tally(self, y_true, y_pred, sample_weight=None):
        return Tally.of(0.5 * (y_true - y_pred)[:, 0], sample_weight)


@pytest.mark.parametrize("loss", [quartic, Quartic(name="q")])
def test_losses_and_metrics_of_ones_own(loss):
    model = verax.Sequential([verax.Input((4,)), layers.Dense(1)])
    model.compile(
        "sgd", loss, metrics=[quartic, Largest(name="largest"), "mae"], weighted_metrics=[HalfMean(name="half")]
    )
    weight = np.linspace(0, 2, 20)
    found = model.evaluate(X, Y, batch_size=8, sample_weight=weight, verbose=0, return_dict=True)
    error = Y - model.predict(X, verbose=0)
    assert found["loss"] == pytest.approx(np.mean(weight * error[:, 0] ** 4), rel=1e-5)
    assert found["quartic"] == pytest.approx(np.mean(error**4), rel=1e-5)
    assert found["half"] == pytest.approx(np.sum(weight * 0.5 * error[:, 0]) / weight.sum(), rel=1e-4)
    assert abs(found["largest"] - np.abs(error).max()) <= 0.1
    model.fit(X, Y, epochs=1, verbose=0)


# ---- precision -------------------------------------------------------------------------------------------------------


def test_mixed_precision_end_to_end():
    def build(lib):
        model = lib.Sequential(
            [
                lib.Input((4,)),
                lib.layers.Dense(8, activation="relu", dtype="mixed_bfloat16", name="a"),
                lib.layers.BatchNormalization(dtype="mixed_bfloat16", name="n"),
                lib.layers.Dense(3, dtype="mixed_bfloat16", activation="softmax", name="b"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    labels = np.arange(20) % 3
    model = build(verax)
    history = model.fit(X, labels, batch_size=5, epochs=2, shuffle=False, verbose=0, validation_data=(X, labels))
    assert {w.dtype.name for w in model.get_weights()} == {"float32"}
    assert model.predict(X, verbose=0).dtype.name == "bfloat16"
    params, state = verax.values(model)
    out, after = verax.pure(model)(params, state, X, mode="train")
    assert out.dtype == jnp.bfloat16
    assert {v.dtype.name for v in after.values()} == {"float32"}
    assert np.isfinite(history.history["loss"]).all()
    assert history.history["val_loss"][-1] == model.evaluate(X, labels, verbose=0, batch_size=5)[0]
    with oracle() as keras:
        theirs = build(keras)
        theirs.set_weights(model.get_weights())
        assert theirs.predict(X, verbose=0).dtype.name == "bfloat16"
        expected = theirs.evaluate(X, labels, verbose=0)[0]
    assert model.evaluate(X, labels, verbose=0)[0] == pytest.approx(expected, rel=0.02)


def test_the_policy_of_the_whole_model():
    verax.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = verax.Sequential([verax.Input((4,)), layers.Dense(2)])
        model.compile("sgd", "mse")
    finally:
        verax.mixed_precision.set_global_policy("float32")
    reading = model.measure(X, rows(20, 2))["loss"]
    assert reading.facts.dtype == "bfloat16"
    assert "computed in bfloat16" in str(reading)


# ---- what a model shows and returns ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forked():
    a, b = verax.Input((4,), name="a"), verax.Input((3,), name="b")
    hidden = layers.Dropout(0.5, name="drop")(layers.Dense(5, name="hidden")(a))
    normed = layers.BatchNormalization(name="norm")(b)
    frozen = layers.BatchNormalization(name="frozen", trainable=False)(normed)
    return verax.Model(
        {"a": a, "b": b},
        {"one": layers.Dense(1, name="p")(hidden), "two": layers.Dense(2, name="q")(frozen)},
        name="forked",
    )


def test_summary(forked):
    lines = []
    forked.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert lines[0] == "Model 'forked'"
    row = {line.split()[0]: line for line in lines[3:-1]}
    assert set(row) == {"a", "b", "hidden", "drop", "norm", "frozen", "p", "q"}
    assert "(None, 5)" in row["hidden"]
    assert " 25 " in row["hidden"]
    assert "yes" in row["hidden"]
    assert row["drop"].endswith("dropout")
    assert row["norm"].endswith("batch statistics")
    assert row["frozen"].endswith("batch statistics (frozen)")
    assert " no " in row["frozen"]
    # hidden 25, norm 12, frozen 12, p 6, q 8; of which norm's moving averages and all of frozen are not trained
    assert "Parameters: 63 (252 B), of which 45 are trained and 18 are not" in text


def test_outputs_keep_their_structure(forked):
    x = {"a": rows(7), "b": rows(7, 3)}
    out = forked.predict(x, batch_size=3, verbose=0)
    assert {k: v.shape for k, v in out.items()} == {"one": (7, 1), "two": (7, 2)}
    listed = verax.Model(forked.input, [forked.output["two"], (forked.output["one"],)])
    two, (one,) = listed.predict(x, verbose=0)
    np.testing.assert_allclose(two, out["two"], rtol=1e-5)
    np.testing.assert_allclose(one, out["one"], rtol=1e-5)
    forked.compile("sgd", {"one": "mse", "two": "mae"}, metrics={"two": ["mse"]})
    y = {"two": rows(7, 2), "one": rows(7, 1)}
    found = forked.evaluate(x, y, verbose=0, return_dict=True)
    assert list(found) == ["loss", "one_loss", "two_loss", "two_mse"]
    assert found["one_loss"] == pytest.approx(np.mean((out["one"] - y["one"]) ** 2), rel=1e-5)
    assert found["two_loss"] == pytest.approx(np.mean(np.abs(out["two"] - y["two"])), rel=1e-5)
    assert list(found.values()) == forked.evaluate(x, y, verbose=0)
    assert forked.metrics_names == list(found)


@pytest.mark.parametrize(("loss", "y"), [({"p": "mse"}, {"p": Y}), (["mse", None], [Y, None])])
def test_an_output_without_a_loss_is_not_trained(loss, y):
    x = verax.Input((4,))
    model = verax.Model(x, [layers.Dense(1, name="p")(x), layers.Dense(2, name="q")(x)])
    model.compile("sgd", loss)
    before = model.get_layer("q").get_weights()
    assert list(model.fit(X, y, verbose=0).history) == ["loss"]
    np.testing.assert_array_equal(before[0], model.get_layer("q").get_weights()[0])


def test_rows_of_any_length():
    model = verax.Sequential([verax.Input((None, 3)), layers.LSTM(2), layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = ((np.ones((4, n, 3), "float32"), np.ones((4, 1))) for n in (3, 5, 3))
    assert model.fit(batches, verbose=0).readings["loss"][0].weight == 12
    assert model.predict(np.ones((2, 9, 3)), verbose=0).shape == (2, 1)


def test_one_model_inside_another_trains_in_both():
    inner = verax.Sequential([verax.Input((4,)), layers.Dense(2)])
    outer = verax.Sequential([inner, layers.Dense(1)])
    for model, y in ((inner, rows(20, 2)), (outer, Y)) * 2:
        if not model.compiled:
            model.compile("sgd", "mse")
        before = inner.get_weights()[0]
        model.fit(X, y, verbose=0)
        assert not np.array_equal(before, inner.get_weights()[0])


def test_a_sequential_may_grow_between_fits():
    model = verax.Sequential([verax.Input((4,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(X, rows(20, 2), verbose=0)
    model.add(layers.Dense(1))
    assert model.fit(X, Y, verbose=0).history["loss"]
    model.pop()
    assert model.predict(X, verbose=0).shape == (20, 2)


def test_inputs_by_name_in_any_order():
    a, b = verax.Input((4,), name="a"), verax.Input((3,), name="b")
    model = verax.Model([b, a], layers.Dense(1)(layers.Concatenate()([a, b])))
    x = {"a": rows(5), "b": rows(5, 3)}
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict([x["b"], x["a"]], verbose=0))
    np.testing.assert_array_equal(
        model.predict({**x, "unused": rows(5)}, verbose=0), model.predict((x["b"], x["a"]), verbose=0)
    )
    with pytest.raises(verax.errors.DataError, match="'b'"):
        model.predict({"a": x["a"]}, verbose=0)


def test_layers_and_shapes(forked):
    assert [layer.name for layer in forked.layers][:2] == ["a", "b"]
    assert forked.get_layer("norm").trainable
    assert forked.input_shape == {"a": (None, 4), "b": (None, 3)}
    assert forked.output_shape == {"one": (None, 1), "two": (None, 2)}
    with pytest.raises(verax.errors.UnknownNameError, match="'norm'"):
        forked.get_layer("nrom")
    assert forked.count_params() == 63


def test_evaluate_in_training_mode_updates_nothing(forked):
    model = verax.Sequential([verax.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.layers[0].set_weights([np.ones(4), np.zeros(4), np.full(4, 3.0), np.ones(4)])
    before = model.get_weights()
    train, infer = model.measure(X, Y, mode="train")["loss"], model.measure(X, Y)["loss"]
    assert {m.effect: m.state for m in train.facts.modes} == {"batch_statistics": "train", "dropout": "train"}
    assert train.facts.draws == "fresh"
    assert train.value != infer.value
    only = model.measure(X, Y, mode={"batch_statistics": "train"})["loss"]
    assert {m.effect: m.state for m in only.facts.modes} == {"batch_statistics": "train", "dropout": "infer"}
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
