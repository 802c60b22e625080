"""A fit with the callback is the fit without it, bit for bit; and explaining leaves nothing behind."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import verax
from tests.keras_watch import layers_of_ones_own as own
from tests.keras_watch.scenarios import linear, rows
from tests.oracle import oracle
from verax.errors import InputError, MissingExtraError, NotCompiledError, StateError, UnknownNameError, VeraxWarning
from verax.keras import callback as callback_room
from verax.keras import program as program_room
from verax.ledger import Cause


@pytest.fixture
def keras() -> Iterator[Any]:
    with oracle() as found:
        found.utils.set_random_seed(3)
        yield found


def everything(model: Any) -> dict[str, np.ndarray]:
    """Every variable of a model: weights, random states, moving averages, metrics and the optimizer's."""
    found = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return {f"{i} {v.path}": np.array(v.value) for i, v in enumerate(found)}


def attributes(model: Any) -> list[tuple[str, frozenset[str], Any, Any]]:
    """What a layer has of its own, and what the trainer's functions are."""
    layers = model._flatten_layers(include_self=True)
    each = [(x.name, frozenset(vars(x)), vars(x).get("call"), getattr(x, "momentum", None)) for x in layers]
    return [*each, ("functions", frozenset(), model.train_function, model.test_function)]


def same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k], equal_nan=True) for k in one)


