"""A gap's links as a person counts them: one signed amount a cause, and one number format for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from verax.ledger.causes import Cause

if TYPE_CHECKING:
    from verax.ledger.chain import Gap, Link

__all__ = ["Amount", "Scale", "amounts_of", "lag_of", "penalty_sentence", "shorten"]

#: What is taken off at the start of a chain and put on again at its end, and so is one net amount.
_NET = (Cause.PENALTIES, Cause.OBJECTIVE, Cause.ROW_WEIGHTS, Cause.AVERAGE)

#: fact -> (title, sentence), where the fact says more than its cause does.
_EXACT = {
    "mode:dropout": ("dropout", "dropout is on in training and off in inference"),
    "mode:noise": ("noise", "noise is on in training and off in inference"),
    "mode:augmentation": ("augmentation layers", "augmentation layers are on in training and off in inference"),
}

#: Below this share of the numbers themselves a change is float rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Amount:
    """What one cause adds to a gap.

    Attributes:
        title: The cause in a word or three.
        sentence: The cause as a clause.
        cause: The cause.
        change: Its signed amount.
        stderr: Its standard error; 0 where nothing is random, NaN where it is not known.
        links: The links it is the sum of.
        paths: The layers concerned.
    """

    title: str
    sentence: str
    cause: Cause
    change: float
    stderr: float
    links: tuple[Link, ...]
    paths: tuple[str, ...] = ()

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, change ± 1.96 · stderr."""
        return self.change - 1.96 * self.stderr, self.change + 1.96 * self.stderr

    @property
    def noisy(self) -> bool:
        """Whether the interval holds zero; an error that is not known cannot say so."""
        return self.stderr > 0 and abs(self.change) <= 1.96 * self.stderr

    @property
    def of_rows(self) -> bool:
        """Whether it is the difference between two sets of rows, all else equal."""
        ends = self.links[0].before.facts.rows.label, self.links[-1].after.facts.rows.label
        return self.cause is Cause.ROWS and ends[0] != ends[1]


def amounts_of(gap: Gap) -> tuple[Amount, ...]:
    """One amount a cause, in the order of the chain.

    What is taken off at one end and put on at the other (penalties, the training objective, row weights) is one net
    amount, at the place where it is first met. Two links of one cause but of different layers stay two.
    """
    groups: dict[object, list[Link]] = {}
    for i, link in enumerate(gap.links):
        groups.setdefault(link.cause if link.cause in _NET else i, []).append(link)
    return tuple(_amount(tuple(links)) for links in groups.values())


def _amount(links: tuple[Link, ...]) -> Amount:
    first = links[0]
    title, sentence = _EXACT.get(first.fact.fact, (first.cause.title, first.cause.sentence))
    if first.cause is Cause.CUSTOM_MODE:
        path = first.fact.fact.removeprefix("mode:custom").removeprefix(":")
        title, sentence = f"{title} {path}", f"{shorten(path, 48)} behaves differently in training"
    elif first.cause is Cause.WEIGHTS_MOVED and "each step's own" not in (first.fact.before, first.fact.after):
        title, sentence = "other weights", f"the weights are {first.fact.after}, not {first.fact.before}"
    elif first.cause is Cause.PENALTIES and len(links) > 1:
        title, sentence = "penalties, net", "the penalties are in both numbers, and changed"
    elif len(links) > 1:
        title = f"{title}, net"
    change = math.fsum(link.change for link in links)
    stderr = math.sqrt(math.fsum(link.stderr**2 for link in links))
    return Amount(title, sentence, first.cause, change, stderr, links, first.fact.paths)


def penalty_sentence(gap: Gap) -> str:
    """In which numbers the penalties are, and what that does to the gap; "" where there are none.

    Many articles say that regularization penalties are in the training loss only. They are in whatever number
    counts them, and a validation loss does.
    """
    links = [link for link in gap.links if link.cause is Cause.PENALTIES]
    off = [-link.change for link in links if "penalties" in link.before.facts.terms]
    on = [link.change for link in links if "penalties" in link.after.facts.terms]
    if not any(off) and not any(on):
        return ""
    scale = Scale.of(gap)
    train, validation = names_of(gap)
    if off and on:
        net = scale.signed(on[-1] - off[0])
        ends = f"{scale.number(off[0])} and {scale.number(on[-1])}"
        return f"The penalty is in both numbers ({ends}): it explains {net} of the gap."
    name, amount, other = (train, off[0], validation) if off else (validation, on[0], train)
    return f"The penalty ({scale.number(amount)}) is in {name} and not in {other}."


