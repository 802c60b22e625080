"""OrbaxCheckpoint: an exact resume, and folders that Keras and Verax read both ways."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import verax
from tests.callbacks.test_backup import FIT, Interrupt, X, Y, _programs_are_kept, make, same, same_history  # noqa: F401
from tests.oracle import oracle
from verax import layers
from verax.callbacks import CallbackList, EarlyStopping, OrbaxCheckpoint, SwapEMAWeights
from verax.errors import DataError, InputError, MissingExtraError, VeraxWarning
from verax.formats import orbax


def interrupted(folder, at, optimizer="adam", further=(), **arguments):
    with pytest.raises(KeyboardInterrupt):
        make(optimizer).fit(X, Y, callbacks=[*further, OrbaxCheckpoint(folder, **arguments), Interrupt(*at)], **FIT)


def resumed(folder, optimizer="adam", further=(), fit=FIT, **arguments):
    model = make(optimizer)
    verax.utils.set_random_seed(99)  # another process, another seed
    return model, model.fit(X, Y, callbacks=[*further, OrbaxCheckpoint(folder, **arguments)], **fit)


@pytest.mark.parametrize(
    ("optimizer", "at", "save_freq"), [("adam", (1, None), "epoch"), ("scheduled, averaged", (1, 6), 3)]
)
def test_the_rest_of_a_run_is_the_same_bit_for_bit(tmp_path, optimizer, at, save_freq):
    further = [SwapEMAWeights(swap_on_epoch=True)] if optimizer != "adam" else []
    whole = make(optimizer)
    history = whole.fit(X, Y, callbacks=further, **FIT)
    interrupted(tmp_path, at, optimizer, further, save_freq=save_freq)
    model, rest = resumed(tmp_path, optimizer, further, save_freq=save_freq)
    same(model, whole)
    same_history(rest, history)


def test_a_fit_that_ended_is_gone_on_with_only_if_asked(tmp_path):
    whole = make()
    whole.fit(X, Y, **{**FIT, "epochs": 4})
    _, again = resumed(tmp_path)  # with a seed of its own
    history = make().fit(X, Y, callbacks=OrbaxCheckpoint(tmp_path), **FIT)
    assert (history.epoch, orbax.steps(tmp_path)) == ([0, 1, 2], [2])
    assert again.history != history.history
    further, longer = resumed(tmp_path, resume=True, fit={**FIT, "epochs": 4})
    assert longer.epoch == [0, 1, 2, 3]
    same(further, whole)


def test_a_new_fit_takes_the_place_of_the_steps_before(tmp_path):
    interrupted(tmp_path, (2, None), max_to_keep=None)
    assert orbax.steps(tmp_path) == [0, 1, 2]
    _, history = resumed(tmp_path, max_to_keep=None, resume=False, fit={**FIT, "epochs": 2})
    assert (history.epoch, orbax.steps(tmp_path)) == ([0, 1], [0, 1])


@pytest.mark.parametrize(("keep", "expected"), [(1, [2]), (2, [1, 2]), (None, [0, 1, 2])])
def test_the_last_steps_are_kept(tmp_path, keep, expected):
    callback = OrbaxCheckpoint(tmp_path, max_to_keep=keep, save_on_background=keep == 2)
    make().fit(X, Y, callbacks=callback, **FIT)
    assert callback.steps() == expected
    with oracle() as keras:
        theirs = keras.callbacks.OrbaxCheckpoint(str(tmp_path / "keras"), max_to_keep=keep)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(X, Y, callbacks=theirs, **FIT)
    assert orbax.steps(tmp_path / "keras") == expected


def test_the_best_is_kept_and_said(tmp_path, capsys):
    keep = OrbaxCheckpoint(tmp_path, save_best_only=True, verbose=1, max_to_keep=None, monitor="val_loss")
    history = make().fit(X, Y, callbacks=keep, **FIT)
    values = history.history["val_loss"]
    assert keep.steps() == [i for i, value in enumerate(values) if value == min(values[: i + 1])]
    assert f"saves step 0 to {tmp_path}" in capsys.readouterr().out


def test_what_callbacks_count_goes_on_with_the_weights_they_keep(tmp_path):
    def stopping():
        # Nothing improves by so much, so the first epoch stays the best, and the third one stops.
        return EarlyStopping("loss", min_delta=100.0, patience=2, restore_best_weights=True)

    fit = {**FIT, "epochs": 9}
    whole = make()
    alone = whole.fit(X, Y, callbacks=stopping(), **fit)
    assert alone.epoch == [0, 1, 2]
    for at in ((1, None), (2, None)):
        folder = tmp_path / str(at[0])
        interrupted(folder, at, further=[stopping()])
        model, rest = resumed(folder, further=[stopping()], fit=fit)
        same_history(rest, alone)
        same(model, whole)


def test_batches_are_counted_across_epochs_and_fit_keeps_its_speed(tmp_path):
    callback = OrbaxCheckpoint(tmp_path, save_freq=5, max_to_keep=None)
    assert not CallbackList([callback]).acts_between_batches()
    make().fit(X, Y, callbacks=[callback, Interrupt(9, 9)], **FIT)  # which makes it run step by step: 7 an epoch
    assert callback.steps() == [5, 10, 15, 20]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Orbax gives up its tasks without ending them, and says so when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_step_that_cannot_be_read_is_passed_over_with_a_word(tmp_path):
    whole = make()
    history = whole.fit(X, Y, **FIT)
    interrupted(tmp_path, (1, None), max_to_keep=2)
    assert orbax.steps(tmp_path) == [0, 1]
    shutil.rmtree(tmp_path / "1" / "verax" / "d")
    with pytest.warns(VeraxWarning, match="goes on from step 0: a later one cannot be read"):
        model, rest = resumed(tmp_path, max_to_keep=2)
    same(model, whole)
    same_history(rest, history)
    shutil.rmtree(tmp_path / "1" / "pytree" / "d")
    shutil.rmtree(tmp_path / "2" / "pytree" / "d")
    with pytest.raises(DataError, match="the one before is read"):
        resumed(tmp_path)


def test_what_was_half_written_is_removed(tmp_path):
    (tmp_path / "7.orbax-checkpoint-tmp" / "pytree").mkdir(parents=True)
    resumed(tmp_path)
    assert names(tmp_path) == ["2", "ended.txt"]


def test_another_models_steps_change_nothing(tmp_path):
    interrupted(tmp_path, (0, None))
    other = verax.Sequential([verax.Input((3,)), layers.Dense(1, name="another")])
    other.compile("adam", "mse")
    before = other.get_weights()
    with pytest.raises(DataError, match="other weights"):
        other.fit(X, Y, callbacks=OrbaxCheckpoint(tmp_path), **FIT)
    with pytest.raises(DataError, match="names or shapes are others"):
        other.load_weights(tmp_path)
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def network(k, functional):
    body = [k.layers.Dense(4, "relu", name="a"), k.layers.BatchNormalization(name="b"), k.layers.Dropout(0.1, name="c")]
    if not functional:
        return k.Sequential([k.Input((3,)), *body, k.layers.Dense(1, name="d")], name="net")
    x = inputs = k.Input((3,))
    for layer in body:
        x = layer(x)
    return k.Model(inputs, k.layers.Dense(1, name="d")(x), name="net")


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("functional", [True, False])
def test_keras_and_verax_load_each_others_weights(tmp_path, functional, weights_only):
    def trained(k, folder):
        model = network(k, functional)
        model.compile("adam", "mse")
        keep = k.callbacks.OrbaxCheckpoint(str(folder), save_weights_only=weights_only)
        model.fit(X, Y, callbacks=keep, epochs=2, verbose=0)
        return model

    ours = trained(verax, tmp_path / "ours")
    with oracle() as keras:
        theirs = trained(keras, tmp_path / "theirs")
        other = network(keras, functional)
        other.compile("adam", "mse")  # without, Keras cannot load a checkpoint
        other.load_weights(str(tmp_path / "ours"))
    for a, b in zip(ours.get_weights(), (np.asarray(w) for w in other.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    for folder in (tmp_path / "theirs", tmp_path / "theirs" / "1"):
        another = network(verax, functional)
        another.load_weights(folder)
        for a, b in zip(another.get_weights(), (np.asarray(w) for w in theirs.weights), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="the argument 'skip_mismatch'"):
        another.load_weights(tmp_path / "ours", skip_mismatch=True)
    with pytest.raises(InputError, match="Build the model, then"):
        verax.saving.load_model(tmp_path / "ours")


def test_arrays_of_every_kind_come_back_bit_for_bit(tmp_path):
    import ml_dtypes

    parts = {
        "pytree": {"a/b": np.arange(6, dtype="float32").reshape(2, 3), "a/c.d": np.ones(3, ml_dtypes.bfloat16)},
        "rest": {"empty": np.zeros((0, 2), "int8"), "scalar": np.array(7, "uint32"), "x y": np.array([np.nan, -0.0])},
    }
    orbax.write(tmp_path, 3, parts)
    assert orbax.steps(tmp_path) == [3]
    for part, arrays in parts.items():
        found = orbax.read(tmp_path, 3, part)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()
    assert orbax.read(tmp_path, 3, "another") == {}
    with pytest.raises(InputError, match="a tree"):
        orbax.write(tmp_path, 4, {"pytree": {"a": np.ones(1), "a/b": np.ones(1)}})
    orbax.remove(tmp_path, 3)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"save_freq": "batch"}, "save_freq"),
        ({"max_to_keep": 0}, "max_to_keep=0"),
        ({"directory": ""}, "an empty path"),
        ({"resume": True, "save_weights_only": True}, "weights alone"),
    ],
)
def test_wrong_arguments(tmp_path, wrong, match):
    with pytest.raises(InputError, match=match):
        OrbaxCheckpoint(**{"directory": tmp_path, **wrong})


def test_without_orbax_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(MissingExtraError, match=r"verax\[checkpoint\]"):
        resumed(tmp_path)
