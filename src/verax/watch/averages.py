"""How a loop made one number of its batches' losses: by name, and found again from a number that was printed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from verax.errors import InputError

__all__ = [
    "BY_ROWS",
    "LAST",
    "MEAN",
    "PER_ROW",
    "SUM",
    "check",
    "factor",
    "number",
    "of_the_end",
    "recognized",
    "shares",
]  # fmt: skip

MEAN = "mean of batches"
BY_ROWS = "mean of batches by their rows"
LAST = "last batch"
SUM = "sum of batches"
PER_ROW = "sum of batches over their rows"
_SMOOTHED = re.compile(r"smoothed by (0?\.\d+)")
_STEPS = re.compile(r"mean of steps of ([1-9]\d*) batches")
_WINDOW = re.compile(r"last ([1-9]\d*) batches")

#: What printed numbers are compared with, the commonest first.
_USUAL = (
    MEAN, BY_ROWS, LAST, SUM,
    *(f"last {n} batches" for n in (10, 20, 25, 50, 100, 200, 500)),
    *(f"smoothed by {b}" for b in (0.9, 0.95, 0.98, 0.99, 0.999)), PER_ROW,
)  # fmt: skip


def check(name: str) -> str:
    """The name, if it is one.

    Raises:
        InputError: No average has this name.
    """
    if name in (MEAN, BY_ROWS, LAST, SUM, PER_ROW) or _STEPS.fullmatch(name) or of_the_end(name):
        return name
    raise InputError(
        "How a loop averages its batches was to be told.",
        received=repr(name),
        because="no average has this name",
        do=f"Give the number as it was printed, or one of {MEAN!r}, {BY_ROWS!r}, {LAST!r}, 'last 50 batches', "
        f"'smoothed by 0.98', 'mean of steps of 4 batches', {SUM!r}, {PER_ROW!r}.",
    )


def of_the_end(name: str) -> bool:
    """Whether the last batches count for more than the others, so that a sample must have the latest one.

    >>> [of_the_end(name) for name in ("last batch", "last 50 batches", "smoothed by 0.9", "mean of batches")]
    [True, True, True, False]
    """
    return name == LAST or bool(_SMOOTHED.fullmatch(name) or _WINDOW.fullmatch(name))


def shares(name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The share of each batch in the number, in order: Σ shares = 1, whatever the batches are.

    A sum is the mean of its batches times a number (see ``factor``); its shares are those of the mean. "smoothed by β"
    is s ← β·s + (1 - β)·v from s = v of the first batch. Steps of several batches count alike; the last may have fewer.

    Args:
        name: The average.
        rows: How many rows each batch has.

    >>> shares("last 2 batches", [8, 8, 4]).tolist(), shares("mean of batches by their rows", [8, 8, 4]).tolist()
    ([0.0, 0.5, 0.5], [0.4, 0.4, 0.2])
    >>> shares("smoothed by 0.9", [8, 8, 8]).round(2).tolist()
    [0.81, 0.09, 0.1]
    """
    n = len(rows)
    if name == BY_ROWS:
        each = np.asarray(rows, np.float64)
    elif name == LAST:
        each = np.arange(n) == n - 1
    elif window := _WINDOW.fullmatch(name):
        each = np.arange(n) >= n - int(window[1])
    elif steps := _STEPS.fullmatch(name):
        step = np.arange(n) // int(steps[1])
        each = 1.0 / np.bincount(step)[step]
    elif smoothed := _SMOOTHED.fullmatch(name):
        beta = float(smoothed[1])
        each = np.where(np.arange(n) == 0, 1.0, 1.0 - beta) * beta ** np.arange(n - 1, -1, -1.0)
    else:
        each = np.ones(n)
    each = np.asarray(each, np.float64)
    return each / each.sum()


def factor(name: str, rows: Sequence[int] | np.ndarray) -> float:
    """What the mean by ``shares`` is multiplied with: of a sum the number of batches, or batches a row.

    >>> factor("sum of batches", [8, 4]), factor("sum of batches over their rows", [8, 8]), factor("last batch", [8])
    (2.0, 0.125, 1.0)
    """
    if name == SUM:
        return float(len(rows))
    return len(rows) / float(np.sum(rows)) if name == PER_ROW else 1.0


def number(name: str, values: np.ndarray, rows: np.ndarray) -> float:
    """The number that the batches' values make.

    >>> number("sum of batches", np.array([1.0, 2.0]), np.array([8, 4]))
    3.0
    """
    return float(np.sum(shares(name, rows) * values)) * factor(name, rows)


def recognized(printed: float | str, values: np.ndarray, rows: np.ndarray) -> str | None:
    """The average of which a printed number is the rounded value; None where no usual one is.

    As many digits are compared as the number has; the mean of all batches is preferred, then the commoner average. A
    string keeps zeros at the end: of "0.570" three decimals are compared, and of 0.57 two.

    >>> losses, rows = np.array([0.9, 0.5, 0.31]), np.array([64, 64, 32])
    >>> recognized(0.57, losses, rows), recognized(0.622, losses, rows), recognized(0.31, losses, rows)
    ('mean of batches', 'mean of batches by their rows', 'last batch')
    >>> recognized(0.4, losses, rows) is None
    True
    """
    value, text = float(printed), printed.strip() if isinstance(printed, str) else repr(float(printed))
    digits, _, exponent = text.lower().partition("e")
    decimals = len(digits.partition(".")[2]) - int(exponent or 0)
    tolerance = max(0.5 * 10.0**-decimals * (1 + 1e-9), 1e-5 * abs(value))  # a running mean in float32
    return next((name for name in _USUAL if abs(number(name, values, rows) - value) <= tolerance), None)
