"""Loops that Verax does not run: what is kept of them, and how they are explained; knows no framework."""

from __future__ import annotations

from verax.watch.averages import BY_ROWS, LAST, MEAN, PER_ROW, SUM
from verax.watch.epoch import Epoch, Measured, Step
from verax.watch.function import FunctionProgram, Losses
from verax.watch.loop import ADVICE, Loop
from verax.watch.probe import End, LoopProbe, Program, chosen_average

__all__ = [
    "ADVICE",
    "BY_ROWS",
    "LAST",
    "MEAN",
    "PER_ROW",
    "SUM",
    "End",
    "Epoch",
    "FunctionProgram",
    "Loop",
    "LoopProbe",
    "Losses",
    "Measured",
    "Program",
    "Step",
    "chosen_average",
]
