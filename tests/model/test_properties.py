"""What must not matter: batch size of a measurement, how an epoch is cut, fed or shown, and how often it is run."""

from __future__ import annotations

import contextlib
import itertools

import jax
import numpy as np
import pytest

import verax
from tests.model.twins import rows
from verax import callbacks, layers
from verax.data import arrays, make_source
from verax.engine.loop import Pace
from verax.utils import PyDataset

# ---- measuring: the batch size ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked_many():
    """Masked tokens in, three outputs, penalties, weights: all that can be averaged wrongly."""
    tokens = verax.Input((5,), dtype="int32", name="tokens")
    x = layers.Embedding(7, 4, mask_zero=True, embeddings_regularizer="l2")(tokens)
    each = layers.Dense(1, name="each")(x)
    read = layers.LSTM(4)(x)
    kind = layers.Dense(3, activation="softmax", name="kind")(read)
    yes = layers.Dense(1, activation="sigmoid", name="yes", activity_regularizer="l2")(read)
    model = verax.Model(tokens, [each, kind, yes])
    model.compile(
        "adam",
        {"each": "mae", "kind": "sparse_categorical_crossentropy", "yes": "binary_crossentropy"},
        loss_weights={"each": 0.5, "yes": 3.0},
        metrics={"each": "mse", "kind": "accuracy", "yes": ["AUC"]},
        weighted_metrics={"each": "mae", "yes": ["Precision", "accuracy"]},
    )
    rng = np.random.default_rng(0)
    x = rng.integers(1, 7, (23, 5)) * (np.arange(5) < rng.integers(1, 6, (23, 1)))
    y = {"each": rng.normal(size=(23, 5, 1)), "kind": rng.integers(0, 3, 23), "yes": rng.integers(0, 2, 23)}
    weight = {"each": rng.uniform(0, 3, (23, 5)), "kind": rng.uniform(0, 3, 23), "yes": rng.uniform(0.5, 3, 23)}
    return model, x, y, weight


@pytest.mark.parametrize("weighted", [False, True])
def test_evaluate_is_the_same_for_every_batch_size(masked_many, weighted):
    model, x, y, weight = masked_many
    weight = weight if weighted else None
    found = {
        size: model.evaluate(x, y, batch_size=size, sample_weight=weight, verbose=0, return_dict=True)
        for size in (1, 4, 23)
    }
    assert len(found[1]) == 1 + 3 + 3 + 3
    for name, size in itertools.product(found[1], (1, 4)):
        assert found[size][name] == pytest.approx(found[23][name], rel=1e-6), (name, size)


def test_evaluate_of_masks_and_weights_is_the_closed_form(masked_many):
    model, x, y, weight = masked_many
    each, kind, yes = model.predict(x, batch_size=23, verbose=0)
    found = model.measure(x, y, batch_size=4, sample_weight=weight)
    parts, mask = found["loss"].parts, (x != 0)
    errors = np.abs(each - y["each"])[..., 0]
    assert parts["each"].value == pytest.approx((errors * mask * weight["each"]).sum() / mask.sum(), rel=1e-5)
    entropy = -np.log(kind[np.arange(23), y["kind"]])
    assert parts["kind"].value == pytest.approx((entropy * weight["kind"]).mean(), rel=1e-5)
    weighted_mae = (errors * mask * weight["each"]).sum() / (mask * weight["each"]).sum()
    assert found["each_mae"].value == pytest.approx(weighted_mae, rel=1e-5)
    hits = ((yes[:, 0] > 0.5) == y["yes"]) * weight["yes"]
    assert found["yes_accuracy"].value == pytest.approx(hits.sum() / weight["yes"].sum(), rel=1e-5)


def test_steps_measure_so_many_batches(masked_many):
    model, x, y, _ = masked_many
    some = model.measure(x, y, batch_size=4, steps=2)["loss"]
    first = model.measure(x[:8], {k: v[:8] for k, v in y.items()}, batch_size=4)["loss"]
    assert some.value == pytest.approx(first.value, rel=1e-6)
    assert str(some.facts.rows) == "8 rows of 23"


