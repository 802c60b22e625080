"""Tally and fold: any split of the rows, in any order, gives the same sums, and the right mean and error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from verax.ledger.tally import Tally, fold

# Halves up to 1,000: float64 adds, multiplies and squares them without rounding, so equal means equal.
exact = st.integers(-2000, 2000).map(lambda n: n / 2)
reals = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@st.composite
def rows(draw: st.DrawFn, elements: Any = exact, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values (rows, *axes) and weights >= 0 of the same shape, not all of them 0."""
    shape = (draw(st.integers(least, 30)), *draw(st.lists(st.integers(1, 3), max_size=2)))
    values = draw(hnp.arrays(np.float64, shape, elements=elements))
    weights = draw(hnp.arrays(np.float64, shape, elements=st.integers(0, 8).map(lambda n: n / 2)))
    weights.flat[0] += 1.0
    return values, weights


def pieces(draw: Any, n: int) -> list[np.ndarray]:
    """The rows 0 .. n-1 in any order, cut anywhere."""
    order = np.array(draw(st.permutations(range(n))), dtype=int)
    cuts = sorted(draw(st.sets(st.integers(1, n - 1), max_size=6))) if n > 1 else []
    return np.split(order, cuts)


@given(rows(), st.data())
def test_any_split_in_any_order_has_the_same_sums(given_rows: Any, data: st.DataObject):
    values, weights = given_rows
    parts = pieces(data.draw, len(values))
    assert fold([Tally.of(values[p], weights[p]) for p in parts]) == fold([Tally.of(values, weights)])
    assert fold([Tally.of(values[p]) for p in parts]) == fold([Tally.of(values)])
    mask = (weights != 0).astype(float)
    split = [Tally.of(values[p], weights[p], denominators=mask[p]) for p in parts]
    assert fold(split) == fold([Tally.of(values, weights, denominators=mask)])


@given(rows(elements=reals, least=2), st.data())
def test_any_split_of_any_floats_has_the_same_mean_and_error(given_rows: Any, data: st.DataObject):
    values, weights = given_rows
    whole = Tally.of(values, weights)
    split = fold([Tally.of(values[p], weights[p]) for p in pieces(data.draw, len(values))])
    scale = np.abs(values).max() + 1e-30
    assert split.mean == pytest.approx(whole.mean, abs=1e-12 * scale)
    assert split.stderr == pytest.approx(whole.stderr, rel=1e-6, abs=1e-6 * scale, nan_ok=True)


@given(hnp.arrays(np.float64, st.integers(2, 50), elements=reals))
def test_plain_rows_have_the_familiar_mean_and_error(values: np.ndarray):
    tally = Tally.of(values)
    scale = np.abs(values).max() + 1e-30
    assert tally.mean == pytest.approx(values.mean(), abs=1e-12 * scale)
    # From the sums, Σv² - 2mΣv + m²n cancels where the values are nearly alike: half the digits are left.
    assert tally.stderr == pytest.approx(values.std(ddof=1) / math.sqrt(len(values)), rel=1e-6, abs=1e-6 * scale)


@given(rows(elements=reals, least=2))
def test_weighted_rows_have_the_error_of_a_ratio(given_rows: Any):
    values, weights = given_rows
    v, u = (values * weights).reshape(len(values), -1).sum(1), weights.reshape(len(values), -1).sum(1)
    tally = Tally.of(values, weights)
    mean, n = v.sum() / u.sum(), int((u != 0).sum())
    scale = np.abs(values).max() + 1e-30
    assert tally.mean == pytest.approx(np.average(values, weights=weights), abs=1e-9 * scale)
    assert tally.rows == n
    if n < 2:
        assert math.isnan(tally.stderr)
    else:
        stderr = math.sqrt(n / (n - 1) * ((v - mean * u) ** 2).sum()) / u.sum()
        assert tally.stderr == pytest.approx(stderr, rel=1e-6, abs=1e-6 * scale)


@given(rows(least=2), st.sampled_from([0.25, 2.0, 16.0]))
def test_the_scale_of_the_weights_does_not_matter(given_rows: Any, factor: float):
    values, weights = given_rows
    one, two = Tally.of(values, weights), Tally.of(values, weights * factor)
    assert (one.mean, one.rows) == (two.mean, two.rows)
    assert one.stderr == pytest.approx(two.stderr, nan_ok=True)


