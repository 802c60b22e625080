"""A report of ``inspect_file`` as text: tables that fit the terminal, and no character that steers it."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from verax.formats import configs

__all__ = ["show"]

_MOST_ROWS = 400


def show(report: Mapping[str, Any], file: IO[str] | None = None) -> None:
    """Print a report.

    Args:
        report: What ``inspect_file`` returned.
        file: Where to; the standard output when None.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = sys.stdout if file is None else file
    drawn = io.StringIO()
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    console = Console(file=drawn, width=width, highlight=False, force_terminal=out.isatty())

    def say(text: str, style: str = "") -> None:
        console.print(Text(_clean(text), style=style))

    def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int], wide: int) -> None:
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for i, name in enumerate(head):
            right = i in numbers
            made.add_column(name, justify="right" if right else "left", overflow="fold", ratio=1 if i == wide else None)
        for row in rows[:_MOST_ROWS]:
            made.add_row(*(Text(_clean(cell)) for cell in row))
        console.print(Padding(made, (1, 0, 0, 0)))
        if len(rows) > _MOST_ROWS:
            say(f"... and {len(rows) - _MOST_ROWS:,} more: --json lists all of them.")

    say(report["path"], "bold")
    say(f"{_capital(report['what'])}, {_bytes(report['bytes'])}")
    if report["writer"]:
        say(f"Written by {_writer(report['writer'])}")
    _show_model(report, say, table)
    say("")
    _show_totals(report, say)
    _show_findings(report, say)
    for line in drawn.getvalue().splitlines():
        out.write(line.rstrip() + "\n")


def _show_model(report: Mapping[str, Any], say: Any, table: Any) -> None:
    model = report["model"]
    for name, form in (report.get("endpoints") or {}).items():
        say(f"Endpoint {name}: {_structure(form['arguments'])} -> {_structure(form['result'])}")
        platforms = [p for program in form["programs"] for p in program["platforms"]]
        say(f"  for {', '.join(dict.fromkeys(platforms))}")
    if model and model["class"]:
        say(f"Model {model['name']!r} ({model['class']}), {len(report['layers'])} layers")
    if report["layers"]:
        rows: list[list[str]] = []
        for layer in report["layers"]:
            weights = " ".join(_shape(each["shape"]) for each in layer.get("weights", []))
            made = configs.words(layer["config"]) + ("" if layer["trainable"] else "; frozen")
            count = layer.get("parameters") or 0
            rows.append([f"{layer['name']} ({layer['class']})", made, weights, f"{count:,}" if count else ""])
        table(("Layer", "Made with", "Weights", "Parameters"), rows, {3}, 1)
    elif report["weights"]:
        rows = [
            [each["path"], _shape(each["shape"]), each["dtype"], f"{each['parameters']:,}", _bytes(each["bytes"])]
            for each in report["weights"]
        ]
        table(("Array", "Shape", "Dtype", "Numbers", "Size"), rows, {3, 4}, 0)


def _show_totals(report: Mapping[str, Any], say: Any) -> None:
    totals = report["totals"]
    dtypes = ", ".join(
        f"{name}" if len(totals["dtypes"]) == 1 else f"{count:,} {name}" for name, count in totals["dtypes"].items()
    )
    say(
        f"Parameters  {totals['parameters']:,} in {totals['arrays']:,} arrays, {_bytes(totals['bytes'])}"
        + (f" ({dtypes})" if dtypes else "")
    )
    compiled = report["compile"]
    if compiled:
        rate = compiled.get("learning_rate")
        said = [f"{compiled['optimizer']}" + (f"({rate:.6g})" if isinstance(rate, float) else f"({rate})" * bool(rate))]
        said += [f"{k} {_plain(v)}" for k, v in compiled.items() if k not in ("optimizer", "learning_rate")]
        say(f"Compiled    {', '.join(said)}")
    state = report["optimizer"]
    if state:
        size = _bytes(state["bytes"])
        say(f"Optimizer   {state['parameters']:,} numbers of state in {state['arrays']:,} arrays, {size}")
    for prepared in report.get("preprocessing") or []:
        made = configs.words(configs.essentials(prepared["config"]))
        say(f"Prepares    its input itself: {prepared['class']} {made}".rstrip())
    for asset in report["assets"]:
        say(f"Asset       {asset['path']}, {_bytes(asset['bytes'])}")


def _show_findings(report: Mapping[str, Any], say: Any) -> None:
    for kind, word, style in (("unsafe", "UNSAFE", "bold red"), ("notice", "Notice", "yellow")):
        for each in report["findings"]:
            if each["kind"] == kind:
                say(f"{word:<12}{each['what']}: {each['why']}", style)
    if report["safe"]:
        say("Safe        nothing in it is code, and nothing in it points elsewhere.", "green")


def _structure(description: Any, depth: int = 0) -> str:
    kind = description.get("kind")
    if kind == "tensor":
        name = description.get("name")
        return f"{name} {_shape(description['shape'])} {description['dtype']}".strip() if name else "?"
    items = description.get("items") or []
    if isinstance(items, dict):
        return "{" + ", ".join(f"{key}: {_structure(item, 1)}" for key, item in items.items()) + "}"
    inner = ", ".join(_structure(item, 1) for item in items)
    return inner if depth == 0 else f"[{inner}]"


def _shape(shape: Sequence[Any]) -> str:
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def _writer(writer: Mapping[str, Any]) -> str:
    said = " ".join(str(writer[key]) for key in ("library", "version") if writer.get(key))
    further = [f"{key} {writer[key]}" for key in ("jax", "backend") if writer.get(key)]
    date = str(writer.get("date") or "").replace("@", " ")
    if not said:
        said = "a program that noted " + ", ".join(f"{k}={v}" for k, v in (writer.get("metadata") or {}).items())
    return ", ".join(part for part in (said or "an unknown program", *further, date) if part)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clean(text: str) -> str:
    """Text without characters that steer a terminal.

    >>> _clean("a" + chr(27) + "[2J")
    'a\\\\x1b[2J'
    """
    return "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in str(text))


def _bytes(n: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if n < 1024:
            return f"{n:,.1f} {unit}" if unit != "bytes" else f"{n:,} byte{'s' * (n != 1)}"
        n /= 1024
    return f"{n:,.1f} GB"
