"""Verdicts over planted gaps: what dominates is named with its sign, and only what is known is said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.planted import CAUSES, LAG, digits, hostile, planted, two_outputs
from verax.ledger.amounts import amounts_of
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, bundle
from verax.ledger.facts import Facts, Rows
from verax.ledger.reading import Reading
from verax.ledger.verdict import Kind

BOOKKEEPING = [key for key in CAUSES if key != "rows"]
NAN = math.nan


@pytest.mark.parametrize("key", BOOKKEEPING)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_planted_cause_is_named_first_with_its_sign(key: str, sign: int):
    gap = planted(1.0, (key, 0.3 * sign, 0.01), ("rows", 0.01, 0.02))
    verdict = gap.verdict
    assert verdict.kind is Kind.BOOKKEEPING
    largest = max(amounts_of(gap), key=lambda a: abs(a.change))
    assert largest.cause is CAUSES[key]
    assert f"{largest.sentence} ({0.3 * sign:+.4f})" in verdict.sentence
    assert ("above" if sign > 0 else "below") in verdict.sentence
    assert f"{largest.title} {0.3 * sign:+.4f}" in verdict.line
    assert verdict.advice[0].startswith(largest.title)


def test_penalties_are_one_net_amount():
    gap = planted(1.5, ("rows", 0.0, 0.01), penalties=(0.9, 0.5))
    verdict = gap.verdict
    assert verdict.kind is Kind.BOOKKEEPING
    assert "changed (-0.4000)" in verdict.sentence
    assert "0.9000" not in verdict.sentence
    assert gap.by_cause()[Cause.PENALTIES] == pytest.approx(-0.4)


def test_a_real_gap_in_words():
    assert str(digits().verdict) == (
        "val_loss is 0.3405 above loss: the moving averages lag behind the weights (+0.7488), dropout is on in "
        "training and off in inference (-0.2600) and the weights moved while the number was being averaged (-0.1513). "
        "The rows differ by +0.0111 (95 % interval -0.0487 to +0.0709), no more than sampling noise, so this is "
        "bookkeeping, with no sign of overfitting."
    )
    assert digits().verdict.line == (
        "val_loss - loss = +0.3405: moving averages lag +0.7488, dropout -0.2600; no sign of overfitting"
    )


@pytest.mark.parametrize(
    ("steps", "direction", "kind", "said"),
    [
        ([("moved", -0.05), ("rows", 0.9, 0.1)], "min", Kind.OVERFITTING, "for the worse: this is overfitting"),
        ([("moved", -0.05), ("rows", -0.9, 0.1)], "max", Kind.OVERFITTING, "for the worse: this is overfitting"),
        ([("averages", 0.9), ("rows", 0.3, 0.1)], "min", Kind.MIXED, "a part of the gap is overfitting"),
        ([("moved", -0.9), ("rows", 0.3, 0.1)], "min", Kind.MIXED, "Training looked worse, and was better."),
        ([("averages", 0.9), ("rows", 0.03, 0.01)], "min", Kind.BOOKKEEPING, "little beside the bookkeeping"),
        ([("averages", 0.9), ("rows", 0.03, 0.1)], "min", Kind.BOOKKEEPING, "no sign of overfitting"),
        ([("averages", 0.9)], "min", Kind.BOOKKEEPING, "the same rows: none of it is overfitting"),
        ([("moved", -0.05), ("rows", -0.9, 0.1)], "min", Kind.ROWS, "for the better: no overfitting"),
        ([("moved", -0.05), ("rows", 0.9, 0.1)], "max", Kind.ROWS, "for the better: no overfitting"),
        ([("moved", -0.05), ("rows", 0.9, 0.1)], None, Kind.ROWS, "more than sampling noise."),
        ([("rows", 0.1, 0.1)], "min", Kind.NONE, "within sampling noise (95 % interval -0.0960 to +0.2960): no gap"),
        ([("moved", 0.0), ("rows", 0.0, 0.0)], "min", Kind.NONE, "are equal (1.0000): no gap to explain"),
        ([("moved", 3e-8), ("rows", 0.0, 0.0)], "min", Kind.NONE, "differ by float rounding (3e-08): no gap"),
        ([("moved", -0.5), ("averages", 0.51), ("rows", 0.0, 0.1)], "min", Kind.CANCELLING, "because causes cancel"),
        ([("averages", 0.3), ("rows", 0.2, 0.16)], "min", Kind.UNDECIDED, "only more validation rows can tell"),
        ([("moved", 0.1), ("rows", 0.5, NAN)], "min", Kind.UNDECIDED, "whether it is more than noise is not known"),
        ([("moved", 0.9), ("rows", 0.01, NAN)], "min", Kind.BOOKKEEPING, "is not known"),
    ],
)
def test_the_kind_follows_from_the_amounts(steps: list[tuple[object, ...]], direction: str, kind: Kind, said: str):
    verdict = planted(1.0, *steps, direction=direction).verdict
    assert said in verdict.sentence
    assert verdict.kind is kind


def test_a_better_accuracy_is_not_called_worse():
    gap = planted(0.7, ("dropout", 0.13, 0.01), ("rows", -0.01, 0.02), name="accuracy", direction="max")
    assert gap.verdict.sentence.startswith("val_accuracy is 0.1200 above accuracy (higher is better): dropout is on")
    assert gap.verdict.kind is Kind.BOOKKEEPING


def test_what_could_not_be_separated_is_not_given_a_cause():
    train = Facts(params="each step's own", rows=Rows("training rows", 90, 90))
    start = Reading("loss", 1.0, 0.01, train, direction="min")
    end = Reading("val_loss", 1.5, 0.02, Facts(rows=Rows("validation rows", 20, 20)), direction="min")
    verdict = bundle(start, end, "the data cannot be read again").verdict
    assert verdict.kind is Kind.UNDECIDED
    assert "several facts changed at once" in verdict.sentence
    assert "whether it is overfitting is not known" in verdict.sentence
    assert verdict.sentence.endswith("Not every cause could be separated: the data cannot be read again.")


def test_an_unknown_error_is_said():
    verdict = planted(1.0, ("averages", 0.5, NAN), ("rows", 0.0, 0.01)).verdict
    assert verdict.sentence.endswith("No standard error is known for moving averages lag.")


def test_what_is_noise_is_not_named():
    verdict = planted(1.0, ("moved", 0.5), ("draws", 0.2, 0.3), ("rows", 0.0, 0.01)).verdict
    assert "draws" not in verdict.sentence
    assert all("draws" not in line for line in verdict.advice)


def test_no_number_no_gap():
    verdict = planted(NAN, ("moved", 0.1), ("rows", 0.1, 0.1)).verdict
    assert verdict.kind is Kind.UNDECIDED
    assert verdict.sentence == "loss is nan and val_loss is nan: a gap between them has no amount."
    assert "TerminateOnNaN" in verdict.advice[0]


def test_no_link_no_gap():
    assert Gap(()).verdict.kind is Kind.NONE


def test_a_certain_cause_in_a_gap_within_noise_is_told():
    verdict = planted(1.0, ("custom", 0.3), ("rows", 0.0, 0.2)).verdict
    assert verdict.kind is Kind.NONE
    assert "What is certain all the same: block/mine behaves differently in training (+0.3000)." in verdict.sentence
    assert verdict.advice


def test_the_cure_for_lagging_averages_has_numbers():
    gap = planted(1.0, ("averages", 0.5), ("rows", 0.0, 0.01), detail={"averages": LAG})
    assert "0.90 would have caught up in the 45 updates seen; 0.99 needs 459" in gap.verdict.advice[0]


def test_numbers_of_one_name_are_told_by_their_order():
    gap = planted(1.0, ("dropout", -0.3, 0.01))
    assert gap.verdict.sentence.startswith("The second loss is 0.3000 below the first loss: dropout")


@pytest.mark.parametrize("gap", [digits(), two_outputs(), hostile()], ids=["digits", "two", "hostile"])
def test_the_line_is_one_line(gap: Gap):
    assert len(gap.verdict.line) <= 100
    assert "\n" not in gap.verdict.line


def test_a_kind_is_its_word_and_has_a_sentence():
    assert Kind.OVERFITTING == "overfitting"
    assert len({kind.sentence for kind in Kind}) == len(Kind)


CHANGES = st.floats(-2.0, 2.0, allow_nan=False)
ERRORS = st.one_of(st.just(0.0), st.just(NAN), st.floats(1e-3, 1.0))


@given(st.lists(st.tuples(st.sampled_from(BOOKKEEPING), CHANGES, ERRORS), unique_by=lambda s: s[0]), CHANGES, ERRORS)
def test_overfitting_is_said_only_where_the_rows_are_sure_to_be_worse(
    steps: list[tuple[str, float, float]], rows: float, stderr: float
):
    order = list(CAUSES)
    steps = sorted(steps, key=lambda s: order.index(s[0]))
    verdict = planted(3.0, *steps, ("rows", rows, stderr)).verdict
    said = verdict.kind in (Kind.OVERFITTING, Kind.MIXED)
    if said:
        assert rows - 1.96 * stderr > -1e-9
    assert said == ("overfitting, or validation rows of another kind" in verdict.sentence)
    assert verdict.sentence.endswith(".")
    assert len(verdict.line) <= 100
