"""A gap as a person reads it in a terminal, and as plain data for programs."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from verax.ledger.amounts import Amount, Scale, amounts_of, lag_of, names_of, penalty_sentence, shorten
from verax.ledger.causes import Cause
from verax.ledger.reading import Reading
from verax.ledger.verdict import judge

if TYPE_CHECKING:
    from verax.ledger.chain import Gap, Link

__all__ = ["footnotes", "lag_words", "reading_dict", "rich_lines", "split_amounts", "table", "to_dict", "to_json"]

#: A line of a report: pieces of text, each with the name of a style ("" for none).
Line = list[tuple[str, str]]

_NAME, _BAR, _COLUMN = 32, 36, 12
_ASCII = str.maketrans({"±": "~", "█": "#", "▐": "#", "▌": "#", "│": "|", "…": "~", "·": "-"})


def table(gap: Gap, width: int = 80, *, ascii: bool | None = None) -> str:
    """The gap as text: the two shown numbers, the amounts between them, and what they come to.

    The amounts, and the residual, add up to the gap. An amount that rounds to nothing is left out and counted. Of what
    was taken off at one end and put on at the other (penalties) the net amount stands.

    Args:
        gap: The gap.
        width: Characters in a line.
        ascii: Use ASCII alone; None for "only if standard output cannot write anything else".
    """
    text = "\n".join("".join(piece for piece, _ in line).rstrip() for line in _report(gap, width))
    return text.translate(_ASCII) if (_only_ascii() if ascii is None else ascii) else text


def rich_lines(gap: Gap, console: Any, options: Any) -> Iterator[Any]:
    """The same text with colours, for a rich console: what ``__rich_console__`` yields."""
    for line in _report(gap, min(options.max_width, 100)):
        text = console.render_str("", markup=False, highlight=False)
        for piece, style in line:
            text.append(piece.translate(_ASCII) if options.ascii_only else piece, style=style or None)
        text.rstrip()
        yield text


def _only_ascii() -> bool:
    try:
        "±│█▐▌…·".encode(getattr(sys.stdout, "encoding", None) or "utf-8")  # a StringIO has none, and takes any
    except (UnicodeEncodeError, LookupError):
        return True
    return False


# ---- the text --------------------------------------------------------------------------------------------------------


def _report(gap: Gap, width: int) -> list[Line]:
    verdict = judge(gap)
    lines: list[Line] = []
    if gap.links:
        lines = _columns(gap, width) if gap.columns else _one(gap, width)
        lines += [[(part, "dim")] for note in footnotes(gap) for part in _wrapped(note, width)]
        lines.append([])
    lines += [[(part, "bold")] for part in _wrapped(verdict.sentence, width)]
    lines += [[(part, "")] for advice in verdict.advice for part in _wrapped(advice, width, "- ")]
    return lines


def _wrapped(text: str, width: int, first: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def split_amounts(gap: Gap) -> tuple[list[Amount], list[Amount]]:
    """The amounts that show at the gap's scale, and those that round to nothing and have no noise that shows."""
    scale = Scale.of(gap)
    columns = [amount for column in gap.columns.values() for amount in amounts_of(column) if scale.steps(amount.change)]
    titles = {amount.title for amount in columns}

    def shows(amount: Amount) -> bool:
        if not math.isfinite(amount.change) or scale.steps(amount.change) or amount.title in titles:
            return True
        return math.isfinite(amount.stderr) and scale.steps(amount.stderr) > 0

    amounts = amounts_of(gap)
    return [a for a in amounts if shows(a)], [a for a in amounts if not shows(a)]


def _one(gap: Gap, width: int) -> list[Line]:
    """The table of one number: name, amount, its standard error, a signed bar."""
    scale = Scale.of(gap)
    shown, _ = split_amounts(gap)
    train, validation = names_of(gap)
    names = ["  " + shorten(a.title, _NAME - 2) for a in shown]
    left = max(len(n) for n in [*names, shorten(train, _NAME), shorten(validation, _NAME), "gap"])
    errors = [scale.number(a.stderr) if _noise(scale, a.stderr) else "" for a in shown]
    noise = [f" ± {error:>{max(map(len, errors))}}" if error else "" for error in errors]
    right = max(
        len(scale.signed(v)) for v in [gap.train.value, gap.validation.value, gap.total, *(a.change for a in shown)]
    )
    spread = max((len(n) for n in noise), default=0)
    bars = _bars([a.change for a in shown], min(_BAR, width - left - right - spread - 4))

    def end(name: str, number: str, words: str, style: str) -> Line:
        return [(f"{shorten(name, _NAME):<{left}}  {number:>{right}}", style), (f"  {words}", "dim")]

    lines = [end(train, scale.number(gap.train.value), str(gap.train.facts.rows), "bold")]
    for amount, name, error, bar in zip(shown, names, noise, bars, strict=True):
        style = _style(gap, amount.change)
        number = f"  {scale.signed(amount.change):>{right}}"
        lines.append([(f"{name:<{left}}", ""), (number, style), (f"{error:<{spread}}  ", "dim"), (bar, style)])
    lines.append(end(validation, scale.number(gap.validation.value), str(gap.validation.facts.rows), "bold"))
    lines.append(end("gap", scale.signed(gap.total), f"residual {gap.residual:.1e}", "bold"))
    return lines


