"""A gap as a waterfall: from one number through each cause to the other, in SVG or with matplotlib."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from verax.errors import MissingExtraError
from verax.ledger.amounts import Scale, amounts_of, names_of, shorten
from verax.ledger.verdict import judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from verax.ledger.chain import Gap

__all__ = ["COLORS", "Waterfall", "better_word", "plot_waterfall", "svg"]

#: Vermilion, blue and grey of Okabe and Ito's palette ("Color Universal Design", 2008), which colour-blind readers
#: tell apart; the first two a little lighter, to stand on black as on white.
COLORS = {"worse": "#e0671b", "better": "#2b8cd6"}
_NEITHER = "#8a8a8a"


@dataclass(frozen=True)
class Bar:
    """One cause in the picture: from where to where, and how sure that is."""

    title: str
    amount: str
    start: float
    end: float
    stderr: float
    word: str

    @property
    def color(self) -> str:
        """By what the cause does to the number."""
        return COLORS.get(self.word, _NEITHER)

    @property
    def reach(self) -> tuple[float, float]:
        """Least and most of the bar and its whisker."""
        spread = 1.96 * self.stderr if math.isfinite(self.stderr) else 0.0
        return min(self.start, self.end - spread), max(self.start, self.end + spread)


@dataclass(frozen=True)
class Waterfall:
    """What is drawn: the two numbers, the bars between, and the axis.

    Attributes:
        names, ends: The two numbers.
        bars: One a cause that shows.
        low, high: The axis' ends.
        ticks: Round values on it.
    """

    scale: Scale
    names: tuple[str, str]
    ends: tuple[float, float]
    bars: tuple[Bar, ...]
    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, gap: Gap) -> Waterfall | None:
        """The picture of a gap; None where there is nothing to draw."""
        if not gap.links or not math.isfinite(gap.total) or not all(math.isfinite(a.change) for a in amounts_of(gap)):
            return None
        scale = Scale.of(gap)
        bars: list[Bar] = []
        at = gap.train.value
        for amount in amounts_of(gap):
            after = at + amount.change
            if scale.steps(amount.change) or (math.isfinite(amount.stderr) and scale.steps(amount.stderr)):
                noise = math.isfinite(amount.stderr) and scale.steps(amount.stderr)
                told = scale.signed(amount.change) + (f" ± {scale.number(amount.stderr)}" if noise else "")
                bars.append(Bar(amount.title, told, at, after, amount.stderr, better_word(gap, amount.change)))
            at = after
        ends = gap.train.value, gap.validation.value
        reach = [*ends, *(x for bar in bars for x in bar.reach)]
        low, high = min(reach), max(reach)
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            half = abs(high) / 20 or 1.0
            low, high = low - half, high + half
        margin = (high - low) * 0.03
        low, high = low - margin, high + margin
        return cls(scale, names_of(gap), ends, tuple(bars), low, high, _ticks(low, high))


def better_word(gap: Gap, change: float) -> str:
    """What a change does to the number, in a word."""
    if change == 0 or not math.isfinite(change):
        return ""
    direction = gap.validation.direction or gap.train.direction
    if direction not in ("min", "max"):
        return "higher" if change > 0 else "lower"
    return "better" if (change > 0) == (direction == "max") else "worse"


def _ticks(low: float, high: float, count: int = 6) -> tuple[float, ...]:
    """Round values between two: steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(power * m for m in (1, 2, 5, 10) if (high - low) / (power * m) <= count)
    return tuple(step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1))


def _tick_text(value: float, ticks: Sequence[float]) -> str:
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    value = 0.0 if abs(value) < step / 1e6 else value
    largest = max(map(abs, ticks))
    if largest >= 1e8 or largest < 1e-3:
        return f"{value:.{max(0, math.floor(math.log10(largest or 1.0)) - math.floor(math.log10(step)))}e}"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


# ---- svg -------------------------------------------------------------------------------------------------------------

_ROW, _BAR, _TOP = 44, 16, 4

#: A value -> its place across, in per cent.
_Across = Callable[[float], str]


def svg(gap: Gap) -> str:
    """The waterfall as an SVG element that is as wide as its place.

    Positions across are in per cent and text is not scaled, so that it is read on a telephone as on a wide screen: a
    line of text stands above each bar. "" where there is nothing to draw.
    """
    fall = Waterfall.of(gap)
    if fall is None:
        return ""
    rows = len(fall.bars) + 2
    bottom = _TOP + rows * _ROW + 4

    def x(value: float) -> str:
        return f"{2 + 96 * (value - fall.low) / (fall.high - fall.low):.3f}%"

    parts = [_grid(fall, x, bottom)]
    values = [fall.ends[0], *(bar.end for bar in fall.bars)]
    for row, value in enumerate(values):  # where one bar ends the next begins
        y = _TOP + row * _ROW + 40
        parts.append(f'<line class="join" x1="{x(value)}" x2="{x(value)}" y1="{y - 8}" y2="{y + _ROW - 14}"/>')
    parts.append(_end(fall, x, 0))
    parts += [_bar(bar, x, row) for row, bar in enumerate(fall.bars, 1)]
    parts.append(_end(fall, x, 1))
    label = escape(judge(gap).line, quote=True)
    return (
        f'<svg class="waterfall" role="img" aria-label="{label}" width="100%" height="{bottom + 24}">'
        f"{''.join(parts)}</svg>"
    )


