"""EpochRecord: the epoch's sums do not know how the epoch was cut into chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.ledger.record import EpochRecord
from verax.ledger.tally import Tally, fold


def steps_of(n: int, seed: int) -> list[dict[str, Any]]:
    """What ``n`` steps of batches of 8 measured: a loss, a metric of arrays, in float32 as a device gives them."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        values = rng.normal(size=8).astype(np.float32)
        counts = rng.integers(0, 9, 5).astype(np.float32)
        made.append({"loss": {"out": Tally.of(values)}, "penalty": {}, "metric": {"auc": (counts, counts[::-1])}})
    return made


def stacked(steps: list[Any]) -> Any:
    """Steps as one chunk: a leading step axis on every leaf."""
    first = steps[0]
    if isinstance(first, dict):
        return {key: stacked([step[key] for step in steps]) for key in first}
    if isinstance(first, Tally):
        return Tally(*(np.array(column, np.float32) for column in zip(*steps, strict=True)))
    if isinstance(first, tuple):
        return tuple(stacked(list(column)) for column in zip(*steps, strict=True))
    return np.stack(steps)


def record_of(steps: list[Any], cuts: list[int]) -> EpochRecord:
    record = EpochRecord(0, None, 0)
    for begin, end in zip([0, *cuts], [*cuts, len(steps)], strict=True):
        record.add(stacked(steps[begin:end]), np.arange(begin, end)[:, None])
    return record


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(np.all(np.asarray(one) == np.asarray(other)))


@given(st.integers(1, 20), st.integers(0, 3), st.data())
def test_the_folded_epoch_does_not_know_its_cuts(n: int, seed: int, data: st.DataObject):
    steps = steps_of(n, seed)
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    cut, whole, single = record_of(steps, cuts), record_of(steps, []), record_of(steps, list(range(1, n)))
    assert same(cut.folded(), whole.folded())
    assert same(cut.folded(), single.folded())
    assert cut.steps == n
    assert sum(len(rows) for rows in cut.rows if rows is not None) == n


@given(st.integers(1, 12), st.data())
def test_the_running_sums_are_those_of_the_steps_so_far(n: int, data: st.DataObject):
    steps = steps_of(n, 1)
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    record = record_of(steps, cuts)
    assert record.running["loss"]["out"].mean == pytest.approx(record.folded()["loss"]["out"].mean, rel=1e-12)
    began = cuts[-1] if cuts else 0
    for done, upto in enumerate(record.after_each_step(), start=began + 1):
        expected = fold(steps[:done])
        assert upto["loss"]["out"] == pytest.approx(expected["loss"]["out"], rel=1e-12)
        assert same(upto["metric"], expected["metric"])
    assert same(upto, record.folded()) or len(cuts) > 0