def _noise(scale: Scale, stderr: float) -> str:
    return f" ± {scale.number(stderr)}" if math.isfinite(stderr) and scale.steps(stderr) else ""


def _style(gap: Gap, change: float) -> str:
    """Blue and orange are told apart by (nearly) everybody; the sign tells the rest."""
    direction = gap.validation.direction or gap.train.direction
    if not change or not math.isfinite(change) or direction not in ("min", "max"):
        return ""
    return "bright_blue" if (change > 0) == (direction == "max") else "orange3"


def _bars(changes: list[float], width: int) -> list[str]:
    """Bars of half characters to the left and right of one zero line; nothing where there is no room."""
    finite = [c if math.isfinite(c) else 0.0 for c in changes]
    least, most = min([0.0, *finite]), max([0.0, *finite])
    if width < 8 or most == least:
        return [""] * len(changes)
    halves = 2 * (width - 2)
    below = math.ceil(-least / (most - least) * halves / 2)

    def bar(change: float) -> str:
        size = round(abs(change) / (most - least) * halves)
        if change < 0:
            return f"{'▐' * (size % 2) + '█' * (size // 2):>{below}}│"
        return f"{'':>{below}}│{'█' * (size // 2)}{'▌' * (size % 2)}"

    return [bar(change) for change in finite]


def _columns(gap: Gap, width: int) -> list[Line]:
    """The table of a loss of several outputs: a column each and the total, in as many blocks as the width asks for."""
    scale = Scale.of(gap)
    shown, _ = split_amounts(gap)
    train, validation = names_of(gap)
    total = {a.title: a for a in shown}
    parts = {name: {a.title: a for a in amounts_of(column)} for name, column in gap.columns.items()}
    # What only an output has (its own weights, say) stands after what the total has.
    titles = dict.fromkeys(
        [*total, *(t for a in parts.values() for t in a if scale.steps(a[t].change) and t not in total)]
    )
    left = max(len(t) for t in ["gap", train, validation, *("  " + shorten(t, _NAME - 2) for t in titles)])
    noise = {t: _noise(scale, a.stderr) for t, a in total.items()}
    spread = max((len(n) for n in noise.values()), default=0)
    each = max(len(scale.signed(v)) for g in (gap, *gap.columns.values()) for v in _numbers(g))
    columns = {"total": (gap, total), **{name: (gap.columns[name], parts[name]) for name in parts}}
    size = {name: max(each, min(len(name), _COLUMN)) for name in columns}
    lines: list[Line] = []
    for names in _blocks([n for n in columns if n != "total"], size, width - left - spread - size["total"] - 2):
        here = ["total", *names]

        def row(title: str, cells: Sequence[str], style: str, error: str = "", here: Sequence[str] = here) -> Line:
            aligned = [f"  {cell:>{size[name]}}" for name, cell in zip(here, cells, strict=True)]
            return [
                (f"{title:<{left}}", style),
                (aligned[0], style),
                (f"{error:<{spread}}", "dim"),
                ("".join(aligned[1:]), style),
            ]

        if lines:
            lines.append([])
        lines.append(row("", [shorten(n, size[n]) for n in here], "dim"))
        lines.append(row(train, [scale.number(columns[n][0].train.value) for n in here], "bold"))
        for title in titles:
            cells = [scale.signed(found.change) if (found := columns[n][1].get(title)) else "" for n in here]
            lines.append(row("  " + shorten(title, _NAME - 2), cells, "", noise.get(title, "")))
        lines.append(row(validation, [scale.number(columns[n][0].validation.value) for n in here], "bold"))
        lines.append(row("gap", [scale.signed(columns[n][0].total) for n in here], "bold"))
    return lines


def _numbers(gap: Gap) -> list[float]:
    return [gap.train.value, gap.validation.value, gap.total, *(a.change for a in amounts_of(gap))]


def _blocks(names: list[str], size: Mapping[str, int], width: int) -> Iterator[list[str]]:
    """The columns in groups that fit."""
    block: list[str] = []
    for name in names:
        if block and sum(size[n] + 2 for n in [*block, name]) > width:
            yield block
            block = []
        block.append(name)
    yield block


