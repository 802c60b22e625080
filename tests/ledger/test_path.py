"""A path changes one fact at a time, in one order, and touches nothing that is the same at both ends."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.errors import ChainError
from verax.ledger.causes import Cause
from verax.ledger.facts import Facts, LayerMode, Rows
from verax.ledger.path import EFFECT_ORDER, path

LAYERS = [
    ("augmentation", "flip"),
    ("dropout", "a"),
    ("dropout", "b"),
    ("noise", "n"),
    ("stochastic_depth", "s"),
    ("custom:block/mine", "block/mine"),
    ("custom:yours", "yours"),
    ("batch_statistics", "norm1"),
    ("batch_statistics", "norm2"),
]

#: The order of the design, up to the row link; what was taken off comes back after it, the last first.
ORDER = [
    "terms", "objective", "params", "draws", "view", *(f"mode:{e}" for e in EFFECT_ORDER), "weights", "average",
    "averaged", "dtype", "rows:skipped", "rows",
]  # fmt: skip
BACK = ["rows:skipped", "average", "weights", "objective", "terms"]
EVEN, UNEVEN = ("mean over rows", "weighted mean over rows"), ("mean of batches", "last batch", "smoothed by 0.98")
SHARE = Rows("validation rows", 4, 7, "the share of rank 0 of 2")


@st.composite
def ends(draw: st.DrawFn) -> tuple[Facts, Facts]:
    """A training reading and a validation reading of one model: any facts, but the layers are the same ones."""

    def one_of(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    first, last = [], []
    for effect, name in draw(st.lists(st.sampled_from(LAYERS), unique=True)):
        state, why = one_of("train", "infer"), one_of("asked", "forced", "frozen")
        first.append(LayerMode(effect, name, state, why))
        last.append(LayerMode(effect, name, one_of(state, "infer"), one_of(why, "asked")))
    penalties = one_of((), ("penalties",))
    always = one_of(False, True)  # a layer may draw in both modes
    first_draws, last_draws = (always or any(_draws(m) for m in modes) for modes in (first, last))
    of = draw(st.integers(1, 50))
    start = Facts(
        terms=("data", *one_of(penalties, ())),
        objective=one_of("plain", "label smoothing 0.1", "clipped"),
        params=one_of("each step's own", "now"),
        draws=one_of("as drawn", "fresh") if first_draws else "none",
        view=one_of("plain", "augmented"),
        modes=tuple(sorted(first)),
        weights=one_of("none", "sample weights", "class weights"),
        average=one_of(*EVEN, *UNEVEN),
        dtype=one_of("float32", "bfloat16"),
        rows=Rows("training rows", draw(st.integers(1, of)), of),
        clipped=draw(st.integers(0, 3)),
    )
    end = Facts(
        terms=("data", *penalties),
        objective=one_of("plain", "label smoothing 0.1"),
        params=one_of("the end of epoch 1", "now"),
        draws="fresh" if last_draws else "none",
        modes=tuple(sorted(last)),
        weights=one_of("none", "sample weights", "class weights"),
        average=one_of(*EVEN, *UNEVEN),
        averaged=one_of("raw", "EMA"),
        rows=one_of(start.rows, Rows("validation rows", 7, 7), SHARE),
        clipped=draw(st.integers(0, 3)),
    )
    return start, end


def _draws(mode: LayerMode) -> bool:
    return mode.state == "train" and mode.effect != "batch_statistics"


@given(ends())
def test_a_path_goes_from_end_to_end_one_fact_at_a_time(both: tuple[Facts, Facts]):
    start, end = both
    steps = path(start, end)
    assert steps[0] == start
    assert not steps[-1].differences(end)
    for before, after in itertools.pairwise(steps):
        (change,) = before.differences(after)
        assert Cause.of(change) in Cause


@given(ends())
def test_a_path_has_the_order_of_the_design(both: tuple[Facts, Facts]):
    steps = path(*both)
    changed = [before.differences(after)[0].fact for before, after in itertools.pairwise(steps)]
    ranks = [ORDER.index("mode:custom" if fact.startswith("mode:custom") else fact) for fact in changed]
    there = 0
    while there < len(ranks) and (there == 0 or ranks[there] >= ranks[there - 1]):
        there += 1
    back = changed[there:]
    assert back == sorted(back, key=BACK.index)
    assert changed.count("rows") <= 1
    # Twice in a row: batch statistics (to the population's, then to the moving averages), and what is taken off and put
    # on again with nothing between.
    twice = {fact for fact, after in itertools.pairwise(changed) if fact == after}
    assert twice <= {"mode:batch_statistics", *BACK}


@given(ends())
def test_a_path_does_not_touch_what_is_the_same(both: tuple[Facts, Facts]):
    start, end = both
    steps = path(start, end)
    for one in fields(Facts):
        shed = "terms", "draws", "clipped", *(("average",) if not end.even else ())
        if getattr(start, one.name) == getattr(end, one.name) and one.name not in shed:
            assert {getattr(step, one.name) for step in steps} == {getattr(start, one.name)}
    same = {
        m for m in start.modes if any((m.effect, m.path, m.state) == (e.effect, e.path, e.state) for e in end.modes)
    }
    for step in steps:
        states = {(m.effect, m.path): m.state for m in step.modes}
        assert all(states[m.effect, m.path] == m.state for m in same)


@given(ends())
def test_what_is_taken_off_is_off_while_the_rows_change(both: tuple[Facts, Facts]):
    start, end = both
    steps = path(start, end)
    for before, after in itertools.pairwise(steps):
        if before.differences(after)[0].fact == "rows":
            assert "penalties" not in before.terms
            assert before.objective == "plain" or start.objective == end.objective
            assert before.weights == "none" or start.weights == end.weights
            assert before.even
            assert after.even


@given(ends())
def test_draws_are_told_as_long_as_something_draws(both: tuple[Facts, Facts]):
    for step in path(*both)[1:-1]:
        if step.draws == "fresh" and step.modes != both[0].modes:
            assert any(_draws(m) for m in step.modes)


def test_equal_facts_are_a_path_of_one_step():
    assert path(Facts(), Facts()) == [Facts()]
    assert path(Facts(), Facts(clipped=3)) == [Facts()]


def test_batch_statistics_go_by_the_population():
    start = Facts(modes=(LayerMode("batch_statistics", "norm", "train"),))
    end = Facts(modes=(LayerMode("batch_statistics", "norm", "infer"),))
    assert [step.modes[0].state for step in path(start, end)] == ["train", "population", "infer"]
    frozen = Facts(modes=(LayerMode("batch_statistics", "norm", "infer", "frozen"),))
    assert len(path(frozen, end)) == 1


def test_an_end_that_no_fact_leads_to_is_refused():
    with pytest.raises(ChainError, match="does not reach it"):
        path(Facts(), Facts(modes=(LayerMode("dropout", "new", "train"),)))


def test_uneven_averages_are_shed_at_both_ends():
    start = Facts(average="smoothed by 0.98", params="each step's own", rows=Rows("training rows", 9, 9))
    end = Facts(average="mean of batches", params="now", rows=Rows("validation rows", 7, 7))
    assert [(f.params, f.average, f.rows.label) for f in path(start, end)[1:]] == [
        ("now", "smoothed by 0.98", "training rows"),
        ("now", "mean over rows", "training rows"),
        ("now", "mean over rows", "validation rows"),
        ("now", "mean of batches", "validation rows"),
    ]
    even = [f.average for f in path(start, end.but(average="weighted mean over rows"))[1:]]
    assert even == ["smoothed by 0.98", "weighted mean over rows", "weighted mean over rows"]
    weighted = [f.average for f in path(start.but(average="weighted mean over rows"), end)[1:]]
    assert weighted == ["weighted mean over rows", "weighted mean over rows", "mean of batches"]


@pytest.mark.parametrize("average", UNEVEN)
def test_which_averages_are_even(average: str):
    assert not Facts(average=average).even
    assert all(Facts(average=one).even for one in (*EVEN, "counts over rows", "sum over rows"))


def test_a_part_chosen_for_a_reason_is_met_after_the_whole():
    start = Facts(rows=Rows("training rows", 9, 9))
    steps = path(start, Facts(rows=SHARE))
    assert [str(f.rows) for f in steps] == [
        "9 training rows",
        "7 validation rows",
        "4 validation rows of 7, the share of rank 0 of 2",
    ]
    left_out = Rows("validation rows", 4, 7)  # chosen for no reason: the rows are what they are
    assert [f.rows for f in path(start, Facts(rows=left_out))] == [start.rows, left_out]
    assert SHARE.complete() == Rows("validation rows", 7, 7)
