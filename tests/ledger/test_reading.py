"""Readings: the value, its parts and its error, and one honest sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.ledger.facts import Facts, LayerMode, Rows
from verax.ledger.reading import Part, Reading, format_number
from verax.ledger.tally import Tally

FOUR = Tally.of(np.array([0.0, 1.0, 1.0, 2.0]))  # mean 1, standard error sqrt(2/3)/2
TRAINING = Rows("training rows", 4, 4)
DROP = LayerMode("dropout", "drop", "train")
NORM = LayerMode("batch_statistics", "norm", "train")


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            Facts(rows=TRAINING),
            "loss 1.0000 ± 0.4082 = mean over 4 training rows, at the weights as they are now, "
            "no layer depends on the mode.",
        ),
        (
            Facts(rows=TRAINING, params="each step's own", draws="as drawn", modes=(NORM, DROP)),
            "loss 1.0000 ± 0.4082 = mean over 4 training rows, each row at its own step's weights, before the update, "
            "training mode (each batch's own statistics, dropout on).",
        ),
        (
            Facts(
                rows=Rows("validation rows", 4, 9),
                params="the end of epoch 3",
                modes=(LayerMode("batch_statistics", "norm", "infer"), LayerMode("dropout", "drop", "infer")),
            ),
            "loss 1.0000 ± 0.4082 = mean over 4 validation rows of 9, at the weights of the end of epoch 3, "
            "inference mode (moving averages, dropout off).",
        ),
        (
            Facts(modes=(LayerMode("batch_statistics", "norm", "infer", "frozen"), DROP)),
            "loss 1.0000 ± 0.4082 = mean over rows, at the weights as they are now, "
            "mixed modes (moving averages (frozen), dropout on).",
        ),
        (
            Facts(modes=(LayerMode("dropout", "body/drop", "infer", "forced"),)),
            "loss 1.0000 ± 0.4082 = mean over rows, at the weights as they are now, "
            "inference mode (dropout off (forced by a call: body/drop)).",
        ),
        (
            Facts(modes=(LayerMode("custom:mine", "mine", "train"), DROP), draws="fresh"),
            "loss 1.0000 ± 0.4082 = mean over rows, at the weights as they are now, "
            "training mode (mine in training mode, dropout on), with fresh draws.",
        ),
        (
            Facts(
                average="weighted mean over rows",
                weights="sample weights and class weights",
                objective="label smoothing 0.1",
                view="augmented",
                averaged="EMA",
                dtype="bfloat16",
                clipped=1200,
            ),
            "loss 1.0000 ± 0.4082 = weighted mean over rows, at the weights as they are now, no layer depends on the "
            "mode, of label smoothing 0.1, augmented rows, rows weighted by sample weights and class weights, weights "
            "averaged by EMA, computed in bfloat16, 1,200 predictions clipped at 1e-7 (no logits stand behind them).",
        ),
    ],
)
def test_the_sentence_says_every_fact(facts: Facts, sentence: str):
    assert str(Reading.of_tally("loss", FOUR, facts)) == sentence


def test_the_sentence_tells_penalties_apart():
    parts = [Part("out", FOUR), Part("dense/kernel", Tally.of(np.full(4, 0.25)), kind="penalty")]
    both = Reading.of_parts("loss", parts, Facts(terms=("data", "penalties"), rows=TRAINING))
    assert str(both).startswith("loss 1.2500 ± 0.4082 (data 1.0000 + penalties 0.2500) = mean over 4 training rows")


def test_a_number_without_an_error_claims_none():
    assert str(Reading("auc", 0.75, math.nan, Facts(average="counts over all rows", rows=TRAINING))) == (
        "auc 0.7500 = counts over all 4 training rows, at the weights as they are now, no layer depends on the mode."
    )


def test_parts_add_with_their_coefficients():
    ten = Tally.of(np.array([8.0, 12.0]))
    parts = [Part("a", FOUR), Part("b", ten, coefficient=0.5), Part("w", Tally.of(np.full(4, 0.125)), kind="penalty")]
    both = Reading.of_parts("loss", parts, Facts(terms=("data", "penalties")))
    assert both.value == 1.0 + 0.5 * 10.0 + 0.125
    assert (both.data, both.penalties) == (6.0, 0.125)
    assert float(both) == both.value
    # One set of rows: the parts' errors may go together, so they add as bounds; a penalty has none.
    assert both.stderr == pytest.approx(FOUR.stderr + 0.5 * ten.stderr)
    assert (both.sum, both.weight) == (4.0 + 0.5 * 20.0, 4.0)
    assert both.parts["b"].value == 10.0


def test_a_summed_part_is_a_sum_with_the_error_of_a_sum():
    part = Part("out", FOUR, average="sum")
    assert part.value == 4.0
    assert part.stderr == pytest.approx(4 * FOUR.stderr)


def test_a_metrics_tally_is_its_own_sum_and_weight():
    reading = Reading.of_tally("accuracy", FOUR, Facts(terms=("metric",)), direction="max")
    assert (reading.value, reading.sum, reading.weight, reading.direction) == (1.0, 4.0, 4.0, "max")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_formatted_number_is_near_the_number(value: float):
    assert float(format_number(value)) == pytest.approx(value, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.15234, "0.1523"), (0.0, "0.0000"), (-0.5, "-0.5000"), (0.000999, "9.9900e-04"), (float("nan"), "nan")],
)
def test_numbers_as_a_person_reads_them(value: float, text: str):
    assert format_number(value) == text
