"""Readings and gaps come back from JSON as they were, to the last bit."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.errors import DataError, InputError
from verax.ledger.chain import explain
from verax.ledger.facts import Facts, LayerMode, Rows
from verax.ledger.kept import packed, unpacked
from verax.ledger.reading import Part, Reading
from verax.ledger.tally import Tally

NUMBERS = st.floats(allow_nan=False)
TALLIES = st.builds(Tally, *[NUMBERS] * 6)
FACTS = st.builds(
    Facts,
    terms=st.sampled_from([("data",), ("data", "penalties"), ()]),
    params=st.text(),
    modes=st.lists(st.builds(LayerMode, st.text(), st.text(), st.text()), max_size=3).map(tuple),
    rows=st.builds(Rows, st.text(), st.none() | st.integers(), st.none() | st.integers()),
    clipped=st.integers(),
)
READINGS = st.builds(
    Reading,
    st.text(),
    NUMBERS,
    NUMBERS,
    FACTS,
    st.dictionaries(st.text(), st.builds(Part, st.text(), TALLIES, NUMBERS), max_size=2),
    st.none() | TALLIES,
    st.none() | st.sampled_from(["min", "max"]),
)


@given(st.dictionaries(st.text(), st.lists(READINGS, max_size=3), max_size=3))
def test_back_and_forth(readings):
    found = unpacked(json.loads(json.dumps(packed(readings))))
    assert found == readings
    assert [type(r.tally) for rs in found.values() for r in rs] == [
        type(r.tally) for rs in readings.values() for r in rs
    ]


def test_what_is_no_number_and_numpys_numbers():
    reading = Reading("auc", math.nan, -0.0, Facts(), tally=Tally(*np.arange(6.0)))
    found = unpacked(json.loads(json.dumps(packed(reading))))
    assert math.isnan(found.value)
    assert math.copysign(1, found.stderr) == -1
    assert found.tally == reading.tally


def test_gaps():
    facts = Facts(params="each step's own", modes=(LayerMode("dropout", "d", "train"),), rows=Rows("rows", 3, 3))
    chain = [Reading("loss", 0.5, 0.1, facts), Reading("loss", 0.25, 0.1, facts.but(params="now"))]
    chain.append(Reading("loss", 0.125, 0.1, facts.but(params="now", modes=(LayerMode("dropout", "d", "infer"),))))
    gap = explain(chain)
    found = unpacked(json.loads(json.dumps(packed({"loss": gap}))))["loss"]
    assert str(found) == str(gap)
    assert [link.cause for link in found.links] == [link.cause for link in gap.links]


def test_what_is_said_again_is_written_once():
    facts = Facts(modes=tuple(LayerMode("dropout", f"layer_{i}", "train") for i in range(100)))
    sizes = [len(json.dumps(packed([Reading("loss", i / 7, 0.1, facts) for i in range(n)]))) for n in (1, 101)]
    assert sizes[1] - sizes[0] < 100 * 100


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {"pool": [], "top": {"at": 3}},
        {"pool": [["Popen", "ls"]], "top": {"at": 0}},
        {"pool": [["Rows", "a"]], "top": 1},
        {"pool": [], "top": {"cause": "NOBODY"}},
        {"pool": [], "top": {"code": "1"}},
        {"pool": [], "top": {"at": 0, "dict": {}}},
    ],
)
def test_what_is_not_of_that_form_is_refused(wrong):
    with pytest.raises(DataError, match="not in the form"):
        unpacked(wrong)


def test_what_has_no_form_is_refused():
    with pytest.raises(InputError, match="Received: set"):
        packed({"a": {1}})
