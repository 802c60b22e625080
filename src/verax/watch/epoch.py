"""What is kept of a pass of a loop: every batch's number, and a bounded sample of the batches themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from verax.errors import InputError
from verax.ledger.tally import Tally

__all__ = ["Epoch", "Measured", "Step"]

#: So many numbers wait before they are read from the device.
_WAITING = 256
#: So many batches of the end are kept besides the sample.
_LATEST = 8


class Measured(NamedTuple):
    """What one batch came to.

    Attributes:
        value: The loss as the program computes it, without penalties.
        rows: How many rows the batch has.
        sums: The same loss in sums over rows.
        penalties: What the program adds to the loss that no row brings, by name.
    """

    value: float
    rows: int
    sums: Tally
    penalties: Mapping[str, float] = {}

    @classmethod
    def whole(
        cls, value: float, rows: int, weight: float | None = None, penalties: Mapping[str, float] | None = None
    ) -> Measured:
        """Of a mean over a batch whose rows are not known one by one: the batch is the unit.

        Args:
            value: The mean.
            rows: Rows in the batch.
            weight: What the mean was divided by; the rows when None.
            penalties: As in the class.
        """
        u = float(rows if weight is None else weight)
        v = value * u
        return cls(value, rows, Tally(v, u, v * v, v * u, u * u, 1.0), penalties or {})


@dataclass
class Step:
    """A batch that can be measured again.

    Attributes:
        number: Its place in the pass, from 0; fresh draws are made from it.
        batch: What the program needs to run it.
        draws: The state of the random generators as it began; None where it was not kept.
        own: The training objective (as facts name it) -> what was measured as the step ran, at its own weights.
        size: Bytes that are kept for it.
        rows: How many rows it has, where the program cannot see that.
    """

    number: int
    batch: Any
    draws: Any = None
    own: dict[str, Measured] = field(default_factory=dict[str, Measured])
    size: int = 0
    rows: int | None = None


class Epoch:
    """One pass over rows, as it ran.

    The sample is uniform over the batches seen so far, without replacement (J. Vitter, *Random sampling with a
    reservoir*, 1985, algorithm R), drawn by a generator of its own; what it keeps never exceeds ``batches`` batches nor
    ``memory`` bytes, but that one batch is kept however large. The latest batches are kept besides, eight at most and
    a quarter of the memory, for numbers that are of these alone. Of every batch its numbers are kept: 24 bytes.

    Args:
        batches: How many batches are kept at most.
        memory: How many bytes they may take.
        read: Makes floats of the numbers as the program has them; called for many at a time.

    Raises:
        InputError: No batch is to be kept.
    """

    def __init__(
        self,
        batches: int = 64,
        memory: int = 256 << 20,
        read: Callable[[Sequence[Any]], Sequence[float]] = lambda numbers: [float(n) for n in numbers],
    ):
        if batches < 1:
            raise InputError("Batches were to be kept.", received=f"batches={batches}", do="Let at least one be kept.")
        self.memory = memory
        self.steps = 0
        self.kept: list[Step] = []
        self._latest: deque[Step] = deque(maxlen=_LATEST)
        self._capacity = batches
        self._read = read
        self._random = np.random.default_rng(0x5EED)
        self._waiting: list[tuple[Any, Any]] = []
        self._waiting_rows: list[int] = []
        self._numbers: list[np.ndarray] = []

    def place(self) -> int | None:
        """Where in the sample the batch that comes next belongs; None where it does not. To be asked once a batch."""
        if self.steps < self._capacity and len(self.kept) == self.steps:
            return self.steps
        drawn = int(self._random.integers(0, self.steps + 1))
        return drawn if drawn < len(self.kept) else None

    def add(self, step: Step, value: Any, rows: int, penalty: Any = 0.0, *, place: int | None) -> None:
        """Keep a batch's numbers, and the batch itself where the sample has a place for it.

        Args:
            step: The batch.
            value: Its loss as the program shows it, penalties included.
            rows: How many rows it has.
            penalty: The penalties in the value.
            place: What ``place`` said.
        """
        self._waiting.append((value, penalty))
        self._waiting_rows.append(rows)
        self.steps += 1
        self._latest.append(step)
        while len(self._latest) > 1 and sum(s.size for s in self._latest) > self.memory // 4:
            self._latest.popleft()
        if place is not None:
            self.kept[place : place + 1] = [step]
            while len(self.kept) > 1 and sum(s.size for s in self.kept) > self.memory:
                self.kept.pop(int(self._random.integers(0, len(self.kept))))
        if len(self._waiting) >= _WAITING:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            flat = self._read([number for pair in self._waiting for number in pair])
            numbers = np.asarray(flat, np.float64).reshape(-1, 2)
            self._numbers.append(np.column_stack([numbers, self._waiting_rows]))
            self._waiting, self._waiting_rows = [], []

    def _column(self, column: int) -> np.ndarray:
        self._flush()
        if len(self._numbers) > 1:
            self._numbers = [np.concatenate(self._numbers)]
        return self._numbers[0][:, column] if self._numbers else np.zeros(0)

    @property
    def values(self) -> np.ndarray:
        """(batches,) the losses as shown, penalties included."""
        return self._column(0)

    @property
    def penalties(self) -> np.ndarray:
        """(batches,) the penalties in them."""
        return self._column(1)

    @property
    def rows(self) -> np.ndarray:
        """(batches,) how many rows each has."""
        return self._column(2).astype(np.int64)

    @property
    def latest(self) -> Step | None:
        """The last batch of all."""
        return self._latest[-1] if self._latest else None

    @property
    def size(self) -> int:
        """Bytes that are kept of batches: of the sample, and of the latest."""
        return sum(step.size for step in self.sample(latest=True))

    def sample(self, *, latest: bool = False) -> list[Step]:
        """The batches that can be measured again, in order; the latest ones among them where that is asked."""
        chosen = {step.number: step for step in self.kept}
        if latest:
            chosen = {step.number: step for step in self._latest} | chosen
        return [chosen[n] for n in sorted(chosen)]

    def stands_for(self, steps: Sequence[Step]) -> np.ndarray:
        """For how many batches of the pass each one of a sample with the latest stands: these for themselves alone, and
        the others, which were drawn, for all the rest in equal shares."""
        first = self.steps - len(self._latest)
        drawn = np.array([step.number < first for step in steps], bool)
        return np.where(drawn, first / max(int(drawn.sum()), 1), 1.0)
