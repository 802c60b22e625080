"""What is kept of a pass: every number exactly, and a sample that is uniform and bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from verax.errors import InputError
from verax.watch import Epoch, Measured, Step


def passed(n: int, seed: int = 0, size: int = 1, **bounds: int) -> Epoch:
    epoch = Epoch(**bounds)
    epoch._random = np.random.default_rng(seed)
    for i in range(n):
        place = epoch.place()
        epoch.add(Step(i, f"batch {i}", size=size), float(i), 8, 0.5 * i, place=place)
    return epoch


@pytest.mark.parametrize(("bounds", "kept"), [({"batches": 5}, 5), ({"batches": 64, "memory": 40}, 5)])
def test_every_batch_is_as_likely_in_the_sample(bounds: dict[str, int], kept: int):
    n, trials = 30, 3000
    counts = np.zeros(n)
    for seed in range(trials):
        epoch = passed(n, seed, size=8, **bounds)
        assert len(epoch.kept) == kept
        counts[[step.number for step in epoch.kept]] += 1
    expected = trials * kept / n
    # Drawn without replacement, so that counts vary by less than independent ones: n - 1 of them, times n / (n - kept).
    statistic = float(np.sum((counts - expected) ** 2 / expected)) * (n - 1) / (n - kept)
    assert 0.001 < stats.chi2.cdf(statistic, n - 1) < 0.999


@given(st.lists(st.integers(0, 50), max_size=120), st.integers(1, 20), st.integers(0, 200), st.integers(0, 2**16))
def test_the_sample_is_bounded_and_without_repetition(sizes: list[int], batches: int, memory: int, seed: int):
    epoch = Epoch(batches, memory)
    epoch._random = np.random.default_rng(seed)
    for i, size in enumerate(sizes):
        place = epoch.place()
        epoch.add(Step(i, None, size=size), 1.0, 4, place=place)
        assert len(epoch.kept) <= batches
        assert len(epoch.kept) == 1 or sum(step.size for step in epoch.kept) <= memory
    numbers = [step.number for step in epoch.sample()]
    assert numbers == sorted(set(numbers))
    if sizes:
        assert numbers
        assert epoch.sample(latest=True)[-1].number == len(sizes) - 1
        assert len(epoch.sample(latest=True)) <= batches + 8
    if len(sizes) <= batches and sum(sizes) <= memory:
        assert numbers == list(range(len(sizes)))


@given(st.lists(st.floats(-1e6, 1e6), max_size=700), st.integers(0, 700))
def test_every_number_is_kept_as_it_is(values: list[float], asked_at: int):
    calls: list[int] = []

    def read(numbers):
        calls.append(len(numbers))
        return [float(n) for n in numbers]

    epoch = Epoch(4, read=read)
    for i, value in enumerate(values):
        epoch.add(Step(i, None), value, i + 1, value / 2, place=epoch.place())
        if i == asked_at:  # a number may be asked for while the epoch runs
            assert epoch.values.tolist() == values[: i + 1]
    assert epoch.values.tolist() == values
    assert epoch.penalties.tolist() == [value / 2 for value in values]
    assert epoch.rows.tolist() == [i + 1 for i in range(len(values))]
    assert epoch.rows.dtype == np.int64
    assert sum(calls) == 2 * len(values)
    assert len(calls) <= len(values) // 256 + 2  # read many at a time


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**16))
def test_a_sample_with_the_latest_stands_for_all(n: int, batches: int, seed: int):
    epoch = passed(n, seed, batches=batches)
    steps = epoch.sample(latest=True)
    stands = epoch.stands_for(steps)
    drawn = [step.number < n - 8 for step in steps]
    assert [step.number for step in steps[-min(n, 8) :]] == list(range(max(n - 8, 0), n))
    if any(drawn) or n <= 8:
        assert stands.sum() == pytest.approx(n)
    if len(steps) == n:
        assert stands.tolist() == [1.0] * n
    assert epoch.latest is steps[-1]


def test_the_latest_take_a_quarter_of_the_memory():
    epoch = passed(20, size=8, batches=2, memory=64)
    assert [step.number for step in epoch.sample(latest=True)][-2:] == [18, 19]
    assert len(epoch.sample(latest=True)) <= 4


def test_the_sample_draws_from_a_generator_of_its_own():
    before = np.random.get_state()[1].copy()  # noqa: NPY002, that which programs share
    one, two = (passed(500, batches=8) for _ in range(2))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert [s.number for s in one.kept] == [s.number for s in two.kept]


def test_an_empty_epoch():
    epoch = Epoch()
    assert epoch.values.shape == epoch.penalties.shape == epoch.rows.shape == (0,)
    assert epoch.sample(latest=True) == []
    with pytest.raises(InputError, match="batches=0"):
        Epoch(0)


def test_a_mean_whose_rows_are_not_known():
    one = Measured.whole(0.5, 8, penalties={"l2": 0.1})
    assert one.sums.mean == 0.5
    assert (one.rows, one.sums.weight, one.sums.rows) == (8, 8.0, 1.0)
    assert Measured.whole(0.5, 8, weight=3.0).sums.weight == 3.0
