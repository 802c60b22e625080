"""The decisions of EarlyStopping, ReduceLROnPlateau, LearningRateScheduler, against Keras' on the same logs."""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.callbacks.fakes import drive
from tests.oracle import oracle
from verax.callbacks import EarlyStopping, LearningRateScheduler, Logs, ReduceLROnPlateau
from verax.callbacks.monitor import direction_of_name
from verax.errors import InputError, UnknownNameError, VeraxWarning

# Keras compares in float32: multiples of 1/8 are exact there, so that only the rule can differ.
VALUES = st.lists(st.integers(0, 16).map(lambda n: n / 8), min_size=1, max_size=14)
DELTAS = st.sampled_from([0.0, 0.125, -0.25, 0.5])


def logged(values: list[float]) -> list[dict[str, float]]:
    return [{"loss": 0.0, "val_loss": value} for value in values]


@settings(max_examples=40, deadline=None)
@given(
    values=VALUES,
    min_delta=DELTAS,
    patience=st.integers(0, 3),
    mode=st.sampled_from(["auto", "min", "max"]),
    baseline=st.sampled_from([None, 0.5, 1.0]),
    restore=st.booleans(),
    start=st.integers(0, 3),
)
def test_early_stopping_decides_as_keras(values, min_delta, patience, mode, baseline, restore, start):
    arguments = {
        "min_delta": min_delta,
        "patience": patience,
        "mode": mode,
        "baseline": baseline,
        "restore_best_weights": restore,
        "start_from_epoch": start,
    }
    ours = EarlyStopping(**arguments)
    model, left = drive(ours, logged(values))
    with oracle() as keras:
        theirs = keras.callbacks.EarlyStopping(**arguments)
        their_model, their_left = drive(theirs, logged(values))
    assert left == their_left
    assert (ours.stopped_epoch, ours.best_epoch, ours.wait) == (theirs.stopped_epoch, theirs.best_epoch, theirs.wait)
    assert ours.best == (None if theirs.best is None else float(theirs.best))
    assert model.weight == their_model.weight


@settings(max_examples=40, deadline=None)
@given(
    values=VALUES,
    min_delta=DELTAS,
    patience=st.integers(0, 3),
    mode=st.sampled_from(["auto", "min", "max"]),
    cooldown=st.integers(0, 3),
    factor=st.sampled_from([0.5, 0.25]),
    min_lr=st.sampled_from([0.0, 0.125, 0.1]),
)
def test_reduce_lr_on_plateau_decides_as_keras(values, **arguments):
    model, left = drive(ReduceLROnPlateau(**arguments), logged(values))
    with oracle() as keras:
        their_model, their_left = drive(keras.callbacks.ReduceLROnPlateau(**arguments), logged(values))
    assert left == their_left
    assert model.optimizer.learning_rate == their_model.optimizer.learning_rate


def test_a_rate_at_min_lr_is_not_reduced_again_though_float32_holds_it_a_little_larger(capsys):
    callback = ReduceLROnPlateau(patience=0, min_lr=0.001, verbose=1)
    drive(callback, logged([1.0] * 3), rate=float(np.float32(0.001)))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "schedule", [lambda epoch, rate: rate * 0.5 if epoch else rate, lambda epoch: 0.5 ** max(epoch, 0)]
)
def test_learning_rate_scheduler_sets_what_keras_sets(schedule):
    _, left = drive(LearningRateScheduler(schedule), logged([1.0] * 4))
    with oracle() as keras:
        _, their_left = drive(keras.callbacks.LearningRateScheduler(schedule), logged([1.0] * 4))
    assert left == their_left
    assert left[3]["logs"]["learning_rate"] == 0.125


def test_a_type_error_inside_a_schedule_is_not_hidden():
    with pytest.raises(TypeError, match="unsupported operand"):
        drive(LearningRateScheduler(lambda epoch, rate: rate + "a"), logged([1.0]))


@pytest.mark.parametrize("answer", [None, "0.1", True, math.nan, math.inf])
def test_a_schedule_must_return_a_finite_number(answer):
    with pytest.raises(InputError, match="not a finite number"):
        drive(LearningRateScheduler(lambda epoch: answer), logged([1.0]))


def test_a_schedule_may_return_an_int_or_a_scalar_array():
    for answer in (2, np.float32(2), np.asarray(2.0)):
        model, _ = drive(LearningRateScheduler(lambda epoch, answer=answer: answer, verbose=0), logged([1.0]))
        assert model.optimizer.learning_rate == 1.0  # the second argument is the rate it has, as in Keras
        model, _ = drive(LearningRateScheduler(lambda epoch, *, a=answer: a), logged([1.0]))
        assert model.optimizer.learning_rate == 2.0


def test_a_schedule_of_three_arguments_is_refused_at_once():
    with pytest.raises(InputError, match="neither way"):
        LearningRateScheduler(lambda epoch, rate, more: rate)
    with pytest.raises(InputError, match="takes a function"):
        LearningRateScheduler(0.1)


