"""What numbers mean: sums, facts, readings, causes and chains. Numpy and the standard library only."""

from __future__ import annotations

from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, Link
from verax.ledger.facts import Change, Facts, LayerMode, Rows
from verax.ledger.probe import Batches, Probe, explain, explain_gap
from verax.ledger.reading import Part, Reading
from verax.ledger.record import EpochRecord
from verax.ledger.tally import Tally, fold

__all__ = [
    "Batches",
    "Cause",
    "Change",
    "EpochRecord",
    "Facts",
    "Gap",
    "LayerMode",
    "Link",
    "Part",
    "Probe",
    "Reading",
    "Rows",
    "Tally",
    "explain",
    "explain_gap",
    "fold",
]
