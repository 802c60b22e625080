"""A model as a table: its layers, their shapes and parameters, and which of them depend on the mode."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from verax.errors import NotBuiltError
from verax.frame.mode import Mode, ModeMap
from verax.frame.symbolic import observe_symbolically
from verax.frame.tree import Tree

if TYPE_CHECKING:
    from verax.model.model import Model

__all__ = ["Row", "rows", "show"]


@dataclass(frozen=True)
class Row:
    """One layer directly below the model.

    Attributes:
        name, kind: The layer's name and class.
        shape: The shape it returns, None for unknown sizes.
        params: The number of elements of its variables.
        trainable: "yes", "no", or "partly"; "-" where it has none.
        mode: What depends on the mode in it, or "".
    """

    name: str
    kind: str
    shape: str
    params: int
    trainable: str
    mode: str


def rows(model: Model) -> list[Row]:
    """The table's rows."""
    if model._model.inputs is None:
        raise NotBuiltError(
            f"A summary of {model.name!r} was asked for.",
            because="it has not seen an input, so its shapes are unknown",
            do="Call model.build((None, ...)), or fit or call it once.",
        )
    outcome = observe_symbolically(model, model._model.inputs, ModeMap(Mode.TRAIN))
    tree = Tree.of(model)
    table: list[Row] = []
    for layer in model.layers:
        path = tree.layers[id(layer)][1].path
        own = [place for _, place in tree.variables.values() if place.path.startswith(path + "/")]
        sizes = [v.size for v, place in tree.variables.values() if place.path.startswith(path + "/")]
        weights = [place.trainable for v, place in tree.variables.values() if place in own and v.trainable]
        trained = "-" if not weights else "yes" if all(weights) else "no" if not any(weights) else "partly"
        effects = {
            "custom"
            if o.effect.startswith("custom:")
            else o.effect.replace("_", " ") + (" (frozen)" * (o.why == "frozen"))
            for at, o in outcome.observed.items()
            if at == path or at.startswith(path + "/")
        }
        shape = outcome.shapes.get(path)
        if shape is None:
            shape = getattr(layer, "batch_shape", None)  # an Input is not called
        table.append(
            Row(
                layer.name,
                type(layer).__name__,
                "not called" if shape is None else _words(shape),
                sum(sizes),
                trained,
                ", ".join(sorted(effects)),
            )
        )
    return table


def show(model: Model, print_fn: Callable[[str], Any] | None = None) -> None:
    """Print the table: with rich on a terminal, in plain text elsewhere."""
    table = rows(model)
    tree = Tree.of(model)
    trained = sum(v.size for v in tree.params().values())
    total = sum(v.size for v, _ in tree.variables.values())
    bytes_ = sum(v.size * v._value.dtype.itemsize for v, _ in tree.variables.values())
    last = (
        f"Parameters: {total:,} ({_bytes(bytes_)}), of which {trained:,} are trained and {total - trained:,} are not "
        "(moving averages, frozen weights)."
    )
    if print_fn is None and sys.stdout.isatty():
        _show_rich(model, table, last)
        return
    for line in [f"Model {model.name!r}", *_plain(table), last]:
        (print_fn or print)(line)


_HEAD = ("Layer", "Output shape", "Parameters", "Trained", "Depends on the mode")


def _cells(row: Row) -> tuple[str, ...]:
    return (f"{row.name} ({row.kind})", row.shape, f"{row.params:,}", row.trainable, row.mode)


def _plain(table: list[Row]) -> list[str]:
    cells = [_HEAD, *(_cells(row) for row in table)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]

    def line(row: tuple[str, ...]) -> str:
        parts = [c.rjust(w) if i == 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(parts).rstrip()

    return [line(cells[0]), "-" * (sum(widths) + 2 * (len(widths) - 1)), *(line(row) for row in cells[1:])]


def _show_rich(model: Model, table: list[Row], last: str) -> None:
    from rich.console import Console
    from rich.table import Table

    made = Table(title=f"Model {model.name!r}", title_justify="left")
    for i, name in enumerate(_HEAD):
        made.add_column(name, justify="right" if i == 2 else "left", overflow="fold")
    for row in table:
        made.add_row(*_cells(row))
    console = Console()
    console.print(made)
    console.print(last, highlight=False)


def _words(shape: Any) -> str:
    if isinstance(shape, tuple) and all(n is None or isinstance(n, int) for n in shape):
        return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
    parts = shape.values() if isinstance(shape, dict) else shape
    return ", ".join(_words(part) for part in parts)


def _bytes(n: int) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1024:
            return f"{n:.1f} {unit}" if unit != "B" else f"{n} B"
        n /= 1024  # type: ignore[assignment]
    return f"{n:.1f} GB"
