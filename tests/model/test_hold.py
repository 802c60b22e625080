"""A large model is trained in the memory it is in: the same numbers, and nobody is left with a used-up array."""

from __future__ import annotations

import os
import signal

import jax
import numpy as np
import pytest

import verax
from tests.model.twins import rows
from verax import callbacks, layers
from verax.model import hold

X, Y = rows(22), rows(22, 1)


def build():
    verax.utils.set_random_seed(3)
    model = verax.Sequential(
        [verax.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(1)]
    )
    model.compile(verax.optimizers.Adam(0.05), "mse", metrics=["mae"])
    return model


def fit(model, **more):
    return model.fit(X, Y, batch_size=4, epochs=3, verbose=0, validation_data=(X, Y), **more)


@pytest.fixture(scope="module")
def plainly():
    model = build()
    history = fit(model)
    return model.get_weights(), history.history, history.gap("loss").total, fit(model).history


def test_the_numbers_are_the_same(plainly, monkeypatch):
    monkeypatch.setattr(hold, "_LARGE", 0)
    model = build()
    history = fit(model)
    weights, expected, gap, again = plainly
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history.history == expected
    assert history.gap("loss").total == gap
    assert fit(model).history == again


class Holds(callbacks.Callback):
    """Keeps every array it can get hold of, at every chunk."""

    def __init__(self):
        self.arrays, self.copies, self.lent = [], [], []

    def on_chunk_end(self, done, logs=None):
        now = [v.value for v in self.model.weights] + [*verax.values(self.model)[0].values()]
        self.arrays += now
        self.copies += [np.array(a) for a in now]
        self.lent.append(self.model.weights[0]._lent)


def test_what_a_callback_holds_stays_what_it_was(monkeypatch):
    monkeypatch.setattr(hold, "_LARGE", 0)
    monkeypatch.setattr("verax.engine.loop.CAPACITY", 2)
    monkeypatch.setattr("verax.model.passes.CAPACITY", 2)
    model, holds = build(), Holds()
    before = [v.value for v in model.weights]
    fit(model, callbacks=[holds])
    assert sum(holds.lent) == 12  # four runs an epoch, and those of the validation, where nothing is lent
    assert len(holds.lent) > 9
    for array, copy in zip([*holds.arrays, *before], [*holds.copies, *map(np.array, before)], strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not any(v._lent for v in model.weights)
    assert not any(jax.tree.leaves(jax.tree.map(lambda a: a.is_deleted(), model._model.compiled.opt_state)))


def test_ctrl_c_in_the_middle_of_a_run_loses_nothing(monkeypatch, request):
    monkeypatch.setattr(hold, "_LARGE", 0)
    from verax.engine.loop import Left

    fetch, runs = Left.fetch, []

    def pressed(self, steps):
        runs.append(steps)
        if len(runs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return fetch(self, steps)

    monkeypatch.setattr(Left, "fetch", pressed)
    model = build()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, epochs=9, verbose=0)
    assert len(runs) == 3
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert not any(v._lent for v in model.weights)
    monkeypatch.undo()
    assert len(model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history["loss"]) == 2
