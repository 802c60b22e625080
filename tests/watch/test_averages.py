"""How a loop made its number: shares that add up to 1, and averages found again from what was printed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.errors import InputError
from verax.watch import BY_ROWS, LAST, MEAN, PER_ROW, SUM, averages, chosen_average

NAMES = [MEAN, BY_ROWS, LAST, SUM, PER_ROW, "last 3 batches", "smoothed by 0.9", "smoothed by .5"]
ROWS = st.lists(st.integers(1, 64), min_size=1, max_size=40)


@given(st.sampled_from(NAMES), ROWS)
def test_shares_are_of_one(name: str, rows: list[int]):
    found = averages.shares(name, rows)
    assert found.shape == (len(rows),)
    assert np.all(found >= 0)
    assert found.sum() == pytest.approx(1.0)


def as_loops_do(name: str, values: np.ndarray, rows: np.ndarray) -> float:
    """The number as a person's loop makes it, line by line."""
    if name == MEAN:
        return sum(values) / len(values)
    if name == BY_ROWS:
        return sum(v * n for v, n in zip(values, rows, strict=True)) / sum(rows)
    if name == SUM:
        return sum(values)
    if name == PER_ROW:
        return sum(values) / sum(rows)
    if name == LAST:
        return values[-1]
    if name.startswith("last "):
        return float(np.mean(values[-int(name.split()[1]) :]))
    beta, smoothed = float(name.split()[-1]), None
    for v in values:
        smoothed = v if smoothed is None else beta * smoothed + (1 - beta) * v
    return float(smoothed)


@given(st.sampled_from(NAMES), ROWS, st.integers(0, 2**16))
def test_a_number_is_what_a_loop_would_make(name: str, rows: list[int], seed: int):
    values = np.random.default_rng(seed).normal(1.0, 0.5, len(rows))
    assert averages.number(name, values, np.array(rows)) == pytest.approx(as_loops_do(name, values, np.array(rows)))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("smoothed by .5", "last 3 batches")])
@pytest.mark.parametrize("decimals", [4, 6])
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_an_average_is_recognized_from_what_was_printed(name: str, decimals: int, size: float):
    values = size * np.linspace(2.0, 0.3, 60) ** 2
    rows = np.array([32] * 59 + [5])
    exact = averages.number(name, values, rows)
    if size <= 1:  # of a float of millions all digits before the point are taken to be meant
        assert averages.recognized(float(f"{exact:.{decimals}e}"), values, rows) == name
    assert averages.recognized(f"{exact:.{decimals}e}", values, rows) == name
    assert averages.recognized(exact * 1.3, values, rows) != name


def test_zeros_at_the_end_of_a_string_count():
    values, rows = np.array([0.4, 0.604, 0.496]), np.array([8, 8, 8])  # mean 0.5, last 0.496
    assert averages.recognized(0.5, values, rows) == MEAN
    assert averages.recognized("0.500", values, rows) == MEAN
    assert averages.recognized("0.50", np.array([0.4, 0.604, 0.499]), rows) == MEAN
    assert averages.recognized("0.499", np.array([0.4, 0.61, 0.499]), rows) == LAST


def test_a_mean_that_was_added_up_in_float32_is_recognized():
    values = np.random.default_rng(0).normal(1, 0.3, 5000).astype("float32")
    total = np.float32(0)
    for v in values:
        total += v
    assert averages.recognized(float(total / np.float32(5000)), values.astype(float), np.full(5000, 8)) == MEAN


@pytest.mark.parametrize("name", ["mean", "last 0 batches", "last -1 batches", "smoothed by 1.5", "smoothed by 1", ""])
def test_a_name_that_is_none_is_refused(name: str):
    with pytest.raises(InputError, match="no average has this name"):
        averages.check(name)


def test_what_is_chosen():
    values, rows = np.array([0.9, 0.5, 0.31]), np.array([64, 64, 32])
    assert chosen_average(None, values, rows, "loss") == (MEAN, "")
    assert chosen_average(LAST, values, rows, "loss") == (LAST, "")
    assert chosen_average("0.570", values, rows, "loss") == (MEAN, "")
    assert chosen_average(0.31, values, rows, "loss") == (LAST, "")
    name, note = chosen_average(0.77, values, rows, "loss")
    assert name == MEAN
    assert "The loss 0.77 that was given is no usual average" in note
    assert "mean of batches 0.57, last batch 0.31" in note
    with pytest.raises(InputError, match="'mena'"):
        chosen_average("mena", values, rows, "loss")
