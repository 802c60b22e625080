"""Progbar: a progress line for loops of one's own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from verax.callbacks.base import plain_number
from verax.callbacks.progress import screen_for
from verax.callbacks.progress_text import line
from verax.errors import InputError

__all__ = ["Progbar"]


class Progbar:
    """A line that shows how far a loop is, and the means of some numbers so far.

    Args:
        target: How many steps there are; None while unknown.
        width: The length of the bar.
        verbose: 0: nothing; 1: a line that is redrawn (where it can be: else only the last one); 2: only the last one.
        interval: Seconds between redraws.
        stateful_metrics: Names shown as they come; the others are averaged over the steps.
        stateless_metrics: Names averaged over the steps; the others are shown as they come. One of both only.
        unit_name: What a step is called.

    Differs from Keras: the last line shows the means too, where the end was not said by ``finalize=True`` (there, the
    values of the last step stand in their place).

    >>> bar = Progbar(3, verbose=2)
    >>> for i, loss in enumerate([3.0, 2.0, 1.0]):
    ...     bar.update(i + 1, [("loss", loss)])  # doctest: +ELLIPSIS
    3/3 ━━━━━━━━━━━━━━━━━━━━ 0s .../step - loss: 2.0000
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise InputError(
                "Progbar averages some numbers and shows others as they come.",
                received="stateful_metrics and stateless_metrics",
                because="each says all there is to say",
                do="Pass one of them.",
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._screen = screen_for(verbose)
        self._values: dict[str, tuple[float, float]] = {}  # name -> (sum, weight)
        self._seen = 0
        self._began = time.perf_counter()
        self._drawn = float("-inf")

    @property
    def values(self) -> dict[str, float]:
        """name -> what is shown."""
        return {name: total / weight for name, (total, weight) in self._values.items()}

    def update(
        self, current: int, values: Sequence[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Say that ``current`` steps are done.

        Args:
            current: Steps done.
            values: (name, value) of the steps since the last call; a mean counts them by how many they were.
            finalize: Whether this is the end, and the values are those to be left; None: the end is when the target is
                reached, and the values are of these steps as before.
        """
        steps = max(current - self._seen, 1)
        for name, value in values or ():
            number = plain_number(value)
            if finalize or not self._is_averaged(name):
                self._values[name] = (number, 1.0)
            else:
                total, weight = self._values.get(name, (0.0, 0.0))
                self._values[name] = (total + number * steps, weight + steps)
        self._seen = current
        ends = (self.target is not None and current >= self.target) if finalize is None else finalize
        now = time.perf_counter()
        if ends:
            self._screen.keep(self._text(True))
        elif self.verbose == 1 and self._screen.live and now - self._drawn >= self.interval:
            self._drawn = now
            self._screen.draw(self._text(False))

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Say that ``n`` more steps are done."""
        self.update(self._seen + n, values)

    def _is_averaged(self, name: str) -> bool:
        if self.stateless_metrics is not None:
            return name in self.stateless_metrics
        return name not in self.stateful_metrics

    def _text(self, final: bool) -> str:
        seconds = time.perf_counter() - self._began
        return line(
            self._seen, self.target, seconds, self.values, self._screen.width, final=final, bar=self.width,
            unit=self.unit_name,
        )  # fmt: skip
