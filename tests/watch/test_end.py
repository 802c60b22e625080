"""One of the two numbers of a loop: its value is what was shown, its error that of rows where rows are known."""

from __future__ import annotations

import numpy as np
import pytest

from verax.ledger import Facts, Tally
from verax.watch import End


def test_an_end_with_sums_over_rows_has_the_error_of_rows():
    each = np.array([1.0, 3.0, 5.0, 7.0, 2.0, 6.0])
    batches, rows, none = each.reshape(1, 6).mean(1), np.array([6]), np.zeros(1)
    alone = End("loss", Facts(), batches, rows, none).reading()
    known = End("loss", Facts(), batches, rows, none, Tally.of(each)).reading()
    assert np.isnan(alone.stderr)  # one batch says nothing of how batches differ
    assert known.value == pytest.approx(alone.value)
    assert known.stderr == pytest.approx(each.std(ddof=1) / np.sqrt(6))
