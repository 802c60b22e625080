"""Numbers that a program printed, found again among the averages of its batches."""

from __future__ import annotations

import re

import numpy as np

from verax.watch.averages import MEAN, of_the_end, recognized

__all__ = ["recognized_in"]

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w%])(?!\.\d)")


def recognized_in(text: str, values: np.ndarray, rows: np.ndarray) -> tuple[str, str] | None:
    """The printed number that is an average of batches, as it was printed, and the average's name; None for none.

    The mean of all batches is preferred, then the averages over all batches, then what the last batches came to; and of
    several numbers the one with most digits. A number needs three significant digits to be an average of all batches or
    the last one, and four to be a window or smoothed: with fewer, an accuracy is soon mistaken for a loss.

    Args:
        text: What was printed.
        values, rows: Of each batch.

    >>> losses, rows = np.array([0.9, 0.5, 0.31]), np.array([64, 64, 32])
    >>> recognized_in("epoch 3 (12.1s): loss 0.622, accuracy 0.94", losses, rows)
    ('0.622', 'mean of batches by their rows')
    >>> recognized_in("lr 1e-3, accuracy 0.944", losses, rows) is None
    True
    """
    best: tuple[int, int] | None = None
    found: tuple[str, str] | None = None
    for printed in dict.fromkeys(_NUMBER.findall(_COLOURS.sub("", text))):
        digits = len(re.sub(r"[eE].*|\D", "", printed).lstrip("0"))
        if digits < 3 or (name := recognized(printed, values, rows)) is None:
            continue
        late = of_the_end(name)
        if digits < 4 and late and name != "last batch":
            continue
        rank = (0 if name == MEAN else 2 if late else 1, -digits)
        if best is None or rank < best:
            best, found = rank, (printed, name)
    return found
