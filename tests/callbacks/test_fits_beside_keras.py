"""Every callback in a real fit beside real Keras: the same model, the same batches, the same decisions."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tests.model.twins import rows, same_history, same_weights, twins
from tests.oracle import oracle

X = rows(12)
Y = (X[:, :1] * 2 - X[:, 1:2] ** 2).astype("float32")


def build(lib, optimizer=None):
    model = lib.Sequential([lib.Input((4,)), lib.layers.Dense(3, activation="tanh"), lib.layers.Dense(1)])
    model.compile(optimizer(lib) if optimizer else lib.optimizers.SGD(0.3), "mse", metrics=["mae"])
    return model


def fitted(models, callbacks, epochs=8):
    theirs, ours = models
    arguments = {"epochs": epochs, "batch_size": 4, "shuffle": False, "verbose": 0, "validation_data": (X[:4], Y[:4])}
    with oracle() as keras:
        mine = callbacks(keras.callbacks)
        expected = theirs.fit(X, Y, callbacks=mine, **arguments).history
    import verax

    own = callbacks(verax.callbacks)
    found = ours.fit(X, Y, callbacks=own, **arguments).history
    return expected, found, mine, own


CALLBACKS = {
    "stop": lambda c: [c.EarlyStopping("val_loss", min_delta=0.05, patience=1)],
    "stop, best weights": lambda c: [c.EarlyStopping("val_mae", patience=2, restore_best_weights=True, mode="min")],
    "stop, baseline": lambda c: [c.EarlyStopping("loss", baseline=0.1, patience=2, start_from_epoch=2)],
    "stop, max": lambda c: [c.EarlyStopping("mae", mode="max", patience=3)],
    "plateau": lambda c: [c.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=0.05, cooldown=1)],
    "plateau, least": lambda c: [c.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=1.0, min_lr=0.01)],
    "schedule": lambda c: [c.LearningRateScheduler(lambda epoch: 0.3 / (1 + epoch))],
    "schedule of the rate": lambda c: [c.LearningRateScheduler(lambda epoch, rate: rate * 0.7)],
    "both": lambda c: [
        c.LearningRateScheduler(lambda e, r: r * 0.9),
        c.EarlyStopping("loss", patience=1, min_delta=0.1),
    ],
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_decisions_are_those_of_keras(name):
    models = twins(build)
    expected, found, mine, own = fitted(models, CALLBACKS[name])
    same_history(expected, found)
    same_weights(models)
    for theirs, ours in zip(mine, own, strict=True):
        for attribute in ("stopped_epoch", "wait", "best_epoch", "cooldown_counter"):
            assert getattr(ours, attribute, None) == getattr(theirs, attribute, None)


def test_a_loss_that_is_no_number_ends_the_fit():
    models = twins(lambda lib: build(lib, lambda lib: lib.optimizers.SGD(1e25)))
    expected, found, _, _ = fitted(models, lambda c: [c.TerminateOnNaN()])
    assert len(found["loss"]) == len(expected["loss"]) == 1
    models = twins(lambda lib: build(lib, lambda lib: lib.optimizers.SGD(1e25)))
    with pytest.raises(RuntimeError):
        fitted((models[1], models[1]), lambda c: [c.TerminateOnNaN(raise_error=True)])


def test_a_log_holds_the_numbers_of_keras(tmp_path):
    models = twins(build)
    for append in (False, True):
        fitted(models, lambda c: [c.CSVLogger(str(tmp_path / c.__name__[:5]), ";", append)], epochs=2)  # noqa: B023
    tables = [list(csv.DictReader((tmp_path / n).read_text().splitlines(), delimiter=";")) for n in ("keras", "verax")]
    assert len(tables[0]) == len(tables[1]) == 4
    for theirs, ours in zip(*tables, strict=True):
        assert set(theirs) == set(ours)
        for name in theirs:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_averaged_weights_are_validated_as_in_keras(at_the_end):
    def averaged(lib):
        return lib.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8)

    models = twins(lambda lib: build(lib, averaged))
    expected, found, _, _ = fitted(models, lambda c: [c.SwapEMAWeights(swap_on_epoch=at_the_end)], epochs=3)
    same_history(expected, found)


def test_functions_are_called_when_keras_calls_them():
    calls = {"keras": [], "verax": []}

    def callbacks(c):
        seen = calls[c.__name__[:5]]
        note = lambda what: lambda *args, **kwargs: seen.append((what, *args[:-1]))  # noqa: E731
        hooks = ("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end")
        plain = {name: note(name) for name in (*hooks, "on_train_end")}
        plain["on_train_batch_begin"] = lambda batch, logs=None: seen.append(("begin", batch))
        plain["on_train_batch_end"] = lambda batch, logs=None: seen.append(("end", batch, sorted(logs)))
        return [c.LambdaCallback(**plain)]

    fitted(twins(build), callbacks, epochs=2)
    assert calls["verax"] == calls["keras"]
    assert len(calls["verax"]) == 18


def test_weights_in_files_are_those_of_the_epochs(tmp_path):
    import verax

    _, ours = twins(build)
    seen = []
    ours.fit(
        X,
        Y,
        epochs=3,
        verbose=0,
        callbacks=[
            verax.callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz"),
            verax.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(ours.get_weights())),
        ],
    )
    for epoch, weights in enumerate(seen):
        ours.load_weights(tmp_path / f"{epoch + 1}.npz")
        for a, b in zip(ours.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(a, b)
