"""The table and the plain data: golden texts, and amounts that add up as they are shown."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.ledger.planted import CAUSES, LAG, digits, hostile, planted, two_outputs
from verax.ledger.amounts import Scale, amounts_of, lag_of, penalty_sentence
from verax.ledger.chain import Gap
from verax.ledger.reading import Part
from verax.ledger.report import split_amounts, table, to_dict
from verax.ledger.tally import Tally

DIGITS = """\
loss                    1.3151  1,000 training rows
  penalties, net       -0.0212                   ▐│
  weights moved        -0.1513               █████│
  fitted draws         +0.0565 ± 0.0191           │██
  dropout              -0.2600 ± 0.0141  █████████│
  batch statistics     -0.0434                  ▐█│
  moving averages lag  +0.7488                    │█████████████████████████
  different rows       +0.0111 ± 0.0305           │▌
val_loss                1.6556  200 validation rows
gap                    +0.3405  residual {residual}
± is one standard error.
The penalty is in both numbers (0.4561 and 0.4349): it explains -0.0212 of the
gap.
Lag most: conv1/bn (momentum 0.99, 45 updates seen, 459 needed), conv2/bn
(momentum 0.9, 45 updates seen, 44 needed).

val_loss is 0.3405 above loss: the moving averages lag behind the weights
(+0.7488), dropout is on in training and off in inference (-0.2600) and the
weights moved while the number was being averaged (-0.1513). The rows differ by
+0.0111 (95 % interval -0.0487 to +0.0709), no more than sampling noise, so this
is bookkeeping, with no sign of overfitting.
- moving averages lag: model.recalibrate(x) sets them to the present weights; or
  train with a smaller momentum (0.90 would have caught up in the 45 updates
  seen; 0.99 needs 459)
- dropout: nothing is wrong; to compare in inference mode, model.evaluate on the
  training rows
- weights moved: nothing is wrong; for the number at the end of the epoch,
  model.evaluate on the training rows"""

TWO = """\
                    total             digit  is_even
loss               0.9000            0.5000   0.3000
  penalties, net  -0.0100
  weights moved   -0.1200           -0.1000  -0.0200
  dropout         -0.0600 ± 0.0150  -0.0500  -0.0100
  different rows  +0.2500 ± 0.0700  +0.2000  +0.0500
val_loss           0.9600            0.5500   0.3200
gap               +0.0600           +0.0500  +0.0200"""

ASCII = """\
loss               0.5000  1,000 training rows
  weights moved   -0.2000           #################|
  different rows  +0.2000 ~ 0.0100                   |#################
