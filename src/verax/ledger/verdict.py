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

    OVERFITTING = (
        "overfitting",
        "the validation rows are worse by more than sampling noise, and that is most of the gap",
    )
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
    sentence = " ".join(s for s in (_what(found, kind), _rows(found, kind), _unsure(found)) if s)
    return Verdict(kind, sentence, _line(found, kind), _advice(found, kind))


@dataclass(frozen=True)
class _Findings:
    """What a verdict is made of.

    Attributes:
        rows: The row difference, all else equal; None where it was not separated, or the rows are the very same.
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
        same = gap.train.facts.rows.label == gap.validation.facts.rows.label
        if rows is not None and rows.stderr == 0 and abs(rows.change) <= 10 * rounding:
            rows, same = None, True  # the very same rows under another label, but for rounding
        sure = [a for a in others if not a.noisy and abs(a.change) > rounding]
        large = sorted((a for a in sure if abs(a.change) >= LARGE * top), key=lambda a: -abs(a.change))
        noise = _noise(gap, rows, same)
        return cls(
            gap, Scale.of(gap), rows, others, tuple(large), max((abs(a.change) for a in sure), default=0.0), top, noise,
            abs(gap.total) <= max(rounding, 1.96 * noise), _state(gap, rows, same),
        )  # fmt: skip

    @property
    def share(self) -> bool:
        """Whether the row difference is large beside the other amounts."""
        return self.rows is not None and abs(self.rows.change) >= LARGE * self.top

    @property
    def named(self) -> list[Amount]:
        """The amounts worth a word, the row difference among them unless it is noise; the largest first."""
        rows = [self.rows] if self.rows is not None and self.share and self.state != "noise" else []
        return sorted([*self.large, *rows], key=lambda a: -abs(a.change))

    @property
    def certain(self) -> list[Amount]:
        """In a gap within its noise, the amounts that are large beside that noise."""
        return [a for a in self.large if abs(a.change) >= self.noise]

    @property
    def nothing(self) -> bool:
        """Whether every amount is float rounding."""
        return self.top <= ROUNDING * max(abs(self.gap.train.value), abs(self.gap.validation.value))

    @property
    def cancelling(self) -> bool:
        """Whether the gap is small although its causes are not."""
        least = max(1.96 * self.noise, 2 * abs(self.gap.total))
        return self.small and any(abs(a.change) > least for a in self.named)


def _noise(gap: Gap, rows: Amount | None, same: bool) -> float:
    """Standard error of the gap as a whole: that of two sets of rows, or of what was drawn.

    A sample of batches moves an amount from one cause to its neighbour and leaves their sum, so that it does not count.
    """
    if rows is None and same:
        known = [link.stderr for link in gap.links if math.isfinite(link.stderr)]
        return math.sqrt(math.fsum(e * e for e in known)) if not gap.sample else 0.0
    both = math.hypot(gap.train.stderr, gap.validation.stderr)
    if math.isfinite(both):
        return both
    return rows.stderr if rows is not None and math.isfinite(rows.stderr) else 0.0


def _state(gap: Gap, rows: Amount | None, same: bool) -> str:
    if rows is None:
        return "same" if same else "bundled"
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
    if found.nothing:
        return Kind.NONE
    rows = abs(found.rows.change) if found.rows is not None else 0.0
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
        direction = found.gap.validation.direction
        worst = -low if direction == "max" else high if direction == "min" else max(-low, high)
        if worst > found.rival:
            return Kind.UNDECIDED
    return Kind.BOOKKEEPING


# ---- in words --------------------------------------------------------------------------------------------------------


def _undefined(gap: Gap) -> Verdict:
    train, validation = names_of(gap)
    scale = Scale.of(gap)
    said = f"{train} is {scale.number(gap.train.value)} and {validation} is {scale.number(gap.validation.value)}"
    sentence = f"{_upper(said)}: a gap between them has no amount."
    advice = "find the first batch whose loss is not finite: callbacks.TerminateOnNaN stops there"
    return Verdict(Kind.UNDECIDED, sentence, f"{said}: no gap can be explained", (advice,))


def _head(found: _Findings) -> str:
    gap, scale = found.gap, found.scale
    train, validation = names_of(gap)
    if gap.total == 0:
        return _upper(f"{validation} and {train} are equal ({scale.number(gap.train.value)})")
    side = "above" if gap.total > 0 else "below"
    which = " (higher is better)" if gap.validation.direction == "max" else ""
    return _upper(f"{validation} is {scale.number(abs(gap.total))} {side} {train}{which}")


def _what(found: _Findings, kind: Kind) -> str:
    """The gap, and what dominates it."""
    gap, scale = found.gap, found.scale
    train, validation = names_of(gap)
    if kind is Kind.NONE:
        if gap.total == 0:
            return f"{_head(found)}: no gap to explain."
        if found.nothing:
            return _upper(f"{validation} and {train} differ by float rounding ({gap.total:.0e}): no gap to explain.")
        interval = _interval(scale, gap.total - 1.96 * found.noise, gap.total + 1.96 * found.noise)
        within = f"{_head(found)}, within sampling noise ({interval}): no gap to explain."
        certain = [_clause(a, scale) for a in found.certain]
        return f"{within} What is certain all the same: {_listed(certain)}." if certain else within
    if not found.named:
        return f"{_head(found)}, and no cause of it is larger than its own noise."
    clauses = _listed([_clause(a, scale) for a in found.named[:3]])
    if found.cancelling:
        only = f"{validation} and {train} differ by only {scale.number(abs(gap.total))} because causes cancel"
        return _upper(f"{only}: {clauses}.")
    return f"{_head(found)}: {clauses}."


def _clause(amount: Amount, scale: Scale) -> str:
    words = "the rows are not the same" if amount.of_rows else amount.sentence
    return f"{words} ({scale.signed(amount.change)})"


def _rows(found: _Findings, kind: Kind) -> str:
    """Whether the rows differ by more than sampling noise, and what follows."""
    if kind is Kind.NONE:
        return ""
    if found.state == "same":
        return "Both were measured on the same rows: none of it is overfitting."
    if found.rows is None:
        return "Different rows are part of that and could not be separated: whether it is overfitting is not known."
    scale, rows = found.scale, found.rows
    amount = scale.signed(rows.change)
    if found.state == "unknown":
        return f"The row difference ({amount}) has no standard error: whether it is more than noise is not known."
    interval = _interval(scale, *rows.interval)
    said_before = rows in found.named[:3]
    subject = f"The row difference ({interval}) is" if said_before else f"The rows differ by {amount} ({interval}),"
    if found.state == "noise":
        follows = {
            Kind.BOOKKEEPING: "so this is bookkeeping, with no sign of overfitting",
            Kind.UNDECIDED: "but it may be more: only more validation rows can tell",
        }
        return f"{subject} no more than sampling noise, {follows.get(kind, 'so there is no sign of overfitting')}."
    if found.state == "worse":
        follows = {
            Kind.OVERFITTING: "this is overfitting, or validation rows of another kind",
            Kind.MIXED: "a part of the gap is overfitting, or validation rows of another kind; the rest is bookkeeping",
        }
        said = follows.get(kind, "some overfitting, but little beside the bookkeeping")
        hidden = " Training looked worse, and was better." if _better(found.gap, found.gap.total) else ""
        return f"{subject} more than sampling noise, and for the worse: {said}.{hidden}"
    if found.state == "better":
        return f"{subject} more than sampling noise, and for the better: no overfitting, but easier validation rows."
    return f"{subject} more than sampling noise."


def _unsure(found: _Findings) -> str:
    """What could not be told."""
    gap = found.gap
    said: list[str] = []
    if gap.grade != "full":
        said.append(f"Not every cause could be separated: {gap.grade.removeprefix('not separated: ')}.")
    unknown = [a.title for a in found.large if math.isnan(a.stderr)]
    if unknown:
        said.append(f"No standard error is known for {_listed(unknown)}.")
    return " ".join(said)


def _line(found: _Findings, kind: Kind) -> str:
    gap, scale = found.gap, found.scale
    train, validation = names_of(gap)
    head = f"{validation} - {train} = {scale.signed(gap.total)}"
    if kind is Kind.NONE:
        return f"{head}, no more than {'rounding' if found.nothing else 'sampling noise'}: no gap to explain"
    ends = {
        Kind.OVERFITTING: "overfitting",
        Kind.MIXED: "partly overfitting",
        Kind.BOOKKEEPING: "no sign of overfitting",
        Kind.ROWS: "the rows differ, no overfitting",
        Kind.CANCELLING: "they cancel",
        Kind.UNDECIDED: "overfitting or not is undecided",
    }
    causes = [f"{a.title} {scale.signed(a.change)}" for a in found.named]
    heads = [head, f"gap {scale.signed(gap.total)}"]  # the short one where the names are long
    lines = [f"{h}: {', '.join(causes[:n])}; {ends[kind]}" for h in heads for n in range(min(3, len(causes)), 0, -1)]
    return next((line for line in lines if len(line) <= _LINE), f"{heads[1]}; {ends[kind]}")


def _advice(found: _Findings, kind: Kind) -> tuple[str, ...]:
    """What to do about each large cause."""
    wanted = found.certain if kind is Kind.NONE else found.named
    wanted = [a for a in wanted if not (a.of_rows and found.state == "unknown") and not found.nothing]
    return tuple(dict.fromkeys(f"{a.title}: {_cure(found.gap, a)}" for a in wanted))


def _cure(gap: Gap, amount: Amount) -> str:
    advice = gap.advice.get(amount.cause.name, amount.cause.advice)
    if amount.of_rows and _state(gap, amount, same=False) != "worse":
        return "check that validation rows are drawn and prepared as training rows are: they are easier"
    if amount.cause is Cause.MOVING_AVERAGES and (lag := lag_of(gap)):
        worst = lag[0]
        seen, needed = int(worst.get("updates", 0)), int(worst.get("needed", 0))
        fitting = math.floor(0.01 ** (1 / seen) * 100) / 100 if seen > 1 else 0.0
        if seen < needed and fitting > 0:
            fitting = 1.0 - fitting if worst.get("taken") else fitting
            caught = f"{fitting:.2f} would have caught up in the {seen:,} updates seen"
            advice += f" ({caught}; {worst['momentum']:g} needs {needed:,})"
    return advice


# ---- small words -----------------------------------------------------------------------------------------------------


def _interval(scale: Scale, low: float, high: float) -> str:
    return f"95 % interval {scale.signed(low)} to {scale.signed(high)}"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _upper(text: str) -> str:
    """A number's name keeps its case; a word does not."""
    return "The" + text[3:] if text.startswith("the ") else text
