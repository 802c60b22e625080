"""The pictures of RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.models import PEERS, work

__all__ = ["draw_growth", "draw_ratios"]

COLOURS = dict(zip(PEERS, ("#1f6feb", "#e36209", "#8250df", "#57606a"), strict=True))


def _plots() -> Any:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "verax", "font.size": 9, "axes.spines.top": False})
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    _plots().close(figure)


def draw_ratios(rows: Mapping[str, Mapping[str, tuple[float, float, float]]], path: Path) -> None:
    """Peer's time / Verax's on a logarithmic axis: a dot and its spread for each row and peer, a bar at each aim."""
    figure, axes = _plots().subplots(figsize=(9, 0.75 * len(rows) + 1.2))
    for i, (name, found) in enumerate(rows.items()):
        for j, (peer, aim) in enumerate(zip(PEERS, work(name).targets, strict=True)):
            at = i + (j - 1.5) * 0.18
            axes.plot([aim, aim], [at - 0.08, at + 0.08], color="black", linewidth=1.6, zorder=2)
            if peer in found:
                median, least, most = found[peer]
                axes.plot([least, most], [at, at], color=COLOURS[peer], linewidth=2, alpha=0.5)
                axes.plot(median, at, "o", color=COLOURS[peer], markersize=5, zorder=3)
    for peer, said in PEERS.items():
        axes.plot([], [], "o-", color=COLOURS[peer], markersize=5, label=said)
    axes.plot([], [], "|", color="black", markersize=8, markeredgewidth=1.6, label="aim")
    axes.axvline(1.0, color="black", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    ticks = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [work(name).title.replace(", batch", ",\nbatch") for name in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    axes.set_xlabel("their time / Verax's (right of the dashed line Verax is faster)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.0 + 0.6 / len(rows)), ncol=5, frameon=False)
    _save(figure, path)


def draw_growth(parts: Mapping[str, Any], path: Path) -> None:
    """One panel a part: time against size, both axes logarithmic."""
    figure, panels = _plots().subplots(1, len(parts), figsize=(3.4 * len(parts), 2.8), squeeze=False)
    for axes, entry in zip(panels[0], parts.values(), strict=True):
        for (name, values), marker in zip(entry["series"].items(), "os^", strict=False):
            axes.plot(entry["sizes"], values, f"{marker}-", markersize=4, linewidth=1.2, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(entry["size"])
        axes.set_ylabel(f"seconds a {entry['unit']}")
        axes.grid(linewidth=0.4, alpha=0.6)
        axes.legend(frameon=False)
    figure.tight_layout()
    _save(figure, path)
