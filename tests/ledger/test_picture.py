"""The waterfall: from one number to the other without a break, in SVG and with matplotlib."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from tests.ledger.planted import digits, hostile, planted, two_outputs
from verax.errors import MissingExtraError
from verax.ledger.chain import Gap
from verax.ledger.picture import Waterfall, svg


def drawn(gap: Gap) -> Waterfall:
    fall = Waterfall.of(gap)
    assert fall is not None
    return fall


@pytest.mark.parametrize("gap", [digits(), two_outputs(), hostile()], ids=["digits", "two", "hostile"])
def test_the_bars_lead_from_one_number_to_the_other(gap: Gap):
    fall = drawn(gap)
    assert fall.bars[0].start == gap.train.value
    assert fall.bars[-1].end == pytest.approx(gap.validation.value)
    for one, next_ in zip(fall.bars, fall.bars[1:], strict=False):
        assert one.end == next_.start


def test_penalties_are_one_bar():
    bars = drawn(digits()).bars
    assert [bar.title for bar in bars].count("penalties, net") == 1
    assert bars[0].end - bars[0].start == pytest.approx(0.4349 - 0.4561)


@given(st.floats(1e-9, 1e9), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(0.0, 1.0))
def test_all_is_inside_the_axis_and_its_ticks_are_few(start: float, moved: float, rows: float, stderr: float):
    fall = drawn(planted(start, ("moved", moved * start), ("rows", rows * start, stderr * start)))
    assert fall.low < min(fall.ends)
    assert max(fall.ends) < fall.high
    assert all(fall.low < x < fall.high for bar in fall.bars for x in bar.reach)
    assert 2 <= len(fall.ticks) <= 7
    assert all(fall.low <= tick <= fall.high for tick in fall.ticks)


def test_places_in_the_picture_are_inside_it():
    places = [float(p) for p in re.findall(r'(?:x|x1|x2|cx)="([-\d.]+)%"', svg(digits()))]
    assert len(places) > 20
    assert 0 <= min(places) <= max(places) <= 100


def test_nothing_to_draw_is_no_picture():
    assert svg(Gap(())) == ""
    assert svg(planted(math.nan, ("moved", 0.1))) == ""


def texts(gap: Gap) -> list[str]:
    figure = gap.plot().figure
    return [t.get_text() for ax in figure.axes for t in ax.findobj(lambda a: hasattr(a, "get_text"))]


def test_matplotlib_says_the_same():
    found = texts(digits())
    assert {"loss", "val_loss", "dropout", "-0.2600 ± 0.0141 better", "+0.7488 worse", "1.3151"} <= set(found)


@pytest.mark.parametrize("gap", [digits(), two_outputs(), hostile(), Gap(())], ids=["digits", "two", "hostile", "none"])
def test_matplotlib_can_save_it(gap: Gap, tmp_path):
    ax = gap.plot()
    ax.figure.savefig(tmp_path / "gap.png", dpi=30)
    assert (tmp_path / "gap.png").stat().st_size > 1000


def test_axes_that_are_given_are_drawn_on():
    ax = Figure().add_subplot()
    assert digits().plot(ax) is ax
    assert len(ax.patches) == len(drawn(digits()).bars)


def test_no_pyplot_is_opened():
    code = (
        "import sys; from tests.ledger.planted import digits; assert 'matplotlib' not in sys.modules; "
        "digits().plot(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"verax\[plot\]"):
        digits().plot()
