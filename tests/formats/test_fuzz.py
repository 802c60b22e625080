"""Mutated files are read or refused; the mutations that once found a defect are tried each time."""

from __future__ import annotations

import os

import pytest

from tests.formats import fuzz

#: (form, number) of mutations that were neither read nor refused when they were first tried.
FOUND = [("weights.h5", 94), ("npz", 2), ("npz", 271), ("npz", 1417)]


@pytest.mark.parametrize("form", fuzz.FORMS)
def test_mutated_files_are_read_or_refused(form):
    """``VERAX_FUZZ=4000 pytest tests/formats`` tries so many of each form."""
    count = int(os.environ.get("VERAX_FUZZ", "60"))
    came = fuzz.run(count, [form])[form]
    assert came["FAILURE"] == 0
    assert sum(came.values()) == count
    assert came["DataError"] > count / 5  # or the mutations are too tame


@pytest.mark.parametrize(("form", "number"), FOUND)
def test_what_was_found_before(form, number):
    assert fuzz.run(1, [form], number)[form]["FAILURE"] == 0