def _grid(fall: Waterfall, x: _Across, bottom: int) -> str:
    lines = [f'<line class="grid" x1="{x(t)}" x2="{x(t)}" y1="{_TOP}" y2="{bottom}"/>' for t in fall.ticks]
    words: list[str] = []
    for tick in fall.ticks:
        share = (tick - fall.low) / (fall.high - fall.low)
        anchor = "start" if share < 0.06 else "end" if share > 0.94 else "middle"
        text = _tick_text(tick, fall.ticks)
        words.append(f'<text class="tick" x="{x(tick)}" y="{bottom + 16}" text-anchor="{anchor}">{text}</text>')
    return "".join([*lines, f'<line class="axis" x1="0" x2="100%" y1="{bottom}" y2="{bottom}"/>', *words])


def _end(fall: Waterfall, x: _Across, which: int) -> str:
    y = _TOP + (0 if which == 0 else len(fall.bars) + 1) * _ROW
    value, name = fall.ends[which], escape(shorten(fall.names[which], 34))
    return (
        f'<text class="name" x="0" y="{y + 13}">{name}</text>'
        f'<text class="name" x="100%" y="{y + 13}" text-anchor="end">{fall.scale.number(value)}</text>'
        f'<line class="end" x1="{x(value)}" x2="{x(value)}" y1="{y + 20}" y2="{y + 20 + _BAR}"/>'
        f'<circle class="dot" cx="{x(value)}" cy="{y + 20 + _BAR / 2:g}" r="5"/>'
    )


def _bar(bar: Bar, x: _Across, row: int) -> str:
    y = _TOP + row * _ROW
    left, right = sorted((bar.start, bar.end))
    width = float(x(right)[:-1]) - float(x(left)[:-1])
    word = f' <tspan class="word">{bar.word}</tspan>' if bar.word else ""
    parts = [
        f"<g><title>{escape(bar.title)}: {bar.amount} {bar.word}</title>",
        f'<text x="0" y="{y + 13}">{escape(shorten(bar.title, 28))}</text>',
        f'<text x="100%" y="{y + 13}" text-anchor="end">{bar.amount}{word}</text>',
        f'<rect x="{x(left)}" width="{max(width, 0.2):.3f}%" y="{y + 20}" height="{_BAR}" rx="2" fill="{bar.color}"/>',
    ]
    if math.isfinite(bar.stderr) and bar.stderr > 0:
        ends = x(bar.end - 1.96 * bar.stderr), x(bar.end + 1.96 * bar.stderr)
        middle = y + 20 + _BAR / 2
        parts.append(f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="{middle:g}" y2="{middle:g}"/>')
        parts += [f'<line class="whisker" x1="{e}" x2="{e}" y1="{middle - 4:g}" y2="{middle + 4:g}"/>' for e in ends]
    return "".join([*parts, "</g>"])


# ---- matplotlib ------------------------------------------------------------------------------------------------------


def plot_waterfall(gap: Gap, ax: Axes | None = None) -> Axes:
    """The waterfall on matplotlib's axes; on a figure of its own (``ax.figure``) when ``ax`` is None.

    No pyplot state is touched. Whiskers are 95 % intervals.
    """
    fall = Waterfall.of(gap)
    if ax is None:
        try:
            from matplotlib.figure import Figure
        except ImportError as missing:
            raise MissingExtraError.of(
                "matplotlib", extra="plot", asked="gap.plot() draws with matplotlib."
            ) from missing
        height = 1.6 + 0.42 * (2 if fall is None else len(fall.bars) + 2)
        ax = Figure(figsize=(8.0, height), layout="constrained").add_subplot()
    axes: Any = ax  # matplotlib's own annotations are partial
    if fall is None:
        axes.text(0.5, 0.5, judge(gap).sentence, ha="center", va="center", wrap=True, transform=axes.transAxes)
        axes.set_axis_off()
        return ax
    _draw(axes, fall)
    axes.set_title(textwrap.fill(judge(gap).line, 60), fontsize="medium", loc="left", parse_math=False)
    return ax


def _draw(ax: Any, fall: Waterfall) -> None:
    last = len(fall.bars) + 1
    values = [fall.ends[0], *(bar.end for bar in fall.bars)]
    for row, value in enumerate(values):
        ax.plot([value, value], [row, row + 1], color="0.6", linewidth=0.8, zorder=1)
    for row, bar in enumerate(fall.bars, 1):
        ax.barh(row, bar.end - bar.start, left=bar.start, height=0.62, color=bar.color, zorder=2)
        if math.isfinite(bar.stderr) and bar.stderr > 0:
            ax.errorbar(bar.end, row, xerr=1.96 * bar.stderr, color="0.15", capsize=3, linewidth=1.1, zorder=3)
    for row, value in ((0, fall.ends[0]), (last, fall.ends[1])):
        ax.plot([value], [row], marker="o", markersize=8, color="0.15", zorder=4)
    ax.set_xlim(fall.low, fall.high)
    ax.set_ylim(last + 0.6, -0.6)
    titles = [fall.names[0], *(bar.title for bar in fall.bars), fall.names[1]]
    ax.set_yticks(range(last + 1), labels=[shorten(t, 34) for t in titles], parse_math=False)
    amounts = [f"{bar.amount} {bar.word}".rstrip() for bar in fall.bars]
    right = ax.secondary_yaxis("right")
    right.set_yticks(
        range(last + 1), labels=[fall.scale.number(fall.ends[0]), *amounts, fall.scale.number(fall.ends[1])]
    )
    for axis in (ax, right):
        axis.tick_params(axis="y", length=0)
        axis.spines[:].set_visible(False)
    ax.spines["bottom"].set_visible(True)
    ax.grid(axis="x", color="0.9", zorder=0)
    ax.set_axisbelow(True)
