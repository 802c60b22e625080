"""The curves of a fit: what was shown, and beside it what the training rows give when measured as validation is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from verax.errors import MissingExtraError, UnknownNameError
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap

if TYPE_CHECKING:
    from verax.callbacks.history import History

__all__ = ["draw", "honest"]

# Okabe and Ito's palette, told apart by the colour-blind; lines differ in style too.
_SHOWN, _VALIDATION, _HONEST = "#E69F00", "#0072B2", "#009E73"


def honest(gap: Gap) -> float | None:
    """The training rows' number measured as the validation number was: the validation less the rows' difference."""
    rows = [link for link in gap.links if link.cause is Cause.ROWS]
    return gap.validation.value - sum(link.change for link in rows) if rows else None


def draw(history: History, metric: str, ax: Any) -> Any:
    """Draw one number's curves; see ``History.plot``."""
    if metric not in history.history:
        raise UnknownNameError.among("number of the fit", metric, history.history)
    if ax is None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise MissingExtraError.of(
                "matplotlib", extra="plot", asked="history.plot() draws with matplotlib."
            ) from None
        ax = Figure(figsize=(7, 4), layout="constrained").add_subplot()
    for name, colour, style in ((metric, _SHOWN, "--"), (f"val_{metric}", _VALIDATION, "-")):
        if name in history.history:
            epochs = [epoch + 1 for epoch in history.when[name]]
            said = "as shown: training mode, while the weights moved" if name == metric else "validation rows"
            ax.plot(epochs, history.history[name], style, color=colour, marker=".", label=f"{name} ({said})")
    points = {epoch + 1: honest(gaps[metric]) for epoch, gaps in sorted(history.gaps.items()) if metric in gaps}
    found = {epoch: value for epoch, value in points.items() if value is not None}
    if found:
        label = f"{metric} (training rows, measured as validation is)"
        ax.plot(list(found), list(found.values()), "-", color=_HONEST, marker="o", markersize=4, label=label)
    ax.set_xlabel("epoch")
    ax.set_ylabel(metric)
    ax.legend(frameon=False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