def test_factor_is_checked():
    with pytest.raises(InputError, match="factor"):
        ReduceLROnPlateau(factor=1.0)


def test_a_nan_is_never_an_improvement_and_never_the_best():
    callback = EarlyStopping(patience=3, restore_best_weights=True)
    model, left = drive(callback, logged([math.nan, 1.0, 0.5, math.nan]))
    assert callback.best == 0.5
    assert model.weight == 2.0
    assert len(left) == 4


def test_one_object_serves_two_fits():
    callback = EarlyStopping(patience=1)
    first = drive(callback, logged([1.0, 2.0, 3.0]))[1]
    assert drive(callback, logged([1.0, 2.0, 3.0]))[1] == first


def test_early_stopping_says_what_it_does(capsys):
    drive(EarlyStopping(patience=1, restore_best_weights=True, verbose=1), logged([1.0, 2.0]))
    assert capsys.readouterr().out == "Epoch 2: early stopping\nRestoring the weights of the best epoch: 1\n"


@pytest.mark.parametrize(
    ("monitor", "logs", "text"),
    [
        ("val_los", {"loss": 1.0, "val_loss": 1.0}, "Did you mean 'val_loss'"),
        ("val_loss", {"loss": 1.0}, "There was no validation: pass validation_data"),
        ("auc", {}, "Logged: nothing"),
    ],
)
def test_a_missing_name_warns_once_with_the_nearest(monitor, logs, text):
    with pytest.warns(VeraxWarning, match=text) as caught:
        drive(EarlyStopping(monitor=monitor), [logs, logs, logs])
    assert len(caught) == 1
    with pytest.warns(VeraxWarning, match="ReduceLROnPlateau watches"):
        drive(ReduceLROnPlateau(monitor=monitor), [logs])


def test_an_epoch_without_validation_by_plan_is_no_reason_to_warn():
    callback = EarlyStopping()
    callback.set_params({"verbose": 0, "epochs": 4, "steps": 1, "validation_freq": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drive(callback, [{"loss": 1.0}, {"loss": 1.0, "val_loss": 1.0}])
    callback.set_params({"validation_freq": [2]})
    with pytest.warns(VeraxWarning):
        drive(callback, [{"loss": 1.0}, {"loss": 1.0}])


class Stated:
    direction = "max"


def test_auto_follows_the_metric_before_the_name():
    callback = EarlyStopping(monitor="score_loss", patience=1)
    callback.set_model(type("Model", (), {"stop_training": False})())
    callback.on_train_begin()
    for epoch, value in enumerate([1.0, 2.0, 3.0]):
        callback.on_epoch_end(epoch, Logs({"score_loss": value}, {"score_loss": Stated()}))
    assert not callback.model.stop_training
    assert callback.best == 3.0


def test_auto_without_a_direction_is_an_error_at_the_first_epoch():
    with pytest.raises(InputError, match="Pass mode='max' or mode='min'"):
        drive(EarlyStopping(monitor="score"), [{"score": 1.0}])
    with pytest.raises(UnknownNameError, match="'max'"):
        EarlyStopping(mode="maxx")
    with pytest.raises(InputError, match="single number"):
        drive(EarlyStopping(), [{"val_loss": np.zeros(2)}])


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("loss", "min"),
        ("val_out_loss", "min"),
        ("val_acc", "max"),
        ("sparse_categorical_accuracy", "max"),
        ("BinaryAccuracy", "max"),
        ("auc_2", "max"),
        ("recall_at_precision", "max"),
        ("f1_score", "max"),
        ("r2_score", "max"),
        ("cosine_similarity", "max"),
        ("true_positives", "max"),
        ("false_negatives", "min"),
        ("accelerometer_mse", "min"),
        ("root_mean_squared_error", "min"),
        ("binary_crossentropy", "min"),
        ("kl_divergence", "min"),
        ("squared_hinge", "min"),
        ("temperature", None),
    ],
)
def test_direction_of_name(name, direction):
    assert direction_of_name(name) == direction


def test_directions_agree_with_those_keras_states():
    compared = 0
    with oracle() as keras:
        shapes = {"num_classes": 2, "target_class_ids": [0], "precision": 0.5, "recall": 0.5}
        for kind in vars(keras.metrics).values():
            if not (isinstance(kind, type) and issubclass(kind, keras.metrics.Metric)):
                continue
            wanted = inspect.signature(kind.__init__).parameters
            try:
                metric = kind(**{name: shapes[name] for name in wanted if name in shapes})
            except (TypeError, ValueError):
                continue
            stated = {"up": "max", "down": "min"}.get(getattr(metric, "_direction", None))
            named = direction_of_name(metric.name)
            assert stated is None or named in (stated, None), metric.name
            compared += stated is not None and named is not None
    assert compared > 25
