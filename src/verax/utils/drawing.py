"""Boxes and arrows as an SVG picture: ranked from the inputs to the outputs, few crossings, nothing to be installed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

__all__ = ["Box", "Diagram", "svg_of"]

_SIZE = 13  # of letters, in pixels
_LETTER = 7.4  # width of a letter of that size, on average; a bold one is a little wider
_LINE, _PAD, _GAP, _RANK = 19, 10, 28, 44
_FILLS = {"input": "#E8F1FA", "layer": "#FFFFFF", "function": "#F4F4F4", "model": "#FBFBF4", "frozen": "#EFEFEF"}


@dataclass
class Box:
    """One box of a diagram.

    Attributes:
        title: Its first line, in bold.
        lines: What stands below.
        kind: Which colour it has: "input", "layer", "function", "model", "frozen".
        inside: The diagram in it, if any.
    """

    title: str
    lines: list[str] = field(default_factory=list[str])
    kind: str = "layer"
    inside: Diagram | None = None


@dataclass
class Diagram:
    """Boxes, and arrows between their numbers."""

    boxes: list[Box] = field(default_factory=list[Box])
    arrows: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def svg_of(diagram: Diagram, rankdir: str = "TB", scale: float = 1.0, title: str = "") -> str:
    """The picture of a diagram.

    Args:
        diagram: What to draw.
        rankdir: Where arrows lead: "TB" (down), "BT" (up), "LR" (right), "RL" (left).
        scale: By how much the picture is larger than its letters need.
        title: For those who hear pictures.
    """
    placed = _Placed(diagram, rankdir)
    width, height = placed.width + 2 * _PAD, placed.height + 2 * _PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * scale:.0f}" height="{height * scale:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="{_SIZE}" '
        'role="img">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
        *placed.drawn(_PAD, _PAD),
        "</svg>",
    ]
    return "\n".join(parts)


class _Placed:
    """A diagram with a place for every box; along: the way arrows go, across: the other way."""

    def __init__(self, diagram: Diagram, rankdir: str):
        self.diagram, self.rankdir = diagram, rankdir
        self.sideways = rankdir in ("LR", "RL")
        self.inner = [None if box.inside is None else _Placed(box.inside, rankdir) for box in diagram.boxes]
        sizes = [_size(box, inner) for box, inner in zip(diagram.boxes, self.inner, strict=True)]
        self.sizes = [(h, w) if self.sideways else (w, h) for w, h in sizes]  # (across, along)
        self._rank()
        self._order()
        self._place()

    def _rank(self) -> None:
        """A box is one rank below the lowest that leads to it; long arrows get a point in every rank between."""
        n = len(self.diagram.boxes)
        self.rank = [0] * n
        for _ in range(n):  # the longest way, also where boxes are not listed in order
            changed = False
            for a, b in self.diagram.arrows:
                if a != b and self.rank[b] < self.rank[a] + 1:
                    self.rank[b], changed = self.rank[a] + 1, True
            if not changed:
                break
        self.chains: list[list[int]] = []
        for a, b in dict.fromkeys(self.diagram.arrows):
            chain = [a]
            for rank in range(self.rank[a] + 1, self.rank[b]):
                chain.append(len(self.rank))
                self.rank.append(rank)
                self.sizes.append((_GAP / 2, 0.0))
            self.chains.append([*chain, b])

    def _order(self) -> None:
        """Boxes of a rank stand in the order of the means of their neighbours: down and up until it stays."""
        rows: dict[int, list[int]] = defaultdict(list)
        for node, rank in enumerate(self.rank):
            rows[rank].append(node)
        self.rows = [rows[rank] for rank in sorted(rows)]
        self.above: dict[int, list[int]] = defaultdict(list)
        self.below: dict[int, list[int]] = defaultdict(list)
        for chain in self.chains:
            for a, b in pairwise(chain):
                self.below[a].append(b)
                self.above[b].append(a)
        for turn in range(8):
            down = turn % 2 == 0
            near = self.above if down else self.below
            for row in self.rows if down else reversed(self.rows):
                place = {node: i for other in self.rows for i, node in enumerate(other)}
                keys = {v: _mean([place[u] for u in near[v]], place[v]) for v in row}
                row.sort(key=lambda v: keys[v])

    def _place(self) -> None:
        self.across = [0.0] * len(self.rank)
        for row in self.rows:
            at = 0.0
            for v in row:
                self.across[v] = at + self.sizes[v][0] / 2
                at += self.sizes[v][0] + _GAP
        for turn in range(12):
            near = self.above if turn % 2 == 0 else self.below
            for row in self.rows if turn % 2 == 0 else reversed(self.rows):
                wanted = [_mean([self.across[u] for u in near[v]], self.across[v]) for v in row]
                self._settle(row, wanted)
        low = min((self.across[v] - self.sizes[v][0] / 2 for v in range(len(self.rank))), default=0.0)
        self.across = [x - low for x in self.across]
        span = max((self.across[v] + self.sizes[v][0] / 2 for v in range(len(self.rank))), default=0.0)
        self.along = [0.0] * len(self.rank)
        self.depth = [0.0] * len(self.rank)  # of the box's rank
        at = 0.0
        for row in self.rows:
            depth = max(self.sizes[v][1] for v in row)
            for v in row:
                self.along[v], self.depth[v] = at + depth / 2, depth
            at += depth + _RANK
        length = max(at - _RANK, 0.0)
        if self.rankdir in ("BT", "RL"):
            self.along = [length - y for y in self.along]
        self.width, self.height = (length, span) if self.sideways else (span, length)

    def _settle(self, row: Sequence[int], wanted: list[float]) -> None:
        """Move a rank's boxes toward where they want to be, without touching: groups that would, take their mean."""
        groups: list[tuple[list[int], list[float]]] = []  # (boxes, where the group's first would be, by each)
        for v, x in zip(row, wanted, strict=True):
            group, offset = [v], [x]
            while groups:
                before, wishes = groups[-1]
                width = self._reach(before, group[0])
                if _middle(wishes) + width <= _middle(offset):
                    break
                group, offset = [*before, *group], [*wishes, *(o - width for o in offset)]
                groups.pop()
            groups.append((group, offset))
        for group, wishes in groups:
            at = _middle(wishes)
            for i, v in enumerate(group):
                self.across[v] = at + (self._reach(group[:i], v) if i else 0.0)

    def _reach(self, group: Sequence[int], then: int) -> float:
        """From the middle of the first of a group to the middle of the box after it."""
        between = sum(self.sizes[v][0] + _GAP for v in group)
        return between - self.sizes[group[0]][0] / 2 + self.sizes[then][0] / 2

    # ---- as SVG --------------------------------------------------------------------------------------------------

    def drawn(self, left: float, top: float) -> list[str]:
        parts = [self._arrow(chain, left, top) for chain in self.chains]
        for i, (box, inner) in enumerate(zip(self.diagram.boxes, self.inner, strict=True)):
            parts += self._box(i, box, inner, left, top)
        return parts

    def _xy(self, across: float, along: float, left: float, top: float) -> tuple[float, float]:
        return (left + along, top + across) if self.sideways else (left + across, top + along)

    def _arrow(self, chain: list[int], left: float, top: float) -> str:
        sign = -1 if self.rankdir in ("BT", "RL") else 1
        path, before = "", (0.0, 0.0)
        for i, v in enumerate(chain):
            x, y = self.across[v], self.along[v]
            edge, box = sign * self.depth[v] / 2, sign * self.sizes[v][1] / 2
            if i == 0:
                path = "M" + self._points((x, y + box), (x, y + edge), left, top).replace(", ", " L")
            else:  # bent between two ranks, straight beside the boxes of a rank
                bend = (y - edge - before[1]) / 2
                path += " C" + self._points(
                    (before[0], before[1] + bend), (x, y - edge - bend), (x, y - edge), left, top
                )
                end = y - box if v == chain[-1] else y + edge
                if abs(end - (y - edge)) > 0.05:  # a line of no length would turn the arrow's head
                    path += " L" + self._points((x, end), left, top)
            before = (x, y + edge)
        return f'<path d="{path}" fill="none" stroke="#555" stroke-width="1.2" marker-end="url(#head)"/>'

    def _points(self, *points: Any) -> str:
        """Points as a path has them; the last two arguments are the corner of the picture."""
        *places, left, top = points
        placed = [self._xy(across, along, left, top) for across, along in places]
        return ", ".join(f"{x:.1f} {y:.1f}" for x, y in placed)

    def _box(self, i: int, box: Box, inner: _Placed | None, left: float, top: float) -> list[str]:
        across, along = self.sizes[i]
        width, height = (along, across) if self.sideways else (across, along)
        x, y = self._xy(self.across[i], self.along[i], left, top)
        x, y = x - width / 2, y - height / 2
        parts = [
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
            f'fill="{_FILLS[box.kind]}" stroke="#333"/>'
        ]
        for n, text in enumerate([box.title, *box.lines]):
            weight = ' font-weight="bold"' if n == 0 else ' fill="#444"'
            base = y + _PAD + _LINE * n + _SIZE
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{base:.1f}" text-anchor="middle"{weight}>{escape(text)}</text>'
            )
        if inner is not None:
            parts += inner.drawn(x + (width - inner.width) / 2, y + _LINE * (1 + len(box.lines)) + 2 * _PAD)
        return parts


def _size(box: Box, inner: _Placed | None) -> tuple[float, float]:
    letters = max(len(box.title) * 1.08, *(len(line) for line in box.lines), 1)
    width, height = letters * _LETTER + 2 * _PAD, _LINE * (1 + len(box.lines)) + 2 * _PAD - 4
    if inner is not None:
        width, height = max(width, inner.width + 2 * _PAD), height + inner.height + _PAD + 4
    return width, height


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _middle(values: Sequence[float]) -> float:
    return sum(values) / len(values)