def everything_at_once(keras: Any) -> Any:
    """Dropout, batch normalization, noise, penalties of both kinds, and a layer of one's own."""
    layers, l2 = keras.layers, keras.regularizers.L2(0.01)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            own.random_sign(keras)(),
            layers.Dense(16, "relu", kernel_regularizer=l2, activity_regularizer=keras.regularizers.L2(0.01)),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.GaussianNoise(0.1),
            layers.Dense(1, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def trained(keras: Any, callbacks: list[Any], **fit: Any) -> tuple[Any, list[Any], Any]:
    """Two fits, one after the other, from one seed: the model, the histories, and the global random states."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(11)
    model = everything_at_once(keras)
    rng = np.random.default_rng(0)
    train, validation = rows(rng, 70), rows(rng, 50)
    fit = {"batch_size": 16, "epochs": 2, "verbose": 0, **fit}
    histories = [model.fit(*train, validation_data=validation, callbacks=callbacks, **fit).history]
    histories.append(model.fit(*train, validation_data=validation, **fit).history)
    return model, histories, (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


@pytest.mark.parametrize(
    ("when", "fit"),
    [("end", {"steps_per_epoch": 3}), ("epoch", {"sample_weight": np.linspace(0, 2, 70)})],
    ids=["end", "epoch"],
)
def test_a_watched_fit_is_the_same_fit(keras: Any, when: str, fit: dict[str, Any]):
    why = verax.keras.Explain(explain=when, verbose=0)
    watched, alone = trained(keras, [why], **fit), trained(keras, [], **fit)
    assert set(why.gaps) == ({1, 2} if when == "epoch" else {2})
    assert why.gap.grade == "full"
    assert watched[1:] == alone[1:]
    assert same(everything(watched[0]), everything(alone[0]))


def test_the_numbers_are_those_that_fit_showed(keras: Any):
    why = verax.keras.Explain(explain="epoch", verbose=0)
    _, (history, _), _ = trained(keras, [why])
    for epoch, gap in why.gaps.items():
        assert gap.train.value == pytest.approx(history["loss"][epoch - 1], rel=1e-6)
        assert gap.validation.value == pytest.approx(history["val_loss"][epoch - 1], rel=1e-6)
        assert abs(gap.residual) < 1e-12


def test_epochs_that_are_not_validated_are_left_alone(keras: Any):
    model, why = linear(keras, keras.layers.Dropout(0.5)), verax.keras.Explain(explain="epoch", verbose=0)
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=9, restore_best_weights=True)
    rng = np.random.default_rng(0)
    model.fit(*rows(rng), validation_data=rows(rng), validation_freq=2, epochs=5, callbacks=[stop, why], verbose=0)
    assert list(why.gaps) == [2, 4]
    assert why.gap is why.gaps[4]


def test_the_state_of_the_fit_is_not_touched_at_each_step(keras: Any):
    """Keras writes every variable back when a callback asks for its model: that would cost more than the step."""
    model, why = linear(keras), verax.keras.Explain(verbose=0)
    rng = np.random.default_rng(0)
    synced: list[int] = []
    sync = model.jax_state_sync
    model.jax_state_sync = lambda: (synced.append(1), sync())
    model.fit(*rows(rng), validation_data=rows(rng), batch_size=4, callbacks=[why], verbose=0)
    with_it, synced[:] = len(synced), []
    model.fit(*rows(rng), validation_data=rows(rng), batch_size=4, verbose=0)
    assert with_it == len(synced)


def test_draws_are_those_of_the_step(keras: Any):
    """At a rate of zero the same batches with the same masks come to the same numbers: no weights moved."""
    model = linear(keras, keras.layers.Dropout(0.5), own.random_sign(keras)(), rate=0.0)
    why = verax.keras.Explain(verbose=0)
    rng = np.random.default_rng(0)
    model.fit(*rows(rng), validation_data=rows(rng), callbacks=[why], verbose=0)
    amounts = why.gap.by_cause()
    assert abs(amounts[Cause.WEIGHTS_MOVED]) < 1e-5 < abs(amounts[Cause.FITTED_DRAWS])


def test_explaining_leaves_the_model_as_it_was(keras: Any):
    model = everything_at_once(keras)
    rng = np.random.default_rng(0)
    train, validation = rows(rng, 64), rows(rng, 32)
    model.fit(*train, epochs=1, verbose=0, validation_data=validation)

    def state() -> Any:
        return attributes(model), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    before, variables = state(), everything(model)
    gap = verax.keras.explain(model, *train, validation_data=validation)
    assert gap.grade == "full"
    assert state() == before
    assert same(everything(model), variables)
    assert gap.validation.value == pytest.approx(model.evaluate(*validation, verbose=0)[0], rel=1e-5)


def stopping(keras: Any, hook: str, after: int) -> Any:
    """A callback that raises at its hook, after so many calls."""
    count = iter(range(1000))

    def stop(*_: Any, **__: Any) -> None:
        if next(count) == after:
            raise KeyboardInterrupt

    return type("Stops", (keras.callbacks.Callback,), {hook: stop})()


@pytest.mark.parametrize(
    ("hook", "last"),
    [
        ("on_train_batch_begin", False),
        ("on_train_batch_end", True),
        ("on_test_batch_begin", True),
        ("on_test_batch_begin", False),
        ("on_epoch_end", False),
    ],
)
def test_an_interrupted_fit_leaves_nothing_behind(keras: Any, hook: str, last: bool):
    def interrupted(watch: list[Any]) -> Any:
        keras.utils.clear_session()
        keras.utils.set_random_seed(5)
        model = linear(keras, keras.layers.Dropout(0.5), rate=0.01, kernel_regularizer="l2")
        rng = np.random.default_rng(0)
        train, validation = rows(rng, 70), rows(rng, 50)
        model.fit(*train, validation_data=validation, batch_size=16, verbose=0)
        functions = model.train_function, model.test_function
        stops = [stopping(keras, hook, 2 if "batch" in hook else 0)]
        callbacks = [*stops, *watch] if last else [*watch, *stops]
        with pytest.raises(KeyboardInterrupt):
            model.fit(*train, validation_data=validation, callbacks=callbacks, verbose=0, epochs=2, batch_size=16)
        model.fit(*train, validation_data=validation, batch_size=16, verbose=0)
        assert (model.train_function, model.test_function) == functions
        return everything(model)

    assert same(interrupted([verax.keras.Explain(verbose=0)]), interrupted([]))


def test_an_interrupted_explanation_leaves_nothing_behind(keras: Any, monkeypatch: pytest.MonkeyPatch):
    model = everything_at_once(keras)
    rng = np.random.default_rng(0)
    train, validation = rows(rng, 70), rows(rng, 50)
    model.fit(*train, validation_data=validation, verbose=0)
    before = everything(model), attributes(model)

    def broken(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(program_room, "observe", broken)
    with pytest.raises(KeyboardInterrupt):
        verax.keras.explain(model, *train, validation_data=validation)
    assert same(before[0], everything(model))
    assert attributes(model) == before[1]


def test_what_cannot_be_explained_does_not_break_a_fit(keras: Any, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(callback_room, "gap_of", broken)
    model, why = linear(keras), verax.keras.Explain(verbose=0)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.warns(VeraxWarning, match="no memory"):
            history = model.fit(*rows(rng), validation_data=rows(rng), callbacks=[why], verbose=0)
    assert "val_loss" in history.history
    with pytest.raises(StateError, match="no memory"):
        why.gap


def test_the_record_is_bounded(keras: Any):
    model = linear(keras, keras.layers.Dropout(0.5))
    rng = np.random.default_rng(0)
    sizes: list[tuple[int, int]] = []

    class Weighs(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            kept = why._watched.train.epoch.kept
            sizes.append((len(kept), sum(step.size for step in kept)))

    memory = 2 * 10 * (16 * 9 * 4)  # ten batches of 16 rows of 8 + 1 numbers, for each of the two passes
    why = verax.keras.Explain(batches=12, memory=memory, verbose=0)
    model.fit(*rows(rng, 1024), validation_data=rows(rng), batch_size=16, callbacks=[why, Weighs()], verbose=0)
    assert max(n for n, _ in sizes) <= 12
    assert max(size for _, size in sizes) <= memory // 2
    assert "of 64 batches" in why.gap.sample
    assert abs(why.gap.residual) < 1e-9
    assert why._last is None  # nothing is kept once it is explained


# ---- what is said where something is wrong ---------------------------------------------------------------------------


def test_wrong_arguments_are_told(keras: Any):
    with pytest.raises(InputError, match='Use "end" or "epoch"'):
        verax.keras.Explain(explain="always")
    with pytest.raises(InputError, match="batches says how much is kept"):
        verax.keras.Explain(batches=0)
    with pytest.raises(InputError, match="memory says how much"):
        verax.keras.Explain(memory=1.5)
    with pytest.raises(InputError, match="Give \\(x, y\\)"):
        verax.keras.Explain((np.ones(3),))
    with pytest.raises(InputError, match="cannot be read again"):
        verax.keras.Explain(iter([]))
    x = np.ones((4, 8), "float32"), np.ones((4, 1), "float32")
    model = linear(keras)
    with pytest.raises(UnknownNameError, match="loss"):
        verax.keras.explain(model, *x, validation_data=x, metric="accuracy")
    with pytest.raises(InputError, match="Give their product"):
        verax.keras.explain(model, *x, validation_data=x, sample_weight=np.ones(4), class_weight={0: 1.0})
    with pytest.raises(InputError, match="Give at least one row"):
        verax.keras.explain(model, x[0][:0], x[1][:0], validation_data=x)
    with pytest.raises(InputError, match=r"a Verax model has model\.explain"):
        verax.keras.explain(verax.Sequential([verax.layers.Dense(1)]), *x, validation_data=x)
    with pytest.raises(NotCompiledError, match=r"model\.compile"):
        verax.keras.explain(keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)]), *x, validation_data=x)


def test_a_fit_without_validation_says_what_to_give(keras: Any):
    model, why = linear(keras), verax.keras.Explain(verbose=0)
    model.fit(*rows(np.random.default_rng(0)), callbacks=[why], verbose=0)
    with pytest.raises(StateError, match="Explain\\(validation_data=\\(x, y\\)\\)"):
        why.gap


def test_opening_the_room_does_not_open_keras_and_its_absence_is_told(monkeypatch: pytest.MonkeyPatch):
    code = "import sys, verax.keras; assert 'keras' not in sys.modules and 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "keras", None)
    for ask in (
        verax.keras.Explain,
        lambda: verax.keras.watching().__enter__(),
        lambda: verax.keras.explain(None, [], validation_data=()),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'verax\[keras\]'"):
            ask()