@given(rows(least=2), st.integers(1, 5))
def test_rows_that_weigh_nothing_change_nothing(given_rows: Any, more: int):
    values, weights = given_rows
    padding = np.zeros((more, *values.shape[1:]))
    padded = Tally.of(np.concatenate([values, padding + 1e6]), np.concatenate([weights, padding]))
    assert padded == Tally.of(values, weights)


@given(rows(least=2))
def test_tokens_of_a_row_are_one_unit(given_rows: Any):
    """Two rows that repeat one token many times know no more than two rows with one token each."""
    values, _ = given_rows
    flat = values.reshape(len(values), -1)[:, 0]
    repeated = np.repeat(flat[:, None], 5, axis=1)
    assert Tally.of(repeated).mean == pytest.approx(Tally.of(flat).mean)
    assert Tally.of(repeated).stderr == pytest.approx(Tally.of(flat).stderr, rel=1e-6, abs=1e-4)
    assert Tally.of(repeated).rows == len(flat)


def test_the_error_is_what_a_bootstrap_finds():
    """Resampling the rows is another road to the same number: how much the ratio varies from sample to sample."""
    rng = np.random.default_rng(0)
    n = 400
    weights = rng.integers(1, 6, n).astype(float)
    values = rng.gamma(2.0, 1.0, n) + 0.3 * weights  # value and weight go together, as class weights do
    picks = rng.integers(0, n, (4000, n))
    means = (values * weights)[picks].sum(1) / weights[picks].sum(1)
    assert Tally.of(values, weights).stderr == pytest.approx(means.std(), rel=0.05)


def test_denominators_are_keras_sum_over_batch_size():
    values, weights, mask = np.array([1.0, 2.0, 4.0]), np.array([10.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0])
    tally = Tally.of(values, weights * mask, denominators=mask)
    assert tally.mean == (10.0 + 2.0) / 2
    assert (tally.weight, tally.rows) == (2.0, 2.0)


def test_nothing_weighed_has_no_mean_and_one_row_no_error():
    assert math.isnan(Tally.zero().mean)
    assert math.isnan(Tally.zero().stderr)
    assert math.isnan(Tally.of(np.array([3.0])).stderr)
    assert math.isnan(Tally.of(np.array([3.0]), np.array([0.0])).mean)
    assert Tally.of(np.array([3.0, 3.0])).stderr == 0.0


def test_rounding_never_makes_an_error_imaginary():
    alike = Tally.of(np.full(1000, 0.1, np.float32))
    assert alike.stderr == pytest.approx(0.0, abs=1e-4)


def test_zero_is_the_neutral_element():
    tally = Tally.of(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    assert tally + Tally.zero() == tally
    assert fold([tally, Tally.zero()]) == tally


def test_a_tally_adds_to_tallies_only():
    with pytest.raises(TypeError):
        Tally.zero() + 1.0  # type: ignore[operator]
    with pytest.raises(TypeError):
        Tally.zero() + tuple(Tally.zero())


# ---- fold ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=40), st.data())
def test_folding_scalars_is_exact_and_so_has_no_order(numbers: list[float], data: st.DataObject):
    shuffled = data.draw(st.permutations(numbers))
    assert fold(numbers) == fold(shuffled) == math.fsum(numbers)


def test_folding_loses_nothing_where_adding_does():
    numbers = [1e16, 1.0, -1e16]
    assert sum(numbers) == 0.0
    assert fold(numbers) == 1.0


def test_folding_is_in_float64():
    ones = [np.float32(2**24), np.float32(1.0)]
    assert ones[0] + ones[1] == 2**24
    assert fold(ones) == 2**24 + 1
    assert fold([np.full(2, 2**24, np.float32), np.ones(2, np.float32)]).tolist() == [2**24 + 1] * 2


def test_folding_keeps_the_structure():
    one = {"loss": {"a": Tally(*range(6))}, "metric": {"auc": np.arange(3), "pair": (1.0, np.ones(2))}}
    both = fold([one, one])
    assert both["loss"]["a"] == Tally(0, 2, 4, 6, 8, 10)
    assert isinstance(both["loss"]["a"], Tally)
    assert both["metric"]["auc"].tolist() == [0.0, 2.0, 4.0]
    assert both["metric"]["auc"].dtype == np.float64
    assert both["metric"]["pair"][0] == 2.0
    assert both["metric"]["pair"][1].tolist() == [2.0, 2.0]


def test_no_parts_cannot_be_folded():
    with pytest.raises(ValueError, match="no part"):
        fold([])
