"""A gap as one page that needs nothing else: verdict, picture, table, every reading's sentence, layers, advice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from verax.ledger.amounts import Amount, Scale, amounts_of, lag_of, names_of
from verax.ledger.causes import Cause
from verax.ledger.picture import COLORS, better_word, svg
from verax.ledger.report import footnotes, lag_words, split_amounts
from verax.ledger.verdict import judge

if TYPE_CHECKING:
    from verax.ledger.chain import Gap

__all__ = ["fragment", "page"]

# Colours of text are inherited, so that a notebook's theme, dark or light, is the page's too.
_STYLE = """
.verax{max-width:46rem;line-height:1.5;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere;text-align:left}
.verax svg.waterfall{display:block;overflow:visible;margin:1.2em 0 .4em;font-size:13.5px}
.verax svg text{fill:currentColor;font-variant-numeric:tabular-nums;
paint-order:stroke;stroke:var(--verax-ground,transparent);stroke-width:4px;stroke-linejoin:round}
.verax svg .name{font-weight:600}
.verax svg .word,.verax svg .tick{opacity:.7}
.verax svg .tick{font-size:12px}
.verax svg line{stroke:currentColor}
.verax svg .grid{opacity:.12}
.verax svg .axis{opacity:.45}
.verax svg .join{opacity:.45;stroke-dasharray:2 3}
.verax svg .end{stroke-width:3}
.verax svg .dot{fill:currentColor}
.verax svg .whisker{stroke-width:1.6}
.verax .key{font-size:.87em;margin:0 0 1.6em}
.verax .key span{margin-right:1.1em}
.verax p span{white-space:nowrap}
.verax .key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em}
.verax .verdict{font-size:1.12em;margin:.4em 0 .6em;padding:.2em 0 .2em .9em;border-left:4px solid #2b8cd6}
.verax .wide{overflow-x:auto}
.verax table{border-collapse:collapse;width:100%;margin:.6em 0;font-size:1em;background:none;color:inherit}
.verax th,.verax td{padding:.38em .5em;border:0;border-bottom:1px solid rgba(128,128,128,.3);text-align:left;
vertical-align:top;background:none;font-weight:400}
.verax thead th{font-size:.87em;opacity:.75;vertical-align:bottom}
.verax td.n,.verax th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;overflow-wrap:normal}
.verax tr.end th,.verax tr.end td{font-weight:600}
.verax small{display:block;font-size:.85em;opacity:.75;font-weight:400}
.verax h2{font-size:1.1em;margin:2em 0 .4em}
.verax ul,.verax ol{padding-left:1.4em;margin:.4em 0}
.verax li{margin:.3em 0}
.verax summary{cursor:pointer;font-weight:600;margin:.8em 0}
"""

_PAGE = """
:root{color-scheme:light dark}
body{margin:0;padding:1.6rem 1.1rem 4rem;--verax-ground:#fff;background:var(--verax-ground);color:#1b1b1b}
.verax{margin:0 auto;font-size:16px}
h1{font-size:1.45em;line-height:1.25;margin:0 0 .5em;overflow-wrap:anywhere}
@media (prefers-color-scheme:dark){body{--verax-ground:#16181b;color:#e6e6e6}}
@media print{body{padding:0}details>*{display:block}}
"""


def page(gap: Gap) -> str:
    """The gap as one HTML document: style and picture are in it, and there is no script."""
    title = "A gap" if not gap.links else "From {} to {}".format(*names_of(gap))
    body = [f"<h1>{escape(title)}</h1>", _summary(gap), _advice(gap)]
    for name, column in gap.columns.items():
        body.append(f"<details><summary>Output {escape(name)}</summary>{_summary(column)}</details>")
    body += [_readings(gap), _lag(gap), _modes(gap)]
    inner = "\n".join(part for part in body if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{_PAGE}</style>\n</head>\n"
        f'<body>\n<main class="verax">\n{inner}\n</main>\n</body>\n</html>\n'
    )


def fragment(gap: Gap) -> str:
    """The verdict, the picture, the table and the advice, for a notebook."""
    return f'<div class="verax"><style>{_STYLE}</style>{_summary(gap)}{_advice(gap)}</div>'


def _summary(gap: Gap) -> str:
    """Verdict, picture and table."""
    sentence = re.sub(r"[+-]?\d[\d.]*e[+-]\d+", r"<span>\g<0></span>", escape(judge(gap).sentence))
    parts = [f'<p class="verdict">{sentence}</p>']
    if gap.links:
        picture = svg(gap)
        parts += [picture, _key(gap) if picture else "", _columns(gap) if gap.columns else _table(gap), _notes(gap)]
    return "\n".join(parts)


def _key(gap: Gap) -> str:
    """What the colours and the whiskers are."""
    words = [better_word(gap, a.change) for a in amounts_of(gap)]
    said = [f'<i style="background:{color}"></i>{word}' for word, color in COLORS.items() if word in words]
    if any(math.isfinite(a.stderr) and a.stderr > 0 for a in amounts_of(gap)):
        said += ["± one standard error", "whiskers: 95 % interval"]
    return f'<p class="key">{" ".join(f"<span>{one}</span>" for one in said)}</p>' if said else ""


# ---- tables ----------------------------------------------------------------------------------------------------------


def _table(gap: Gap) -> str:
    scale = Scale.of(gap)
    shown, _ = split_amounts(gap)
    train, validation = names_of(gap)

    def row(name: str, words: str, number: str, more: str = "", end: bool = False) -> str:
        cells = [f"{escape(one)}<small>{escape(small)}</small>" for one, small in ((name, words), (number, more))]
        return f'<tr{" class=end" if end else ""}><th scope="row">{cells[0]}</th><td class="n">{cells[1]}</td></tr>'

    rows = [row(train, str(gap.train.facts.rows), scale.number(gap.train.value), end=True)]
    for amount in shown:
        noise = (
            f"± {scale.number(amount.stderr)}" if math.isfinite(amount.stderr) and scale.steps(amount.stderr) else ""
        )
        more = " ".join(part for part in (noise, better_word(gap, amount.change)) if part)
        rows.append(row(amount.title, _words(amount), scale.signed(amount.change), more))
    rows.append(row(validation, str(gap.validation.facts.rows), scale.number(gap.validation.value), end=True))
    left = f"residual {gap.residual:.1e}"
    rows.append(row("gap", left, scale.signed(gap.total), better_word(gap, gap.total), end=True))
    head = '<tr><th>What changed</th><th class="n">Amount</th></tr>'
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _words(amount: Amount) -> str:
    """The cause as a clause, with the layers it concerns where the title does not name them."""
    if amount.cause is Cause.CUSTOM_MODE:
        return amount.cause.sentence
    more = f", and {len(amount.paths) - 3} more" if len(amount.paths) > 3 else ""
    return amount.sentence + (f": {', '.join(amount.paths[:3])}{more}" if amount.paths else "")


def _columns(gap: Gap) -> str:
    scale = Scale.of(gap)
    shown, _ = split_amounts(gap)
    train, validation = names_of(gap)
    gaps = {"total": gap, **gap.columns}
    parts = {name: {a.title: a.change for a in amounts_of(one)} for name, one in gaps.items()}
    extra = [t for a in parts.values() for t, change in a.items() if scale.steps(change)]
    titles = dict.fromkeys([*(a.title for a in shown), *extra])

    def row(name: str, cells: Sequence[str], end: bool = False) -> str:
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        return f'<tr{" class=end" if end else ""}><th scope="row">{escape(name)}</th>{numbers}</tr>'

    head = "".join(f'<th class="n">{escape(name)}</th>' for name in gaps)
    rows = [row(train, [scale.number(one.train.value) for one in gaps.values()], True)]
    for title in titles:
        cells = [scale.signed(parts[name][title]) if title in parts[name] else "" for name in gaps]
        rows.append(row(title, cells))
    rows.append(row(validation, [scale.number(one.validation.value) for one in gaps.values()], True))
    rows.append(row("gap", [scale.signed(one.total) for one in gaps.values()], True))
    return (
        f'<div class="wide"><table><thead><tr><th>What changed</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _notes(gap: Gap) -> str:
    return _list([n for n in footnotes(gap) if not n.startswith(("Lag most", "± is"))])


def _advice(gap: Gap) -> str:
    advice = [one.partition(": ") for one in judge(gap).advice]
    items = "".join(
        f"<li><strong>{escape(cause)}:</strong> {escape(do)}</li>" if do else f"<li>{escape(cause)}</li>"
        for cause, _, do in advice
    )
    return f"<h2>What to do</h2><ul>{items}</ul>" if items else ""


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


# ---- detail ----------------------------------------------------------------------------------------------------------


def _readings(gap: Gap) -> str:
    """Every reading of the chain in its own words, with the fact that changed before it."""
    if not gap.links:
        return ""
    items = [f"<li>{escape(str(gap.train))}</li>"]
    for link in gap.links:
        fact = link.fact.fact.removeprefix("mode:").split(":")[0].replace("_", " ")
        where = f" ({', '.join(link.fact.paths)})" if link.fact.paths else ""
        what = link.cause.title if fact == link.cause.title else f"{link.cause.title}: {fact}"
        changed = f"{what} {link.fact.before} → {link.fact.after}{where}"
        items.append(f"<li>{escape(str(link.after))}<small>{escape(changed)}</small></li>")
    return f"<h2>What each number measured</h2><ol>{''.join(items)}</ol>"


def _lag(gap: Gap) -> str:
    lag = lag_of(gap)
    if not lag:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(one["path"]))}<small>{escape(lag_words(one))}</small></th>'
        f'<td class="n">{float(one.get("off", math.nan)):.1%}</td></tr>'
        for one in lag
    )
    head = '<tr><th>Layer</th><th class="n">Off by</th></tr>'
    return f"<h2>Moving averages</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _modes(gap: Gap) -> str:
    """What every mode-dependent layer did in the two numbers."""
    if not gap.links:
        return ""
    both = [{(m.path, m.effect): m for m in r.facts.modes} for r in (gap.train, gap.validation)]
    keys = list(dict.fromkeys([*both[0], *both[1]]))
    if not keys:
        return ""

    def cell(found: Any) -> str:
        if found is None:
            return "-"
        return escape(found.state + ("" if found.why == "asked" else f" ({found.why})"))

    rows = "".join(
        f'<tr><th scope="row">{escape(path)}<small>{escape(effect.split(":")[0].replace("_", " "))}</small></th>'
        f"<td>{cell(both[0].get((path, effect)))}</td><td>{cell(both[1].get((path, effect)))}</td></tr>"
        for path, effect in keys
    )
    head = "".join(f"<th>in {escape(name)}</th>" for name in names_of(gap))
    return (
        f"<h2>Layers that depend on the mode</h2><table><thead><tr><th>Layer</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
