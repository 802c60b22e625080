from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import verax
from tests.callbacks.fakes import FakeModel, drive
from tests.oracle import oracle
from verax.callbacks import CallbackList, ModelCheckpoint
from verax.errors import InputError, StateError, UnknownNameError, VeraxWarning
from verax.formats.suffixes import WEIGHTS, WHOLE

VALUES = st.lists(st.integers(0, 16).map(lambda n: n / 8), min_size=1, max_size=10)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=VALUES,
    mode=st.sampled_from(["auto", "min", "max"]),
    best_only=st.booleans(),
    threshold=st.sampled_from([None, 0.5]),
)
def test_saves_when_keras_saves_under_the_names_keras_gives(tmp_path, values, mode, best_only, threshold):
    epochs = [{"loss": 0.0, "val_loss": value} for value in values]
    arguments = {"mode": mode, "save_best_only": best_only, "initial_value_threshold": threshold}
    stem = str(tmp_path / "weights-{epoch:02d}-{val_loss:.2f}")
    model, _ = drive(ModelCheckpoint(stem + ".npz", save_weights_only=True, **arguments), epochs)
    with oracle() as keras:
        theirs = keras.callbacks.ModelCheckpoint(stem + ".weights.h5", save_weights_only=True, **arguments)
        their_model, _ = drive(theirs, epochs)
    assert [(path.removesuffix(".npz"), weight) for path, weight in model.saved] == [
        (path.removesuffix(".weights.h5"), weight) for path, weight in their_model.saved
    ]


def batches(callback, sizes: list[int]) -> FakeModel:
    """Run through epochs of so many batches; the weight counts the batches."""
    model = FakeModel()
    callback.set_model(model)
    count = itertools.count()
    callback.on_train_begin({})
    for epoch, size in enumerate(sizes):
        callback.on_epoch_begin(epoch, {})
        for batch in range(size):
            model.weight = float(next(count))
            callback.on_train_batch_end(batch, {"loss": 1.0})
        callback.on_epoch_end(epoch, {"loss": 1.0})
    return model


@pytest.mark.parametrize("save_freq", [1, 3, 4, 7])
def test_saves_every_so_many_batches_as_keras(tmp_path, save_freq):
    stem = str(tmp_path / "{epoch}-{batch:03d}")
    model = batches(ModelCheckpoint(stem + ".npz", save_freq=save_freq), [4, 4, 5])
    with oracle() as keras:
        theirs = keras.callbacks.ModelCheckpoint(stem + ".weights.h5", save_weights_only=True, save_freq=save_freq)
        their_model = batches(theirs, [4, 4, 5])
    assert [(path.removesuffix(".npz"), weight) for path, weight in model.saved] == [
        (path.removesuffix(".weights.h5"), weight) for path, weight in their_model.saved
    ]
    assert len(model.saved) == 13 // save_freq


def test_fit_goes_step_by_step_only_for_batches():
    assert not CallbackList(ModelCheckpoint()).reads_batches()
    assert CallbackList(ModelCheckpoint(save_freq=2)).acts_between_batches()

    class Mine(ModelCheckpoint):
        def on_train_batch_end(self, batch, logs=None):
            pass

    assert CallbackList(Mine()).acts_between_batches()


def test_in_memory_the_best_is_kept_and_restored():
    keep = ModelCheckpoint(monitor="accuracy")
    model, _ = drive(keep, [{"accuracy": value} for value in (0.1, 0.9, 0.5)])
    assert model.weight == 2.0
    keep.restore()
    assert model.weight == 1.0
    other = FakeModel()
    keep.restore(other)
    assert other.weight == 1.0
    assert (keep.best, keep.best_epoch) == (0.9, 1)


def test_in_memory_the_last_is_kept_if_asked():
    keep = ModelCheckpoint(save_best_only=False)
    model, _ = drive(keep, [{"val_loss": value} for value in (0.1, 0.9)])
    model.weight = 7.0
    keep.restore()
    assert model.weight == 1.0


def test_nothing_to_restore(tmp_path):
    with pytest.raises(StateError, match="Fit first"):
        ModelCheckpoint().restore(FakeModel())
    with pytest.raises(StateError, match="load_weights"):
        ModelCheckpoint(tmp_path / "a.npz").restore(FakeModel())


