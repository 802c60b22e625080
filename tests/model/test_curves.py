"""history.plot: the curves shown, and the honest one beside them."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from tests.model.twins import rows
from verax import layers
from verax.callbacks.curves import honest
from verax.errors import UnknownNameError

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def fitted():
    verax.utils.set_random_seed(1)
    x, y = rows(96), rows(96, 1, seed=1)
    model = verax.Sequential(
        [verax.Input((4,)), layers.Dense(8, "relu", kernel_regularizer="l2"), layers.Dropout(0.4), layers.Dense(1)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    history = model.fit(
        x, y, epochs=3, validation_data=(rows(40, seed=2), rows(40, 1, seed=3)), verbose=0, explain="epoch"
    )
    return model, history, x, y


@pytest.mark.parametrize("metric", ["loss", "mae"])
def test_the_honest_number_is_what_evaluate_gives_on_the_training_rows(fitted, metric):
    model, history, x, y = fitted
    measured = model.evaluate(x, y, verbose=0, return_dict=True)[metric]
    assert honest(history.gap(metric)) == pytest.approx(measured, rel=1e-5)


def test_three_curves_with_a_point_for_each_epoch(fitted):
    _, history, _, _ = fitted
    lines = history.plot().get_lines()
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3]] * 3
    np.testing.assert_array_equal(lines[0].get_ydata(), history.history["loss"])
    np.testing.assert_array_equal(lines[1].get_ydata(), history.history["val_loss"])
    assert "measured as validation is" in lines[2].get_label()


def test_without_validation_one_curve(fitted):
    model, _, x, y = fitted
    assert len(model.fit(x, y, epochs=2, verbose=0).plot("mae").get_lines()) == 1


def test_an_unknown_name_is_refused_with_the_nearest(fitted):
    with pytest.raises(UnknownNameError, match="'mae'"):
        fitted[1].plot("mea")