def footnotes(gap: Gap) -> list[str]:
    """What the table does not show: what was left out, rounding, noise, sample, grade, penalties, lag, notes."""
    scale = Scale.of(gap)
    shown, hidden = split_amounts(gap)
    notes: list[str] = []
    if hidden:
        count = f"{len(hidden)} cause{'s' * (len(hidden) > 1)}"
        verb = "are" if len(hidden) > 1 else "is"
        least = scale.number(scale.unit)
        notes.append(f"{count} of less than {least} {verb} not shown: {', '.join(a.title for a in hidden)}.")
    if math.isfinite(gap.total) and sum(scale.steps(a.change) for a in shown) != scale.steps(gap.total):
        as_shown = scale.signed(math.fsum(scale.steps(a.change) for a in shown) * scale.unit)
        notes.append(f"The amounts are rounded: as shown they add up to {as_shown}.")
    notes += _about_columns(gap)
    if any(_noise(scale, a.stderr) for a in shown):
        notes.append("± is one standard error.")
    unknown = [a.title for a in shown if math.isnan(a.stderr)]
    if unknown:
        notes.append(f"No standard error is known for: {', '.join(unknown)}.")
    if gap.sample:
        notes.append(f"The causes were measured on {gap.sample}.")
    if gap.grade != "full":
        notes.append(f"Grade: {gap.grade}.")
    if penalty := penalty_sentence(gap):
        notes.append(penalty)
    amounts = gap.by_cause()
    lags = abs(amounts.get(Cause.MOVING_AVERAGES, 0.0)) >= 0.05 * max(map(abs, amounts.values()), default=0.0)
    if lags and (lag := lag_of(gap)):
        most = [f"{one['path']} ({lag_words(one)})" for one in lag[:3]]
        notes.append(f"Lag most: {', '.join(most)}{', ...' if len(lag) > 3 else ''}.")
    return [*notes, *gap.notes]


def lag_words(one: Mapping[str, Any]) -> str:
    """How a layer's moving averages came to lag."""
    seen, needed = int(one.get("updates", 0)), int(one.get("needed", 0))
    updates = "update" if seen == 1 else "updates"
    return f"momentum {one.get('momentum', math.nan):g}, {seen:,} {updates} seen, {needed:,} needed"


def _about_columns(gap: Gap) -> list[str]:
    """How the outputs' losses make the total, where that is not plain addition."""
    scales = {name: gap.train.parts[name].coefficient for name in gap.columns if name in gap.train.parts}
    weighted = [f"{c:g} {name}" for name, c in scales.items()]
    if all(c == 1.0 for c in scales.values()):
        return []
    return [f"The total's data loss = {' + '.join(weighted)}."]


# ---- plain data ------------------------------------------------------------------------------------------------------


def reading_dict(reading: Reading) -> dict[str, Any]:
    """A reading as plain data; what is not finite is None."""
    facts = reading.facts
    names = ("objective", "params", "draws", "view", "weights", "average", "averaged", "dtype", "clipped")
    return _plain(
        {
            "name": reading.name,
            "value": reading.value,
            "stderr": reading.stderr,
            "sum": reading.sum,
            "weight": reading.weight,
            "direction": reading.direction,
            "parts": {
                name: {"value": p.value, "coefficient": p.coefficient, "kind": p.kind}
                for name, p in reading.parts.items()
            },
            "facts": {
                **{name: getattr(facts, name) for name in names},
                "terms": list(facts.terms),
                "rows": str(facts.rows),
                "modes": [[m.effect, m.path, m.state, m.why] for m in facts.modes],
            },
            "sentence": str(reading),
        }
    )


def to_dict(gap: Gap) -> dict[str, Any]:
    """A gap as plain data: numbers as they are, None for what is not finite, so that it is JSON as it stands."""
    verdict = judge(gap)
    told: dict[str, Any] = {
        "train": reading_dict(gap.train) if gap.links else None,
        "validation": reading_dict(gap.validation) if gap.links else None,
        "total": gap.total if gap.links else 0.0,
        "residual": gap.residual if gap.links else 0.0,
        "grade": gap.grade,
        "sample": gap.sample,
        "notes": list(gap.notes),
        "penalties": penalty_sentence(gap) if gap.links else "",
        "links": [_link_dict(link) for link in gap.links],
        "amounts": [
            {"cause": a.cause.name, "title": a.title, "change": a.change, "stderr": a.stderr, "paths": list(a.paths)}
            for a in amounts_of(gap)
        ],
        "verdict": {
            "kind": verdict.kind.value,
            "meaning": verdict.kind.sentence,
            "sentence": verdict.sentence,
            "line": verdict.line,
            "advice": list(verdict.advice),
        },
        "columns": {name: to_dict(column) for name, column in gap.columns.items()},
    }
    return _plain(told)


def to_json(gap: Gap, indent: int | None = 2) -> str:
    """``to_dict`` as JSON text; floats round-trip exactly."""
    return json.dumps(to_dict(gap), indent=indent, allow_nan=False, ensure_ascii=False)


def _link_dict(link: Link) -> dict[str, Any]:
    return {
        "cause": link.cause.name,
        "title": link.cause.title,
        "sentence": link.cause.sentence,
        "fact": str(link.fact),
        "before": link.before.value,
        "after": link.after.value,
        "change": link.change,
        "stderr": link.stderr,
        "reading": str(link.after),
        "detail": dict(link.detail),
    }


def _plain(value: Any) -> Any:
    """Only what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in cast("Sequence[Any]", value)]
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
