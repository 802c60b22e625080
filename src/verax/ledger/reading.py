"""A number with what it measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from verax.ledger.facts import Facts
from verax.ledger.tally import Tally

__all__ = ["Part", "Reading", "format_number"]


@dataclass(frozen=True)
class Part:
    """One summand of a reading: an output's loss, or a penalty.

    Attributes:
        name: The output's name, or the path of the penalized variable or layer.
        tally: Its sums.
        coefficient: What its mean is multiplied with (a loss weight).
        kind: "data" or "penalty".
        average: "mean" (Σv / Σu) or "sum" (Σv, for ``reduction="sum"``).
    """

    name: str
    tally: Tally
    coefficient: float = 1.0
    kind: str = "data"
    average: str = "mean"

    @property
    def value(self) -> float:
        """The part's own value, before its coefficient."""
        return float(self.tally.sum) if self.average == "sum" else self.tally.mean

    @property
    def stderr(self) -> float:
        """Its standard error over rows; 0 for a penalty, which no choice of rows changes."""
        if self.kind == "penalty":
            return 0.0
        scale = abs(float(self.tally.weight)) if self.average == "sum" else 1.0
        return self.tally.stderr * scale


@dataclass(frozen=True)
class Reading:
    """A reported number: its value, its sampling error, and what it measured.

    Attributes:
        name: "loss", "accuracy", "val_loss", ...
        value: The number.
        stderr: Its standard error over rows, as if these rows were drawn at random; NaN where it has none (AUC).
        facts: What was measured.
        parts: name -> summand; a metric has none.
        tally: The sums of a metric that is a mean; None otherwise.
        direction: "min" or "max": which way is better; None where neither is.
    """

    name: str
    value: float
    stderr: float
    facts: Facts
    parts: Mapping[str, Part] = field(default_factory=dict[str, Part])
    tally: Tally | None = None
    direction: str | None = None

    @classmethod
    def of_parts(cls, name: str, parts: list[Part], facts: Facts) -> Reading:
        """The sum of weighted parts.

        value = Σ coefficient · part. Parts are measured on the same rows, so their errors are not independent: the
        standard error is the bound Σ |coefficient| · stderr, exact where one part carries it.
        """
        value = math.fsum(p.coefficient * p.value for p in parts)
        stderr = math.fsum(abs(p.coefficient) * p.stderr for p in parts)
        return cls(name, value, stderr, facts, {p.name: p for p in parts}, direction="min")

    @classmethod
    def of_tally(cls, name: str, tally: Tally, facts: Facts, *, direction: str | None = None) -> Reading:
        """The mean of one tally."""
        return cls(name, tally.mean, tally.stderr, facts, tally=tally, direction=direction)

    @property
    def sum(self) -> float:
        """Σ v over rows: of the tally, or of the data parts with their coefficients."""
        if self.tally is not None:
            return float(self.tally.sum)
        return math.fsum(p.coefficient * float(p.tally.sum) for p in self.parts.values() if p.kind == "data")

    @property
    def weight(self) -> float:
        """Σ u over rows: of the tally, or of the first data part."""
        if self.tally is not None:
            return float(self.tally.weight)
        return next((float(p.tally.weight) for p in self.parts.values() if p.kind == "data"), 0.0)

    @property
    def data(self) -> float:
        """The value without penalties."""
        return math.fsum(p.coefficient * p.value for p in self.parts.values() if p.kind == "data")

    def without_penalties(self) -> Reading:
        """The same number of its data parts alone; a metric is as it is."""
        if not self.parts:
            return self
        terms = tuple(t for t in self.facts.terms if t != "penalties")
        data = [p for p in self.parts.values() if p.kind == "data"]
        return replace(Reading.of_parts(self.name, data, self.facts.but(terms=terms)), direction=self.direction)

    @property
    def penalties(self) -> float:
        """The penalties alone."""
        return math.fsum(p.coefficient * p.value for p in self.parts.values() if p.kind == "penalty")

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        """One honest sentence."""
        f = self.facts
        number = f"{self.name} {format_number(self.value)}"
        if not math.isnan(self.stderr) and self.stderr > 0:
            number += f" ± {format_number(self.stderr)}"
        if "penalties" in f.terms:
            number += f" (data {format_number(self.data)} + penalties {format_number(self.penalties)})"
        clauses = [
            f.average.replace("rows", str(f.rows)),
            _params(f),
            _modes(f),
        ]
        if f.draws == "fresh":
            clauses.append("with fresh draws")
        if f.objective != "plain":
            clauses.append(f"of {f.objective}")
        if f.view != "plain":
            clauses.append(f"{f.view} rows")
        if f.weights != "none":
            clauses.append(f"rows weighted by {f.weights}")
        if f.averaged != "raw":
            clauses.append(f"weights averaged by {f.averaged}")
        if f.dtype != "float32":
            clauses.append(f"computed in {f.dtype}")
        if f.clipped:
            clauses.append(f"{f.clipped:,} predictions clipped at 1e-7 (no logits stand behind them)")
        return f"{number} = " + ", ".join(c for c in clauses if c) + "."


def format_number(value: float) -> str:
    """Four significant digits or four decimals, whichever a person reads sooner.

    >>> format_number(0.15234), format_number(12.5), format_number(3.2e-6), format_number(1.0)
    ('0.1523', '12.5000', '3.2000e-06', '1.0000')
    """
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.4e}"
    return f"{value:.4f}"


def _params(f: Facts) -> str:
    if f.params == "each step's own":
        return "each row at its own step's weights, before the update"
    return "at the weights as they are now" if f.params == "now" else f"at the weights of {f.params}"


_STATES = {
    ("dropout", "train"): "dropout on",
    ("dropout", "infer"): "dropout off",
    ("noise", "train"): "noise on",
    ("noise", "infer"): "noise off",
    ("batch_statistics", "train"): "each batch's own statistics",
    ("batch_statistics", "infer"): "moving averages",
    ("batch_statistics", "population"): "population statistics",
    ("augmentation", "train"): "augmentation on",
    ("augmentation", "infer"): "augmentation off",
    ("stochastic_depth", "train"): "stochastic depth on",
    ("stochastic_depth", "infer"): "stochastic depth off",
}


def _modes(f: Facts) -> str:
    if not f.modes:
        return "no layer depends on the mode"
    said: dict[str, None] = {}
    for mode in f.modes:
        if mode.effect.startswith("custom:"):
            words = f"{mode.path} in {'training' if mode.state == 'train' else 'inference'} mode"
        else:
            words = _STATES.get((mode.effect, mode.state), f"{mode.effect} {mode.state}")
        if mode.why == "forced":
            words += f" (forced by a call: {mode.path})"
        elif mode.why == "frozen":
            words += " (frozen)"
        said[words] = None
    states = {m.state for m in f.modes}
    whole = {frozenset({"train"}): "training mode", frozenset({"infer"}): "inference mode"}
    return f"{whole.get(frozenset(states), 'mixed modes')} ({', '.join(said)})"
