"""Causes and chains: a link changes one fact or is refused, and the links add up to the gap."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.test_facts import ONE, OTHER
from verax.errors import ChainError
from verax.frame.mode import EFFECTS
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, explain
from verax.ledger.facts import Change, Facts, LayerMode, Rows
from verax.ledger.reading import Reading
from verax.ledger.report import table, to_dict
from verax.ledger.tally import Tally

STEPS = [name for name in OTHER if name != "clipped"]


def reading(value: float, facts: Facts, name: str = "loss", stderr: float = math.nan) -> Reading:
    return Reading(name, value, stderr, facts)


# ---- causes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({f.name for f in fields(Facts)} - {"modes", "clipped"}))
def test_every_fact_is_of_one_cause(name: str):
    assert Cause.of(Change(name, "a", "b")) in Cause
    assert sum(name in cause.facts for cause in Cause) == 1


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_effect_is_of_one_cause(effect: str):
    assert Cause.of(Change(f"mode:{effect}", "train", "infer")) in Cause


def test_a_layer_of_ones_own_is_a_cause():
    assert Cause.of(Change("mode:custom:block/mine", "train", "infer")) is Cause.CUSTOM_MODE


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("train", "infer", Cause.BATCH_STATISTICS),
        ("train", "population", Cause.BATCH_STATISTICS),
        ("population", "infer", Cause.MOVING_AVERAGES),
        ("infer", "population", Cause.MOVING_AVERAGES),
    ],
)
def test_batch_statistics_have_two_causes(before: str, after: str, cause: Cause):
    assert Cause.of(Change("mode:batch_statistics", before, after)) is cause


def test_causes_share_no_fact_and_no_title():
    claimed = [fact for cause in Cause for fact in cause.facts]
    assert len(claimed) == len(set(claimed))
    assert len({cause.title for cause in Cause}) == len(Cause)
    assert all(cause.sentence and cause.advice for cause in Cause)


def test_a_fact_of_no_cause_is_refused():
    with pytest.raises(ChainError, match="no cause has it"):
        Cause.of(Change("weather", "sun", "rain"))


# ---- chains ----------------------------------------------------------------------------------------------------------


@given(st.permutations(STEPS), st.data())
def test_a_chain_adds_up_whatever_its_order(order: list[str], data: st.DataObject):
    values = st.floats(-1e3, 1e3, allow_nan=False)
    facts, readings = ONE, [reading(data.draw(values), ONE)]
    for name in order:
        facts = facts.but(**{name: OTHER[name]})
        readings.append(reading(data.draw(values), facts))
    gap = explain(readings)
    assert len(gap.links) == len(order)
    assert gap.total == readings[-1].value - readings[0].value
    assert abs(gap.residual) <= 1e-12 * sum(abs(r.value) for r in readings)
    assert [link.before for link in gap.links] == readings[:-1]
    assert all(Cause.of(link.fact) is link.cause for link in gap.links)


@given(st.sets(st.sampled_from(STEPS)))
def test_a_link_changes_one_fact_or_is_refused(names: set[str]):
    both = [reading(1.0, ONE), reading(2.0, ONE.but(**{name: OTHER[name] for name in names}))]
    if len(names) == 1:
        assert len(explain(both).links) == 1
    else:
        with pytest.raises(ChainError) as refused:
            explain(both)
        if names:
            assert all(str(c) in str(refused.value) for c in both[0].facts.differences(both[1].facts))
        else:
            assert "no changed fact" in str(refused.value)


@pytest.mark.parametrize("readings", [[], [reading(1.0, Facts())]])
def test_one_number_has_no_gap(readings: list[Reading]):
    with pytest.raises(ChainError, match="at least two"):
        explain(readings)


def two_links() -> Gap:
    training = Facts(params="each step's own", rows=Rows("training rows", 4, 4))
    end = training.but(params="the end of epoch 1")
    return explain(
        [
            Reading.of_tally("loss", Tally.of(np.array([0.5, 0.75, 1.0, 1.25])), training),
            Reading.of_tally("loss", Tally.of(np.array([0.25, 0.5, 0.75, 1.0])), end),
            Reading.of_tally(
                "val_loss", Tally.of(np.array([1.0, 2.0])), end.but(rows=Rows("validation rows", 2, 2))
            ),
        ]
    )  # fmt: skip


def test_only_other_rows_have_an_error_of_their_own():
    moved, rows = two_links().links
    assert math.isnan(moved.stderr)  # the same rows twice: their errors are not independent
    assert rows.stderr == pytest.approx(math.hypot(math.sqrt(0.3125 / 3 / 4), 0.5))


def test_a_gap_as_a_table():
    lines = [" ".join(line.split()) for line in table(two_links()).splitlines()]
    for begins in (
        "loss 0.8750 4 training rows",
        "weights moved -0.2500",
        "different rows +0.8750 ± 0.5254",
        "val_loss 1.5000 2 validation rows",
        "gap +0.6250 residual 0.0e+00",
    ):
        assert [line for line in lines if line.startswith(begins)], begins


def test_a_gap_as_plain_data():
    told = json.loads(json.dumps(to_dict(two_links())))
    assert told["total"] == 0.625
    assert told["residual"] == 0.0
    assert [link["cause"] for link in told["links"]] == ["WEIGHTS_MOVED", "ROWS"]
    assert told["train"]["sentence"] == str(two_links().train)


@pytest.mark.parametrize("name", STEPS)
def test_plain_data_tell_every_fact(name: str):
    one = to_dict(explain([reading(1.0, ONE), reading(2.0, ONE.but(**{name: OTHER[name]}))]))
    assert one["train"]["facts"] != one["validation"]["facts"]


def test_a_custom_layer_is_named_with_its_path():
    one = Facts(modes=(LayerMode("custom:mine", "mine", "train"),))
    (link,) = explain(
        [reading(1.0, one), reading(2.0, one.but(modes=(LayerMode("custom:mine", "mine", "infer"),)))]
    ).links
    assert link.cause is Cause.CUSTOM_MODE
    assert link.fact.paths == ("mine",)