# ---- training: however an epoch is cut and fed -----------------------------------------------------------------------

X, Y = rows(46), rows(46, 1, seed=1)  # batches of 4, and a short last one of 2


@pytest.fixture(scope="module")
def noisy():
    """A model with everything that depends on draws, on the batch, and on the step."""
    model = verax.Sequential(
        [
            verax.Input((4,)),
            layers.Dense(8, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(momentum=0.9),
            layers.Dropout(0.5),
            layers.GaussianNoise(0.1),
            layers.Dense(1),
        ]
    )
    model.compile(
        verax.optimizers.Adam(verax.optimizers.schedules.ExponentialDecay(0.05, 10, 0.9)), "mse", metrics=["mae"]
    )
    start = model.get_weights()

    def train(x=X, y=Y, seed=5, **arguments):
        model.set_weights(start)
        model._model.compiled.opt_state, model._model.compiled.steps = None, 0
        verax.utils.set_random_seed(seed)
        if y is not None:
            arguments["batch_size"] = 4
        history = model.fit(x, y, **{"epochs": 2, "verbose": 0, "shuffle": False, **arguments})
        return history.history, model.get_weights()

    train.model = model
    return train


@pytest.fixture(scope="module")
def usual(noisy):
    return noisy()


def same(first, second):
    assert first[0] == second[0]
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(a, b)


class EachStep(callbacks.Callback):
    """Makes the loop run step by step."""

    def __init__(self):
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)


@pytest.mark.parametrize("steps", [1, 3, 5, 1000])
def test_chunks_of_any_size(noisy, usual, steps, monkeypatch):
    monkeypatch.setattr(Pace, "took", lambda self, done, seconds: setattr(self, "steps", min(steps, self.limit)))
    same(noisy(), usual)


def test_step_by_step(noisy, usual):
    each = EachStep()
    same(noisy(callbacks=[each]), usual)
    assert each.batches == [*range(12)] * 2


def batches():
    return ((X[i : i + 4], Y[i : i + 4]) for i in range(0, 46, 4))


class Batches(PyDataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]


def test_streams(noisy, usual):
    def twice():
        yield from batches()
        yield from batches()

    same(noisy(Batches(), None), usual)
    same(noisy(Batches(workers=2), None), usual)
    same(noisy(twice(), None, steps_per_epoch=12), usual)
    same(noisy(Batches(), None, callbacks=[EachStep()]), usual)


@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_arrays_too_large_for_the_device(noisy, shuffle):
    source = make_source(X, Y, batch_size=4, resident_limit=1)
    assert not source.resident
    same(noisy(source, None, shuffle=shuffle), noisy(shuffle=shuffle))


@pytest.mark.parametrize("shuffle", [True, "batch"])
def test_arrays_too_large_to_be_laid_out(monkeypatch, noisy, shuffle):
    laid = noisy(shuffle=shuffle)
    monkeypatch.setattr(arrays, "_SMALL", 0)
    same(noisy(shuffle=shuffle), laid)
    same(noisy(shuffle=shuffle, callbacks=[EachStep()]), laid)


def test_the_same_seed_gives_the_same_run_and_another_does_not(noisy):
    first, again, other = noisy(shuffle=True), noisy(shuffle=True), noisy(shuffle=True, seed=6)
    same(first, again)
    assert first[0] != other[0]


def test_progress_changes_nothing(noisy, usual, capsys):
    same(noisy(verbose=2), usual)
    same(noisy(verbose=1), usual)
    assert "loss" in capsys.readouterr().out


def test_validation_changes_nothing(noisy, usual):
    found, weights = noisy(validation_data=(X, Y))
    same(({k: v for k, v in found.items() if not k.startswith("val_")}, weights), usual)


def test_measuring_between_two_fits_changes_nothing(noisy):
    def twice(measure):
        noisy(epochs=1)
        if measure:
            noisy.model.evaluate(X, Y, verbose=0, mode="train")
            noisy.model.predict(X, verbose=0)
        return noisy.model.fit(X, Y, batch_size=4, verbose=0).history, noisy.model.get_weights()

    same(twice(False), twice(True))


