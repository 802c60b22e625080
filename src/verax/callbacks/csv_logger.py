"""CSVLogger: one row an epoch in a file that any program reads."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from verax.callbacks.base import Callback, Logs
from verax.errors import InputError

__all__ = ["CSVLogger"]

_ABSENT = "NA"


class CSVLogger(Callback):
    """Write ``epoch`` (from 0) and the logs of each epoch as a row of a CSV file.

    Args:
        filename: The file; its folder is made.
        separator: One character between the cells.
        append: Go on below the rows of an existing file; False begins a new file at ``on_train_begin``.

    After every epoch the file is complete and closed. A name that appears late (``val_loss`` with
    ``validation_freq=2``, another metric in a second fit) becomes a new last column, with NA in the rows before; a
    name that is missing is NA in that row.

    Raises:
        InputError: With ``append=True``, for an existing file whose header does not begin with ``epoch``.

    Differs from Keras: columns stand in the order of the logs and not of the alphabet; no empty ``val_`` columns are
    written ahead; appending other names adds columns, where Keras would put values under the wrong header.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        if len(separator) != 1:
            raise InputError(
                "CSVLogger puts separator between the cells.",
                received=f"separator={separator!r}",
                because="a CSV separator is one character",
                do="Pass one, such as ',' or '\\t'.",
            )
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self.columns: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the file, or read the header of the one that exists."""
        path = Path(self.filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = self._rows() if self.append and path.exists() else []
        self.columns = rows[0] if rows else []
        if not rows:
            path.write_text("")
        elif self.columns[0] != "epoch":
            raise InputError(
                "CSVLogger(append=True) goes on in an existing file.",
                received=f"{self.filename!r}, whose first line is {self.separator.join(self.columns)!r}",
                because="it is not a log with this separator: its first column is not 'epoch'",
                do="Give another file, the separator it was written with, or append=False.",
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the row."""
        row = {"epoch": epoch, **Logs.of(logs)}
        new = [name for name in row if name not in self.columns]
        if new:
            self._widen(new)
        with open(self.filename, "a", newline="") as file:
            self._write(file, [[_cell(row.get(name, _ABSENT)) for name in self.columns]])

    def _widen(self, names: list[str]) -> None:
        """Add columns: the file is written anew beside the old one, then takes its place."""
        rows = self._rows()[1:]
        self.columns = [*self.columns, *names]
        temporary = f"{self.filename}.part"
        with open(temporary, "w", newline="") as file:
            self._write(file, [self.columns, *(row + [_ABSENT] * (len(self.columns) - len(row)) for row in rows)])
        os.replace(temporary, self.filename)

    def _rows(self) -> list[list[str]]:
        with open(self.filename, newline="") as file:
            return list(csv.reader(file, delimiter=self.separator))

    def _write(self, file: Any, rows: Iterable[list[Any]]) -> None:
        csv.writer(file, delimiter=self.separator, lineterminator="\n").writerows(rows)


def _cell(value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return "[" + ", ".join(map(str, value)) + "]"