def names_of(gap: Gap) -> tuple[str, str]:
    """What the two numbers are called: by their names, or by their order where the names are one."""
    first, last = gap.train.name, gap.validation.name
    return (first, last) if first != last else (f"the first {first}", f"the second {last}")


def lag_of(gap: Gap) -> list[dict[str, Any]]:
    """The layers whose moving averages lag, worst first: path, off (relative), momentum, updates seen and needed.

    Momentum is the share that is kept at an update; where an entry says "taken" it is the share that is taken, as
    PyTorch has it. A layer's mean and variance are one entry, that of the one which is further off.
    """
    found: dict[str, dict[str, Any]] = {}
    for link in gap.links:
        for one in cast("Sequence[Mapping[str, Any]]", link.detail.get("averages", ())):
            path = str(one.get("path", ""))
            layer = path.rsplit("/", 1)[0] if path.rsplit("/", 1)[-1].startswith("moving_") else path
            if layer not in found or one.get("off", 0.0) > found[layer].get("off", 0.0):
                found[layer] = {**one, "path": layer}
    return sorted(found.values(), key=lambda one: -float(one.get("off", 0.0)))


def shorten(text: str, width: int) -> str:
    """A path, or words before a path, made to fit: of a path the end is of more worth.

    >>> shorten("encoder/block_12/attention/norm", 20), shorten("custom layer encoder/block_12/mine", 24)
    ('…/attention/norm', 'custom layer …/mine')
    """
    if len(text) <= width:
        return text
    head, space, path = text.rpartition(" ")
    if space and width - len(head) >= 10:
        return head + space + shorten(path, width - len(head) - 1)
    parts = text.split("/")
    ends = ("…/" + "/".join(parts[i:]) for i in range(1, len(parts)))
    return next((end for end in ends if len(end) <= width), "…" + text[len(text) - width + 1 :])


@dataclass(frozen=True)
class Scale:
    """How the numbers of one gap are written: all with the same decimals, so that they can be added by eye.

    Attributes:
        exponent: Numbers are written in units of 10^exponent; 0 for all but very small and very large ones.
        decimals: Digits after the point.
    """

    exponent: int = 0
    decimals: int = 4

    @classmethod
    def of(cls, gap: Gap) -> Scale:
        """The scale of a gap: four decimals for everyday numbers, enough to see the largest change."""
        links = [*gap.links, *(link for column in gap.columns.values() for link in column.links)]
        ends = [reading.value for link in links for reading in (link.before, link.after)]
        return cls.fit(ends, [link.change for link in links])

    @classmethod
    def fit(cls, values: Iterable[float], changes: Iterable[float] = ()) -> Scale:
        """The scale of some numbers and of the changes between them.

        >>> Scale.fit([1.3151, 1.6557]), Scale.fit([3.2e-6]), Scale.fit([12345.0]), Scale.fit([0.5], [5e-5])
        (Scale(exponent=0, decimals=4), Scale(exponent=-6, decimals=4), Scale(exponent=0, decimals=1), \
Scale(exponent=0, decimals=6))
        """
        top = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
        if top == 0:
            return cls()
        size = math.floor(math.log10(top))
        exponent = 0 if -4 <= size < 8 else size
        size -= exponent
        decimals = max(0, 5 - size) if size > 1 else 4 if size >= -2 else 3 - size
        largest = max((abs(c) for c in changes if math.isfinite(c)), default=0.0)
        if largest > ROUNDING * top:
            decimals = max(decimals, 1 - math.floor(math.log10(largest)) + exponent)
        return cls(exponent, decimals)

    @property
    def unit(self) -> float:
        """The last digit shown."""
        return 10.0 ** (self.exponent - self.decimals)

    def steps(self, value: float) -> int:
        """The number in units of the last digit shown, as it is shown."""
        return round(float(f"{value / 10.0**self.exponent:.{self.decimals}f}") * 10**self.decimals)

    def number(self, value: float) -> str:
        """The number, unsigned unless negative."""
        return self._write(value, "")

    def signed(self, value: float) -> str:
        """The number with its sign; one that rounds to nothing has none."""
        return self._write(value, "+")

    def _write(self, value: float, sign: str) -> str:
        if not math.isfinite(value):
            return "nan" if math.isnan(value) else f"{value:{sign}}"
        value = value if self.steps(value) else 0.0
        suffix = f"e{self.exponent:+03d}" if self.exponent else ""
        return f"{value / 10.0**self.exponent:{sign if value else ''}.{self.decimals}f}{suffix}"
