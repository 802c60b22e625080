"""docs/coverage.md says what the tests say, and nothing that everybody uses is missing."""

from __future__ import annotations

import functools

from tests import coverage

#: The tier everybody uses: what is public in these rooms of Keras is there.
EVERYDAY = ("layers", "losses", "metrics", "optimizers", "optimizers.schedules", "callbacks", "initializers",
            "regularizers", "constraints", "activations", "utils")  # fmt: skip

states = functools.cache(coverage.states)


def test_the_page_is_up_to_date():
    assert coverage.PAGE.read_text() == coverage.page(), "run: python -m tests.coverage"


def test_names_that_ordinary_programs_use_are_equal():
    assert sum(state == "equal" for state, _, _ in states().values()) >= 470


def test_nothing_that_everybody_uses_is_missing():
    missing = [name for name, (state, _, _) in states().items()
               if state == "not yet" and name.rpartition(".")[0] in EVERYDAY]  # fmt: skip
    assert missing == ["utils.FeatureSpace"]


def test_every_name_that_keras_does_not_check_says_what_does():
    assert not [name for name, (state, why, _) in states().items() if state == "here" and not why]


def test_every_reason_is_about_a_name():
    names = {path for _, _, paths in states().values() for path in paths}
    for table in (coverage.DIFFERS, coverage.NOT_YET, coverage.OTHERWISE):
        for key in table:
            assert any(n == key or (key.endswith(".") and n.startswith(key)) for n in names), key


def test_the_table_of_comparisons_is_as_long_as_it_should_be():
    from tests import test_activations, test_constraints, test_regularizers
    from tests.layers.cases import CASES
    from tests.losses import test_oracle as losses
    from tests.metrics import test_oracle as metrics

    tables = (CASES, losses.CASES, metrics.CASES, test_activations.CASES, test_regularizers.CASES)
    assert sum(map(len, tables)) + len(test_constraints.CASES) >= 600
