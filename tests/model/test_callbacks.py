"""Callbacks in a real fit: what they set takes effect at the next step, what they keep can be put back."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import verax
from tests.model.twins import fit_both, rows, same_history, same_weights, twins
from tests.oracle import oracle
from verax import callbacks, layers

X, Y = rows(20), rows(20, 1)


@pytest.fixture(scope="module")
def linear():
    model = verax.Sequential([verax.Input((4,)), layers.Dense(1, name="out")])
    model.compile(verax.optimizers.SGD(0.05), "mse", metrics=["mae"])
    start = [np.full((4, 1), 0.5, "float32"), np.zeros(1, "float32")]

    def fit(*listed, rate=0.05, **arguments):
        model.set_weights(start)
        model._model.compiled.opt_state = None
        model.optimizer.learning_rate = rate
        arguments = {"epochs": 4, "batch_size": 5, "shuffle": False, "verbose": 0, **arguments}
        return model, model.fit(X, Y, callbacks=list(listed), **arguments)

    return fit


class Spoil(callbacks.Callback):
    """Makes the model worse from an epoch on, so that the best epoch is known."""

    def __init__(self, epoch):
        self.epoch, self.before = epoch, {}

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.epoch:
            self.model.set_weights([w + 5 * (epoch + 1) for w in self.model.get_weights()])

    def on_epoch_end(self, epoch, logs=None):
        self.before[epoch] = self.model.get_weights()


def test_early_stopping_puts_the_best_weights_back(linear):
    spoil, stop = Spoil(2), callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    model, history = linear(spoil, stop, epochs=9)
    assert (history.epoch, stop.best_epoch, stop.stopped_epoch) == ([0, 1, 2], 1, 2)
    for a, b in zip(model.get_weights(), spoil.before[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_checkpoint(linear, where, tmp_path):
    path = str(tmp_path / "{epoch}.npz") if where == "file" else None
    keep, spoil = callbacks.ModelCheckpoint(path, monitor="val_mae", save_best_only=True), Spoil(2)
    model, _ = linear(spoil, keep, validation_data=(X, Y))
    if where == "file":
        assert sorted(p.name for p in tmp_path.iterdir()) == ["1.npz", "2.npz"]
        model.load_weights(tmp_path / "2.npz")
    else:
        keep.restore()
    np.testing.assert_array_equal(model.get_weights()[0], spoil.before[1][0])


def gradient_steps(rates, batch=20):
    """Weights after one full-batch step of gradient descent for each rate, in float64."""
    w, b = np.full((4, 1), 0.5), np.zeros(1)
    for rate in rates:
        error = X @ w + b - Y
        w, b = w - rate * 2 * X.T @ error / len(X), b - rate * 2 * error.mean(0)
    return w


def test_scheduled_rates_are_those_of_the_steps(linear):
    rates = [0.2, 0.1, 0.05, 0.4]
    model, history = linear(callbacks.LearningRateScheduler(lambda epoch: rates[epoch]), batch_size=20)
    assert history.history["learning_rate"] == rates
    np.testing.assert_allclose(model.get_weights()[0], gradient_steps(rates), rtol=1e-5)


def test_a_reduced_rate_changes_the_next_step(linear):
    reduce = callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100.0)
    model, history = linear(reduce, batch_size=20, rate=0.1)
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(model.get_weights()[0], gradient_steps([0.1, 0.1, 0.01, 0.001]), rtol=1e-5)


def test_a_rate_set_between_batches_takes_effect_at_the_next_batch(linear):
    class Halve(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.1 if batch == 0 else 0.0

    one, _ = linear(rate=0.1, epochs=1, steps_per_epoch=1)
    wanted = one.get_weights()[0]
    model, _ = linear(Halve(), epochs=1)
    np.testing.assert_array_equal(model.get_weights()[0], wanted)


def test_weights_set_between_batches_take_effect(linear):
    class Reset(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.set_weights([w * 0 for w in self.model.get_weights()])

    model, _ = linear(Reset())
    np.testing.assert_array_equal(model.get_weights()[0], np.zeros((4, 1)))


def test_csv_and_lambda(linear, tmp_path):
    seen = []
    log = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, logs["loss"])))
    _, history = linear(log, callbacks.CSVLogger(tmp_path / "log.csv"), validation_data=(X, Y))
    table = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["val_mae"]) for row in table] == pytest.approx(history.history["val_mae"])
    assert seen == list(enumerate(history.history["loss"]))


def test_terminate_on_nan(linear, capsys):
    _, history = linear(callbacks.TerminateOnNaN(), rate=1e30, epochs=50)
    assert len(history.epoch) < 50
    assert "training ends" in capsys.readouterr().out


def test_batch_logs_are_the_means_so_far(linear):
    theirs, ours = twins(lambda lib: _linear(lib))
    logs = {}

    def note(lib, into):
        class Note(lib.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                into.append(dict(logs))

        return Note()

    logs = {"theirs": [], "ours": [], "replayed": []}
    with oracle() as keras:
        theirs.fit(X, Y, batch_size=6, shuffle=False, verbose=0, callbacks=[note(keras, logs["theirs"])])
    start = ours.get_weights()
    ours.fit(X, Y, batch_size=6, shuffle=False, verbose=0, callbacks=[note(verax, logs["ours"])])
    ours.set_weights(start)
    replayed = note(verax, logs["replayed"])
    replayed.replay = True
    ours.fit(X, Y, batch_size=6, shuffle=False, verbose=0, callbacks=[replayed])
    assert logs["ours"] == logs["replayed"]
    for one, other in zip(logs["ours"], logs["theirs"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def _linear(lib, **arguments):
    model = lib.Sequential([lib.Input((4,)), lib.layers.Dense(1)])
    model.compile(lib.optimizers.SGD(0.05, **arguments), "mse", metrics=["mae"])
    return model


def test_hooks_come_in_keras_order():
    models = twins(_linear)

    def spy(lib):
        class Spy(lib.callbacks.Callback):
            def __init__(self):
                super().__init__()
                self.calls = []

        for what in ("train", "epoch", "test", "predict", "train_batch", "test_batch", "predict_batch"):
            for when in ("begin", "end"):
                hook = f"on_{what}_{when}"
                setattr(Spy, hook, lambda self, *args, hook=hook, **kw: self.calls.append((hook, args[:-1])))
        return Spy()

    spies = []
    for model, lib in zip(models, ("keras", "verax"), strict=True):
        with oracle() as keras:
            mine = spy(keras if lib == "keras" else verax)
            model.fit(X, Y, batch_size=10, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[mine])
            model.evaluate(X, Y, verbose=0, batch_size=10, callbacks=[mine])
            model.predict(X, verbose=0, batch_size=10, callbacks=[mine])
        spies.append([(hook, args) for hook, args in mine.calls])
    # Keras says batch numbers by position or by name; the order of the hooks is what counts.
    assert [hook for hook, _ in spies[1]] == [hook for hook, _ in spies[0]]


def test_predict_hooks_receive_the_outputs(linear):
    model, _ = linear(epochs=1)
    got = []
    note = callbacks.LambdaCallback()
    note.on_predict_batch_end = lambda batch, logs=None: got.append(logs["outputs"])
    predicted = model.predict(X, batch_size=8, verbose=0, callbacks=[note])
    assert [len(g) for g in got] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(got), predicted)


def test_averaged_weights_are_the_last_word_of_fit_but_not_of_train_on_batch():
    models = twins(lambda lib: _linear(lib, use_ema=True, ema_momentum=0.5))
    theirs, ours = models
    for _ in range(3):
        with oracle():
            theirs.train_on_batch(X, Y)
        ours.train_on_batch(X, Y)
    same_weights(models)
    same_history(*fit_both(models, X, Y, epochs=2, batch_size=5))
    same_weights(models)