val_loss           0.5000  200 validation rows"""


def test_a_real_gap():
    assert table(digits(), ascii=False) == DIGITS.format(residual=f"{digits().residual:.1e}")


def test_two_outputs_have_a_column_each():
    assert table(two_outputs(), ascii=False).startswith(TWO)


def test_without_unicode():
    gap = planted(0.5, ("moved", -0.2), ("rows", 0.2, 0.01))
    text = table(gap, ascii=True)
    assert text.startswith(ASCII)
    assert text.isascii()


def test_print_falls_back_where_the_terminal_must(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert str(digits()).isascii()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert "█" in str(digits())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("gap", [digits(), two_outputs(), hostile()], ids=["digits", "two", "hostile"])
def test_no_line_is_wider_than_asked(gap: Gap, width: int):
    assert max(map(len, table(gap, width).splitlines())) <= width


def test_many_outputs_stand_in_blocks_that_fit():
    columns = {f"output_{i}": planted(0.5, ("moved", 0.1 * i), ("rows", 0.1, 0.1)) for i in range(9)}
    text = table(planted(4.5, ("moved", 3.6), ("rows", 0.9, 0.3), columns=columns), ascii=False)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("  total  ") == 3
    assert all(text.count(name) == 1 for name in columns)


def test_weighted_outputs_say_how_they_are_added():
    def weighted(one: float, other: float) -> str:
        gap = two_outputs()
        tally = Tally.of(np.ones(3))
        parts = {"digit": Part("digit", tally, one), "is_even": Part("is_even", tally, other)}
        first = replace(gap.links[0], before=replace(gap.train, parts=parts))
        return table(replace(gap, links=(first, *gap.links[1:])))

    assert "data loss =" not in weighted(1.0, 1.0)
    assert "The total's data loss = 1 digit + 0.25 is_even." in weighted(1.0, 0.25)


def test_what_rounds_to_nothing_is_counted():
    gap = planted(1.0, ("moved", 1e-6), ("batch", 2e-6), ("averages", 0.5), ("rows", 0.0, 0.1))
    text = table(gap)
    assert "2 causes of less than 0.0001 are not shown: weights moved, batch statistics." in text
    assert "different rows" in text  # its noise shows


def test_penalties_in_one_number():
    gap = planted(1.0, ("rows", 0.1, 0.2), penalties=(0.25, 0.0))
    assert (
        penalty_sentence(gap) == "The penalty is in both numbers (0.2500 and 0.0000): it explains -0.2500 of the gap."
    )
    one = Gap(planted(1.0, ("rows", 0.1, 0.2), penalties=(0.25, 0.2)).links[:2])
    assert penalty_sentence(one) == "The penalty (0.2500) is in loss and not in val_loss."
    assert penalty_sentence(planted(1.0, ("rows", 0.1, 0.2))) == ""


def test_a_sample_a_grade_and_notes_are_told():
    gap = planted(1.0, ("averages", 0.5, 0.1), sample="10 of 45 batches", grade="not separated: x", notes=("A note.",))
    text = table(gap)
    assert "The causes were measured on 10 of 45 batches." in text
    assert "Grade: not separated: x." in text
    assert "A note." in text


def test_layers_that_lag_are_told_once_the_worst_first():
    gap = planted(1.0, ("batch", 0.1), ("averages", 0.5), detail={"batch": LAG})
    assert [(one["path"], one["off"]) for one in lag_of(gap)] == [("conv1/bn", 0.64), ("conv2/bn", 0.07)]


def test_no_link_is_no_table():
    assert str(Gap(())) == "The two numbers measured the same: there is no gap to explain."


# ---- numbers as they are shown ---------------------------------------------------------------------------------------

STEPS = [key for key in CAUSES if key != "rows"]


@given(
    st.floats(1e-7, 1e9),
    st.lists(st.tuples(st.sampled_from(STEPS), st.floats(-1.0, 1.0)), unique_by=lambda s: s[0]),
    st.floats(-1.0, 1.0),
)
def test_amounts_as_shown_add_up_or_the_rounding_is_told(start: float, steps: list[tuple[str, float]], rows: float):
    order = list(CAUSES)
    steps = sorted(((k, c * start) for k, c in steps), key=lambda s: order.index(s[0]))
    gap = planted(start, *steps, ("rows", rows * start, 0.0))
    scale, (shown, hidden) = Scale.of(gap), split_amounts(gap)
    text = table(gap, ascii=True)
    as_shown = [scale.signed(a.change) for a in shown]
    assert all(number in text for number in as_shown)
    assert {a.title for a in (*shown, *hidden)} == {a.title for a in amounts_of(gap)}
    total = sum(round(float(n) / scale.unit) for n in as_shown)
    told = re.search(r"as shown they add up\s+to\s+(\S+)\.\n", text)
    if told:
        assert round(float(told[1]) / scale.unit) == total != scale.steps(gap.total)
    else:
        assert total == scale.steps(gap.total)
    body = [line for line in text.splitlines() if line.startswith("  ")][: len(as_shown)]
    assert len({line.index(n) + len(n) for n, line in zip(as_shown, body, strict=True)}) <= 1


@pytest.mark.parametrize(
    ("values", "changes", "expected"),
    [
        ([1.3151], [0.5], "1.3151"),
        ([0.012345], [], "0.0123"),
        ([0.0012345], [], "0.001234"),
        ([3.21e-6], [], "3.2100e-06"),
        ([12345.678], [], "12345.7"),
        ([123.456], [], "123.456"),
        ([2.5e11], [], "2.5000e+11"),
        ([0.5], [2e-5], "0.500000"),
        ([0.5], [1e-9], "0.5000"),
        ([0.0], [], "0.0000"),
    ],
)
def test_numbers_of_one_gap_share_their_decimals(values: list[float], changes: list[float], expected: str):
    assert Scale.fit(values, changes).number(values[0]) == expected


def test_nothing_has_no_sign():
    assert Scale().signed(-1e-9) == "0.0000"
    assert Scale().signed(math.nan) == "nan"
    assert Scale().signed(math.inf) == "+inf"


def test_two_layers_of_ones_own_are_two_amounts():
    gap = planted(1.0, ("dropout", 0.1), ("noise", 0.2), ("rows", 0.3, 0.1))
    assert [a.title for a in amounts_of(gap)] == ["dropout", "noise", "different rows"]
    assert len(gap.by_cause()) == 2


def test_skipped_rows_are_not_other_rows():
    skipped, other = amounts_of(planted(1.0, ("skipped", 0.1), ("rows", 0.2, 0.1)))
    assert not skipped.of_rows
    assert other.of_rows


# ---- rich and plain data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [digits(), two_outputs(), hostile()], ids=["digits", "two", "hostile"])
def test_rich_says_the_same(gap: Gap):
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=False).print(gap)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == table(gap, ascii=False).splitlines()


def test_rich_has_colours_and_no_markup_of_ours():
    out = io.StringIO()
    gap = planted(1.0, ("custom", 0.5), paths={"custom": "[red]x[/red]"})
    Console(file=out, width=80, force_terminal=True, color_system="truecolor").print(gap)
    assert "\x1b[" in out.getvalue()
    assert "[red]x[/red]" in out.getvalue()


def bad(value: Any) -> Any:
    raise AssertionError(f"{value} is not JSON")


@pytest.mark.parametrize("gap", [digits(), two_outputs(), hostile(), Gap(())], ids=["digits", "two", "hostile", "none"])
def test_json_is_the_dict(gap: Gap):
    assert json.loads(gap.to_json(), parse_constant=bad) == gap.to_dict()


def test_numbers_survive_json_exactly():
    gap = planted(0.1 + 0.2, ("moved", 1 / 3), ("rows", 1e-17, math.nan))
    told = json.loads(gap.to_json(None), parse_constant=bad)
    assert told["train"]["value"] == gap.train.value
    assert told["total"] == gap.total
    assert [link["change"] for link in told["links"]] == [link.change for link in gap.links]
    assert told["links"][-1]["stderr"] is None


def test_a_number_that_is_none_is_null():
    assert json.loads(planted(math.nan, ("moved", math.inf)).to_json(), parse_constant=bad)["total"] is None


def test_the_keys_are_stable():
    told = to_dict(two_outputs())
    assert list(told) == [
        "train", "validation", "total", "residual", "grade", "sample", "notes", "penalties", "links", "amounts",
        "verdict", "columns",
    ]  # fmt: skip
    assert list(told["columns"]) == ["digit", "is_even"]
    assert list(told["verdict"]) == ["kind", "meaning", "sentence", "line", "advice"]
    assert list(told["links"][0]) == [
        "cause", "title", "sentence", "fact", "before", "after", "change", "stderr", "reading", "detail",
    ]  # fmt: skip