def test_a_second_fit_goes_on_where_the_first_stopped(noisy, usual):
    """Draws come from the run's key and the number of the step: two fits of one key draw as one."""
    noisy(epochs=1)
    verax.utils.set_random_seed(5)
    noisy.model.fit(X, Y, batch_size=4, shuffle=False, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(noisy.model.get_weights(), usual[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_eager_steps_have_values_a_person_can_print():
    seen = []

    class Peek(verax.Layer):
        def call(self, x):
            if not isinstance(x, jax.core.Tracer) or "GradTracer" in str(x):  # shapes are still found by tracing
                seen.append(x.mean().item())
            return x

    model = verax.Sequential([verax.layers.Dense(1), Peek()])
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((4, 2), "float32")
    model.fit(x, x[:, :1], batch_size=2, epochs=1, verbose=0)
    model.evaluate(x, x[:, :1], verbose=0)
    assert len(seen) == 3
    assert all(isinstance(value, float) for value in seen)


def test_eagerly_as_compiled():
    x, y = rows(8), rows(8, 1, seed=1)
    found = []
    for eager in (False, True):
        verax.utils.set_random_seed(3)
        model = verax.Sequential([verax.Input((4,)), layers.Dense(3), layers.Dropout(0.3), layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=eager)
        history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y))
        found.append([*history.history["loss"], *history.history["val_loss"], model.evaluate(x, y, verbose=0)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


# ---- compiling: once -------------------------------------------------------------------------------------------------


class Counted(verax.Layer):
    """Counts how often its call is traced."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def call(self, x):
        self.calls.append(tuple(x.shape))
        return x * 2.0


@pytest.fixture
def counted():
    counted = Counted()
    model = verax.Sequential([verax.Input((4,)), counted, layers.Dense(1)])
    model.compile(verax.optimizers.SGD(0.1), "mse")
    x, y = rows(12), rows(12, 1)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y))
    model.predict(x, verbose=0)
    return model, counted, x, y


@contextlib.contextmanager
def no_trace(counted):
    before = len(counted.calls)
    yield
    assert counted.calls[before:] == []


def test_nothing_is_compiled_twice(counted):
    model, layer, x, y = counted
    with no_trace(layer):
        model.fit(x, y, batch_size=4, epochs=3, verbose=0, validation_data=(x, y))
        model.fit(x + 1, y, batch_size=4, epochs=1, verbose=0)
        model.evaluate(x, y, batch_size=4, verbose=0)
        model.predict(x, verbose=0)
        model.set_weights([w * 2 for w in model.get_weights()])
        model.evaluate(x, y, batch_size=4, verbose=0)


def test_a_changed_learning_rate_compiles_nothing_and_takes_effect(counted):
    model, layer, x, y = counted
    start = model.get_weights()
    moved = []
    model.fit(x, y, batch_size=4, steps_per_epoch=1, epochs=1, verbose=0)
    with no_trace(layer):
        for rate in (0.1, 0.2):
            model.set_weights(start)
            model.optimizer.learning_rate = rate
            model.fit(x, y, batch_size=4, steps_per_epoch=1, epochs=1, shuffle=False, verbose=0)
            moved.append(model.get_weights()[0] - start[0])
        schedule = callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
        model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[schedule])
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-4)


def test_step_by_step_compiles_once(counted):
    model, layer, x, y = counted
    model.fit(x, y, batch_size=4, epochs=1, verbose=0, callbacks=[EachStep()])
    model.train_on_batch(x[:4], y[:4])
    with no_trace(layer):
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[EachStep()])
        model.train_on_batch(x[4:8], y[4:8])


def test_many_fits_keep_few_programs(counted):
    model, _, x, y = counted
    for _ in range(3):
        model.fit(x, y, batch_size=4, epochs=1, verbose=0, validation_data=(x, y))
    assert len(model.programs) == 3  # train, measure, predict
