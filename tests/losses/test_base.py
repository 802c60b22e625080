"""What every loss shares: rows, user functions, weights, masks, checks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle import oracle
from verax import losses
from verax.errors import DataError, InputError, ShapeError
from verax.losses.base import spread

RNG = np.random.default_rng(1)


def test_rows_of_one_value_each_have_their_own_loss_and_weight():
    t, p, w = np.zeros(3, "float32"), np.array([1, 2, 3], "float32"), np.array([1, 0, 2], "float32")
    loss = losses.MeanSquaredError(reduction="none")
    assert loss(t, p).tolist() == [1, 4, 9]
    assert loss(t, p, sample_weight=w).tolist() == [1, 0, 18]


def test_a_row_weight_counts_for_each_of_its_tokens():
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    t, p = np.zeros((2, 3, 1), "float32"), np.ones((2, 3, 1), "float32")
    assert float(loss(t, p, sample_weight=[1.0, 2.0])) == 1.0


def test_a_masked_value_does_not_count_even_where_it_is_nan():
    p = np.array([[1.0], [np.nan]], "float32")
    assert float(losses.MeanSquaredError()(np.zeros((2, 1)), p, mask=[True, False])) == 1.0


@pytest.mark.parametrize("mask", [[False, False], [0.0, 0.0]])
def test_nothing_counted_gives_zero(mask):
    assert float(losses.MeanSquaredError()(np.zeros((2, 1)), np.ones((2, 1)), mask=mask)) == 0.0


def test_weights_that_fit_nothing_are_refused():
    with pytest.raises(ShapeError, match=r"weights of shape \(3,\), values of shape \(2,\)") as error:
        losses.MeanSquaredError()(np.zeros((2, 1)), np.ones((2, 1)), sample_weight=np.ones(3))
    assert "Give weights of shape (2,)" in str(error.value)
    assert spread(np.ones((2, 1)), jnp.zeros(2)).shape == (2,)
    assert spread(2, jnp.zeros((2, 3))).shape == (2, 3)


@pytest.mark.parametrize(
    "fn",
    [
        lambda t, p: jnp.mean((t - p) ** 2, axis=-1),
        lambda t, p: (t - p) ** 2,
        lambda t, p: jnp.mean((t - p) ** 2),
        lambda t, p: jnp.max(jnp.abs(t - p)),
    ],
    ids=["rows", "elements", "mean", "whole batch"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_user_functions_reduce_as_in_keras(fn, weighted):
    t, p = RNG.integers(0, 5, (6, 1)), RNG.normal(size=(6, 1)).astype("float32")
    w = RNG.uniform(0.5, 2, 6).astype("float32") if weighted else None
    with oracle() as keras:
        theirs = keras.src.losses.losses.LossFunctionWrapper(fn)
        expected = float(theirs(t, p, sample_weight=w))
    assert float(losses.get(fn)(t, p, sample_weight=w)) == pytest.approx(expected, rel=1e-5)


def test_a_subclass_writes_call_only():
    class Cubic(losses.Loss):
        def call(self, y_true, y_pred):
            return jnp.mean(jnp.abs(y_true - y_pred) ** 3, axis=-1)

    loss = Cubic()
    assert loss.name == "cubic"
    assert loss.link is None
    assert loss.clipped(0, 0) is None
    assert float(loss([[0]], [[2]])) == 8.0
    assert jax.jit(loss.per_example)(np.zeros((2, 1), int), np.ones((2, 1))).tolist() == [1, 1]


def test_values_for_other_rows_are_refused():
    loss = losses.get(lambda t, p: (t - p).sum(axis=0))
    with pytest.raises(ShapeError, match=r"values of shape \(3,\) for predictions of shape \(2, 3\)"):
        loss.per_example(np.zeros((2, 3)), np.zeros((2, 3)))


def test_dtype_is_that_of_the_values():
    assert losses.MeanSquaredError(dtype="float16")([[0]], [[1.0]]).dtype == jnp.float16


def test_reduction_and_axis_are_checked():
    with pytest.raises(InputError, match="reduction='average'"):
        losses.MeanSquaredError(reduction="average")
    with pytest.raises(InputError, match="axis 0 is the batch"):
        losses.CosineSimilarity(axis=0)


def test_shapes_are_never_broadcast():
    with pytest.raises(ShapeError) as error:
        losses.MeanSquaredError()(np.zeros((4, 1)), np.zeros((4, 5)))
    assert "targets of shape (4, 1), predictions of shape (batch, 5)" in str(error.value)
    assert "broadcasting" in str(error.value)


class TestCheck:
    @pytest.mark.parametrize(
        ("shape", "pred"), [((9,), (None, 1)), ((9, 1), (None,)), ((9, 4), (None, None)), ((9, 4), (3, 4, 1))]
    )
    def test_fitting_shapes_pass(self, shape, pred):
        losses.MeanAbsoluteError().check(np.zeros(shape), pred)

    @pytest.mark.parametrize(("shape", "pred"), [((9, 1), (None, 5)), ((9,), (None, 5)), ((9, 4, 2), (None, 4))])
    def test_other_shapes_are_named(self, shape, pred):
        with pytest.raises(ShapeError) as error:
            losses.MeanAbsoluteError().check(np.zeros(shape), pred)
        assert str(shape) in str(error.value)
        assert "(batch, " in str(error.value)
        assert "mean_absolute_error" in str(error.value)

    def test_the_fix_is_named(self):
        with pytest.raises(ShapeError, match="Give the last layer 1 units, or the targets 5 columns"):
            losses.Huber().check(np.zeros((9, 1)), (None, 5))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_target_that_is_no_number_is_named_by_row(self, bad):
        t = np.zeros((9, 2))
        t[[4, 7], 1] = bad
        with pytest.raises(DataError, match=f"{bad} in row 4; 2 of 9 rows"):
            losses.BinaryCrossentropy().check(t, (None, 2))

    def test_a_user_function_takes_any_targets(self):
        losses.get(lambda t, p: p).check(np.full((3, 7), np.nan), (None, 2))
