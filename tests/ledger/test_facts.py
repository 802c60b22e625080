"""Facts: two readings differ in what they say they differ in, and in nothing else."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verax.ledger.facts import Change, Facts, LayerMode, Rows

#: A pass that draws, and for each of its facts another value.
ONE = Facts(draws="as drawn")
OTHER = {
    "terms": ("data", "penalties"),
    "objective": "label smoothing 0.1",
    "params": "each step's own",
    "draws": "fresh",
    "view": "augmented",
    "modes": (LayerMode("dropout", "drop", "train"),),
    "weights": "class weights",
    "average": "sum over rows",
    "averaged": "EMA",
    "dtype": "bfloat16",
    "rows": Rows("validation rows", 20, 20),
    "clipped": 7,
}


def test_the_table_has_every_fact():
    assert set(OTHER) == {f.name for f in fields(Facts)}


@pytest.mark.parametrize("name", OTHER)
def test_one_other_fact_is_exactly_one_change(name: str):
    changes = ONE.differences(ONE.but(**{name: OTHER[name]}))
    if name == "clipped":  # told, and not a cause: it follows from the rest
        assert changes == ()
    else:
        assert [c.fact.split(":")[0] for c in changes] == ["mode" if name == "modes" else name]


@given(st.sets(st.sampled_from(sorted(OTHER))))
def test_as_many_changes_as_other_facts(names: set[str]):
    other = ONE.but(**{name: OTHER[name] for name in names})
    forth, back = ONE.differences(other), other.differences(ONE)
    assert len(forth) == len(names - {"clipped"})
    assert [(c.fact, c.after, c.before) for c in forth] == [(c.fact, c.before, c.after) for c in back]
    assert other.differences(other) == ()


def test_a_change_is_said_in_words():
    one = Facts(rows=Rows("training rows", 1294, 1294), terms=("data", "penalties"))
    other = one.but(rows=Rows("validation rows", 144, 144), terms=("data",))
    assert [str(c) for c in one.differences(other)] == [
        "terms: data + penalties -> data",
        "rows: 1,294 training rows -> 144 validation rows",
    ]


def modes(**states: str) -> tuple[LayerMode, ...]:
    return tuple(LayerMode(path.split("_")[0], path, state) for path, state in states.items())


def test_layers_of_one_effect_move_together():
    one = Facts(modes=modes(dropout_a="train", dropout_b="train", noise_a="train"))
    other = Facts(modes=modes(dropout_a="infer", dropout_b="infer", noise_a="train"))
    assert one.differences(other) == (Change("mode:dropout", "train", "infer", ("dropout_a", "dropout_b")),)


def test_effects_are_facts_of_their_own():
    one = Facts(modes=modes(dropout_a="train", noise_a="train"))
    other = Facts(modes=modes(dropout_a="infer", noise_a="infer"))
    assert [c.fact for c in one.differences(other)] == ["mode:dropout", "mode:noise"]


def test_layers_of_one_effect_that_move_apart_are_two_changes():
    one = Facts(modes=modes(dropout_a="train", dropout_b="infer"))
    other = Facts(modes=modes(dropout_a="infer", dropout_b="train"))
    assert {(c.before, c.after, c.paths) for c in one.differences(other)} == {
        ("train", "infer", ("dropout_a",)),
        ("infer", "train", ("dropout_b",)),
    }


def test_why_a_layer_is_in_its_mode_is_no_difference():
    one = Facts(modes=(LayerMode("dropout", "drop", "infer", "asked"),))
    assert one.differences(Facts(modes=(LayerMode("dropout", "drop", "infer", "frozen"),))) == ()


def test_a_layer_that_one_pass_did_not_run_is_absent():
    (change,) = Facts(modes=modes(dropout_a="train")).differences(Facts())
    assert (change.before, change.after) == ("train", "absent")


def test_many_paths_are_cut_short():
    change = Change("mode:dropout", "train", "infer", ("a", "b", "c", "d"))
    assert str(change) == "mode:dropout: train -> infer (a, b, c, ...)"


def test_in_training_names_the_effects():
    facts = Facts(modes=modes(dropout_a="train", noise_a="infer", dropout_b="train"))
    assert facts.in_training() == ("dropout",)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (Rows("rows"), "rows"),
        (Rows("training rows", 1294, 1294), "1,294 training rows"),
        (Rows("training rows", 1280, 1294), "1,280 training rows of 1,294"),
        (Rows("rows", 1), "1 row"),
        (Rows("rows", 32, None), "32 rows"),
    ],
)
def test_rows_in_words(rows: Rows, words: str):
    assert str(rows) == words
