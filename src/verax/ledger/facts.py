"""What a number measured, said in facts; and the difference between two of them, in words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import Any, cast

__all__ = ["Change", "Facts", "LayerMode", "Rows"]


@dataclass(frozen=True, order=True)
class LayerMode:
    """What one mode-dependent layer did in the pass.

    Attributes:
        effect: What depends on the mode: "dropout", "batch_statistics", ..., "custom:<path>".
        path: The layer.
        state: "train", "infer", or for batch statistics also "population".
        why: "asked" (by the pass), "forced" (by a call in a layer), "frozen" (``trainable=False``).
    """

    effect: str
    path: str
    state: str
    why: str = "asked"


@dataclass(frozen=True)
class Rows:
    """Which rows were measured.

    Attributes:
        label: What they are: "training rows", "validation rows".
        count: How many were measured; None while unknown.
        of: How many there are; None where the source does not say.
        part: Which part of them, where it was chosen for a reason of its own: "the share of rank 0 of 2".
    """

    label: str
    count: int | None = None
    of: int | None = None
    part: str = ""

    @property
    def skipped(self) -> bool:
        """Whether there are more rows than were measured."""
        return self.count is not None and self.of is not None and self.count < self.of

    def complete(self) -> Rows:
        """All the rows there are."""
        return Rows(self.label, self.of, self.of)

    def __str__(self) -> str:
        count = "" if self.count is None else f"{self.count:,} "
        some = "" if self.of is None or self.of == self.count else f" of {self.of:,}"
        label = self.label.removesuffix("s") if self.count == 1 and not some else self.label
        return f"{count}{label}{some}" + (f", {self.part}" if self.part else "")


@dataclass(frozen=True)
class Facts:
    """What a reading measured. Two readings whose facts differ in one place differ for one reason.

    Attributes:
        terms: What is in the number: "data", "penalties"; "metric" for a metric.
        objective: "plain", or how the training objective differs from the loss a person means.
        params: Whose weights: "each step's own", "the end of epoch 3", "now".
        draws: "none", "as drawn" (the masks the step trained with), "fresh".
        view: "plain" or "augmented".
        modes: What each mode-dependent layer did.
        weights: How rows were weighted: "none", "sample weights", "class weights", ...
        average: How rows became one number.
        averaged: Whether the weights were raw or averaged over steps ("raw", "EMA").
        dtype: The dtype computed in.
        rows: Which rows.
        clipped: How many predictions were clipped at 1e-7 before a logarithm, because no logits stand behind them.
    """

    terms: tuple[str, ...] = ("data",)
    objective: str = "plain"
    params: str = "now"
    draws: str = "none"
    view: str = "plain"
    modes: tuple[LayerMode, ...] = ()
    weights: str = "none"
    average: str = "mean over rows"
    averaged: str = "raw"
    dtype: str = "float32"
    rows: Rows = Rows("rows")
    clipped: int = 0

    @property
    def even(self) -> bool:
        """Whether every row (or what the loss counts) has one share in the number, or the share that its weight says.

        A mean of batch means, the last batch alone or a smoothed number are not: which batch a row fell in decides.
        """
        return self.average.startswith(("mean over", "weighted mean over", "counts over", "sum over rows"))

    def but(self, **changes: Any) -> Facts:
        """The same facts with some changed."""
        return replace(self, **changes)

    def differences(self, other: Facts) -> tuple[Change, ...]:
        """Every fact in which ``other`` differs; the modes of one effect are one fact.

        >>> a = Facts(params="each step's own")
        >>> [str(c) for c in a.differences(a.but(params="the end of epoch 1"))]
        ["params: each step's own -> the end of epoch 1"]
        """
        changes: list[Change] = []
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if mine == theirs or one.name == "clipped" or (one.name == "draws" and "none" in (mine, theirs)):
                continue  # how much was clipped, and whether anything is drawn at all, follow from the rest
            if one.name == "modes":
                changes.extend(_mode_changes(self.modes, other.modes))
            else:
                mine_of, theirs_of = (self.rows.label, self.rows.of), (other.rows.label, other.rows.of)
                skipped = one.name == "rows" and mine_of == theirs_of
                changes.append(Change("rows:skipped" if skipped else one.name, _words(mine), _words(theirs)))
        return tuple(changes)

    def in_training(self) -> tuple[str, ...]:
        """The effects that were in training mode somewhere."""
        return tuple(sorted({m.effect for m in self.modes if m.state == "train"}))


@dataclass(frozen=True)
class Change:
    """One fact that differs between two readings.

    Attributes:
        fact: Its name; "mode:<effect>" for the modes of the layers of one effect.
        before, after: What it was and is, in words.
        paths: The layers concerned.
    """

    fact: str
    before: str
    after: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" ({', '.join(self.paths[:3])}{', ...' if len(self.paths) > 3 else ''})" if self.paths else ""
        return f"{self.fact}: {self.before} -> {self.after}{where}"


def _mode_changes(mine: tuple[LayerMode, ...], theirs: tuple[LayerMode, ...]) -> list[Change]:
    before = {(m.effect, m.path): m.state for m in mine}
    after = {(m.effect, m.path): m.state for m in theirs}
    moved: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for effect, path in sorted(before.keys() | after.keys()):
        was, now = before.get((effect, path), "absent"), after.get((effect, path), "absent")
        if was != now:
            moved[effect, was, now].append(path)
    return [Change(f"mode:{effect}", was, now, tuple(paths)) for (effect, was, now), paths in moved.items()]


def _words(value: object) -> str:
    return " + ".join(str(v) for v in cast("tuple[object, ...]", value)) if isinstance(value, tuple) else str(value)