def test_the_best_file_outlives_an_epoch_without_validation(tmp_path):
    path = str(tmp_path / "best.npz")
    keep = ModelCheckpoint(path, save_best_only=True)
    with pytest.warns(VeraxWarning, match="epoch 2 logged no such number"):
        model, _ = drive(keep, [{"loss": 1.0, "val_loss": 1.0}, {"loss": 1.0}, {"loss": 1.0, "val_loss": 0.5}])
    assert model.saved == [(path, 0.0), (path, 2.0)]


def test_a_name_that_is_never_logged_saves_all_with_one_warning(tmp_path):
    keep = ModelCheckpoint(str(tmp_path / "best.npz"), monitor="val_los", save_best_only=True)
    with pytest.warns(VeraxWarning, match="'val_loss'") as caught:
        model, _ = drive(keep, [{"val_loss": 1.0}] * 3)
    assert len(caught) == 1
    assert len(model.saved) == 3


def test_folders_are_made_and_not_written_over(tmp_path):
    path = tmp_path / "a" / "b" / "w.npz"
    drive(ModelCheckpoint(path), [{"val_loss": 1.0}])
    assert path.parent.is_dir()
    path.mkdir()
    with pytest.raises(InputError, match="a folder has that name"):
        drive(ModelCheckpoint(path), [{"val_loss": 1.0}])


@pytest.mark.parametrize("path", ["best", Path("x/best.hdf5"), "best.keras.zip"])
def test_other_suffixes_are_refused(path):
    with pytest.raises(InputError, match=r"End the path in '\.keras' or .* or '\.npz'; filepath=None"):
        ModelCheckpoint(path)


@pytest.mark.parametrize("weights_only", [None, True, False])
@pytest.mark.parametrize("suffix", [*WHOLE, *WEIGHTS])
def test_the_suffix_says_what_is_saved_and_keras_refuses_the_same(tmp_path, suffix, weights_only):
    path = str(tmp_path / f"best{suffix}")
    # Keras writes a whole model in its old form to .weights.h5, if it is not told to write weights.
    if (
        weights_only is not None
        and suffix in (*WHOLE, ".weights.h5")
        and (suffix, weights_only) != (".weights.h5", False)
    ):
        with oracle() as keras:
            theirs: object = None
            with contextlib.suppress(ValueError):
                theirs = keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
        assert (theirs is None) == (weights_only is not (suffix in WEIGHTS))
    if weights_only is not None and weights_only is not (suffix in WEIGHTS):
        with pytest.raises(InputError, match="a whole model" if suffix in WEIGHTS else "weights alone"):
            ModelCheckpoint(path, save_weights_only=weights_only)
        return
    model, _ = drive(ModelCheckpoint(path, save_weights_only=weights_only), [{"val_loss": 1.0}])
    assert (model.saved, model.saved_whole) == (([], [(path, 0.0)]) if suffix in WHOLE else ([(path, 0.0)], []))


@pytest.mark.parametrize("suffix", [*WHOLE, *WEIGHTS])
def test_real_models_are_saved_and_loaded(tmp_path, suffix):
    path = tmp_path / f"{{epoch}}{suffix}"
    model = verax.Sequential([verax.Input((2,)), verax.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 2)), np.ones(4), epochs=2, callbacks=ModelCheckpoint(path), verbose=0)
    last = tmp_path / f"2{suffix}"
    again = verax.saving.load_model(last) if suffix in WHOLE else type(model).from_config(model.get_config())
    if suffix in WEIGHTS:
        again.load_weights(last)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_done_is_refused_when_made():
    with pytest.raises(InputError, match="plain brace"):
        ModelCheckpoint("{epoch.npz")
    for save_freq in ("batch", 0, True):
        with pytest.raises(InputError, match="save_freq"):
            ModelCheckpoint(save_freq=save_freq)


def test_an_unknown_field_names_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="'val_loss'"):
        drive(ModelCheckpoint(str(tmp_path / "{val_los:.2f}.npz")), [{"val_loss": 1.0}])


def test_says_what_it_saves_and_why(tmp_path, capsys):
    path = str(tmp_path / "w.npz")
    drive(ModelCheckpoint(path, save_best_only=True, verbose=1), [{"val_loss": value} for value in (1.0, 0.5, 2.0)])
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: val_loss improved from none so far to 1.00000",
        f"Epoch 1: saved the weights to {path}",
        "Epoch 2: val_loss improved from 1.00000 to 0.50000",
        f"Epoch 2: saved the weights to {path}",
        "Epoch 3: val_loss 2.00000 is no better than 0.50000",
    ]
