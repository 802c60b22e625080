"""What a gap comes to: a sentence or two in plain words, and what to do about it."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verax.ledger.amounts import ROUNDING, Amount, Scale, amounts_of, lag_of, names_of
from verax.ledger.causes import Cause

if TYPE_CHECKING:
    from verax.ledger.chain import Gap

__all__ = ["Kind", "Verdict", "judge"]

#: A cause of at least this share of the largest one is worth a word.
LARGE = 0.1
_LINE = 100


class Kind(enum.StrEnum):
    """What a gap is; each has a sentence.

    >>> Kind.BOOKKEEPING == "bookkeeping", Kind.BOOKKEEPING.sentence
    (True, 'the numbers were measured differently; the row difference is no more than sampling noise, or small')
    """

    sentence: str

    def __new__(cls, word: str, sentence: str) -> Kind:
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member

    OVERFITTING = "overfitting", "the validation rows are worse by more than sampling noise, and that is most of the gap"
    MIXED = "mixed", "the validation rows are worse by more than sampling noise, and another cause is larger still"
    BOOKKEEPING = (
        "bookkeeping",
        "the numbers were measured differently; the row difference is no more than sampling noise, or small",
    )
    ROWS = "rows", "the rows differ by more than sampling noise, but the validation rows are not the worse ones"
    CANCELLING = "cancelling", "the numbers agree because large causes cancel"
    NONE = "none", "the gap is no more than sampling noise or rounding"
    UNDECIDED = "undecided", "what was measured does not tell overfitting from noise or from the other causes"


@dataclass(frozen=True)
class Verdict:
    """What a gap comes to.

    Attributes:
        kind: What the gap is.
        sentence: What dominates, in amounts; whether the rows differ by more than sampling noise; what follows.
        line: The same in one line, for the end of ``fit``.
        advice: What to do, a line for each large cause, the largest first.
    """

    kind: Kind
    sentence: str
    line: str
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence


def judge(gap: Gap) -> Verdict:
    """The verdict on a gap, from its amounts and their standard errors alone.

    A cause is large when its amount is at least a tenth of the largest and its 95 % interval does not hold zero. The
    row difference is more than sampling noise when its interval does not hold zero. It is called overfitting only when
    the validation rows are the worse ones; where they are not, or where neither way is better, it is not.
    """
    if not gap.links:
        said = "The two numbers measured the same: there is no gap to explain."
        return Verdict(Kind.NONE, said, said)
    if not math.isfinite(gap.total):
        return _undefined(gap)
    found = _Findings.of(gap)
    kind = _kind(found)
    sentence = " ".join(s for s in (_what(found, kind), _rows(found, kind), _grade(gap)) if s)
    return Verdict(kind, sentence, _line(found, kind), _advice(found))


@dataclass(frozen=True)
class _Findings:
    """What a verdict is made of.

    Attributes:
        rows: The row difference, all else equal; None where it was not separated, or the rows are the same.
        others: Every other amount.
        large: Those of ``others`` that are worth a word, the largest first.
        rival: The largest of ``others`` that is not noise, unsigned.
        noise: Standard error of the gap as a whole.
        small: Whether the gap is within that noise, or rounding.
        state: What the rows are: "same", "noise", "worse", "better", "differ" (neither way is better), "unknown" (no
            standard error) or "bundled" (not separated).
    """

    gap: Gap
    scale: Scale
    rows: Amount | None
    others: tuple[Amount, ...]
    large: tuple[Amount, ...]
    rival: float
    top: float
    noise: float
    small: bool
    state: str

    @classmethod
    def of(cls, gap: Gap) -> _Findings:
        amounts = amounts_of(gap)
        rows = next((a for a in amounts if a.of_rows), None)
        others = tuple(a for a in amounts if a is not rows)
        top = max(abs(a.change) for a in amounts)
        rounding = ROUNDING * max(abs(gap.train.value), abs(gap.validation.value))
        sure = [a for a in others if not a.noisy and abs(a.change) > rounding]
        large = sorted((a for a in sure if abs(a.change) >= LARGE * top), key=lambda a: -abs(a.change))
        noise = _noise(gap, rows)
        return cls(
            gap, Scale.of(gap), rows, others, tuple(large), max((abs(a.change) for a in sure), default=0.0), top, noise,
            abs(gap.total) <= max(rounding, 1.96 * noise), _state(gap, rows),
        )  # fmt: skip

    @property
    def share(self) -> bool:
        """Whether the row difference is large beside the other amounts."""
        return self.rows is not None and abs(self.rows.change) >= LARGE * self.top

    @property
    def cancelling(self) -> bool:
        """Whether the gap is small although its causes are not."""
        least = max(1.96 * self.noise, 2 * abs(self.gap.total))
        return self.small and any(abs(a.change) > least for a in self.large)


def _noise(gap: Gap, rows: Amount | None) -> float:
    """Standard error of the gap as a whole: that of two sets of rows, or of what was drawn.

    A sample of batches moves an amount from one cause to its neighbour and leaves their sum, so that it does not count.
    """
    if rows is None and gap.train.facts.rows.label == gap.validation.facts.rows.label:
        known = [link.stderr for link in gap.links if math.isfinite(link.stderr)]
        return math.sqrt(math.fsum(e * e for e in known)) if not gap.sample else 0.0
    both = math.hypot(gap.train.stderr, gap.validation.stderr)
    if math.isfinite(both):
        return both
    return rows.stderr if rows is not None and math.isfinite(rows.stderr) else 0.0


def _state(gap: Gap, rows: Amount | None) -> str:
    if rows is None:
        return "same" if gap.train.facts.rows.label == gap.validation.facts.rows.label else "bundled"
    if math.isnan(rows.stderr):
        return "unknown"
    if rows.noisy or rows.change == 0:
        return "noise"
    better = _better(gap, rows.change)
    return "differ" if better is None else "better" if better else "worse"


def _better(gap: Gap, change: float) -> bool | None:
    """Whether a change is for the better; None where neither way is."""
    direction = gap.validation.direction or gap.train.direction
    return None if direction not in ("min", "max") or change == 0 else (change > 0) == (direction == "max")


def _kind(found: _Findings) -> Kind:
    rows = abs(found.rows.change) if found.rows is not None else 0.0
    if found.top <= ROUNDING * max(abs(found.gap.train.value), abs(found.gap.validation.value)):
        return Kind.NONE
    if found.share and found.state == "worse":
        return Kind.OVERFITTING if rows >= found.rival else Kind.MIXED
    if found.share and found.state in ("better", "differ") and rows >= found.rival:
        return Kind.ROWS
    if found.small:
        return Kind.CANCELLING if found.cancelling else Kind.NONE
    separated = any(a.cause is not Cause.NOT_SEPARATED for a in found.large)
    if found.state == "bundled" or not separated or (found.state == "unknown" and found.share):
        return Kind.UNDECIDED
    if found.state == "noise" and found.rows is not None:
        low, high = found.rows.interval
        worst = {True: -low, False: high}.get(found.gap.validation.direction == "max", max(-low, high))
        if worst > found.rival:
            return Kind.UNDECIDED
    return Kind.BOOKKEEPING


def _what(found: _Findings, kind: Kind) -> str:
    """The gap and what dominates it."""
    gap, scale = found.gap, found.scale
    train, validation = names_of(gap)
    head = _head(found)
    if kind is Kind.NONE:
        if abs(gap.total) <= found.top <= ROUNDING * max(abs(gap.train.value), abs(gap.validation.value)):
            return f"{head}: no gap to explain." if gap.total == 0 else f"{head}, float rounding: no gap to explain."
        low, high = gap.total - 1.96 * found.noise, gap.total + 1.96 * found.noise
        return f"{head}, within sampling noise ({_interval(scale, low, high)}): no gap to explain."
    named = sorted(
        [*found.large, *([found.rows] if found.rows in found_large_rows(found) else [])], key=lambda a: -abs(a.change)
    )
    if not named:
        return f"{head}, and no single cause of it is larger than its own noise."
    clauses = _listed([f"{a.sentence} ({scale.signed(a.change)})" for a in named[:3]])
    if found.cancelling:
        return f"{_upper(validation)} and {train} agree ({scale.signed(gap.total)}) because causes cancel: {clauses}."
    return f"{head}: {clauses}."


def found_large_rows(found: _Findings) -> tuple[Amount, ...]:
    """The row difference, where it is one of the amounts worth a word."""
    return (found.rows,) if found.rows is not None and found.share and found.state not in ("noise",) else ()
