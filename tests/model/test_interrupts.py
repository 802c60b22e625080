"""Whatever ends a fit leaves a usable model: the last finished step's weights, the history of finished epochs."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from tests.model.twins import rows
from verax import callbacks, layers
from verax.utils import PyDataset

X, Y = rows(20), rows(20, 1)


@pytest.fixture(scope="module")
def trained():
    """A model with momentum and a moving average, and its weights after n steps from the start."""
    model = verax.Sequential([verax.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(1)])
    model.compile(verax.optimizers.SGD(0.05, momentum=0.9), "mse")
    start = model.get_weights()

    def begin():
        model.set_weights(start)
        model._model.compiled.opt_state, model._model.compiled.steps = None, 0
        return model

    snapshots = [start]

    class Keep(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            snapshots.append(self.model.get_weights())

    begin().fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[Keep()])
    return begin, snapshots


def equal(model, weights):
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


class Raises(callbacks.Callback):
    """Raises at a batch of an epoch, in one of the hooks."""

    def __init__(self, error, hook, epoch=1, batch=2, replay=False):
        self.error, self.at, self.replay = error, (epoch, batch), replay
        setattr(self, hook, self._check if "batch" in hook else self._check_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def _check(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise self.error("stop")

    def _check_epoch(self, epoch, logs=None):
        if epoch == self.at[0]:
            raise self.error("stop")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("hook", "steps"),
    [("on_train_batch_begin", 7), ("on_train_batch_end", 8), ("on_epoch_end", 10)],
)
def test_a_callback_raises(trained, hook, steps, error):
    begin, snapshots = trained
    model = begin()
    with pytest.raises(error, match="stop"):
        model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[Raises(error, hook)])
    equal(model, snapshots[steps])
    assert model.history.epoch == [0]
    assert len(model.history.history["loss"]) == 1
    assert np.isfinite(model.evaluate(X, Y, verbose=0))


def test_after_an_interrupt_fit_goes_on_as_if_nothing_had_happened(trained):
    """Optimizer state and step count belong to the same step as the weights."""
    begin, snapshots = trained
    model = begin()
    stop = Raises(KeyboardInterrupt, "on_train_batch_end", epoch=0, batch=4)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[stop])
    model.fit(X, Y, batch_size=4, epochs=3, initial_epoch=1, shuffle=False, verbose=0)
    equal(model, snapshots[15])
    assert model.history.epoch == [1, 2]


def test_a_replayed_callback_raises_after_its_chunk(trained):
    begin, snapshots = trained
    model = begin()
    stop = Raises(KeyboardInterrupt, "on_train_batch_end", epoch=2, batch=1, replay=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[stop])
    steps = model._model.compiled.steps
    assert steps > 10  # whole chunks were run, and all of their steps are in the weights
    equal(model, snapshots[steps])
    assert model.history.epoch == [0, 1]


@pytest.mark.parametrize("kind", ["generator", "sequence"])
def test_data_raise(trained, kind):
    begin, snapshots = trained
    model = begin()

    def batch(i):
        if i == 8:
            raise KeyboardInterrupt
        return X[4 * (i % 5) : 4 * (i % 5) + 4], Y[4 * (i % 5) : 4 * (i % 5) + 4]

    class Batches(PyDataset):
        num_batches = None

        def __getitem__(self, i):
            return batch(i)

    data = (batch(i) for i in range(20)) if kind == "generator" else Batches()
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, epochs=3, steps_per_epoch=5, shuffle=False, verbose=0)
    steps = model._model.compiled.steps
    assert 5 <= steps <= 8
    equal(model, snapshots[steps])
    assert model.history.epoch == [0]
    model.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    assert model.history.epoch == [0]


def test_validation_is_interrupted(trained):
    begin, snapshots = trained
    model = begin()
    stop = callbacks.LambdaCallback()
    stop.on_test_batch_end = lambda batch, logs=None: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, validation_data=(X, Y), callbacks=[stop])
    equal(model, snapshots[5])
    assert model.history.epoch == []


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_end"])
def test_stop_training(trained, hook):
    begin, snapshots = trained
    model = begin()
    stop = callbacks.Callback()
    setattr(stop, hook, lambda n, logs=None: setattr(stop.model, "stop_training", True) if n == 1 else None)
    history = model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[stop])
    equal(model, snapshots[2 if "batch" in hook else 10])
    assert history.epoch == ([0] if "batch" in hook else [0, 1])
    assert str(history.readings["loss"][-1].facts.rows) == (
        "8 training rows of 20" if "batch" in hook else "20 training rows"
    )
    assert model.fit(X, Y, batch_size=4, epochs=2, verbose=0).epoch == [0, 1]  # the next fit begins anew
