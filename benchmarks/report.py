"""What was measured, kept in results.json, and RESULTS.md and its pictures drawn from it.

python -m benchmarks.report      # draws them again
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import pictures
from benchmarks.models import PEERS, ROWS, Work, work

__all__ = ["HERE", "Ratio", "about", "ratio", "record", "row_line", "show_seconds", "write"]

HERE = Path(__file__).parent
LIBRARIES = ("jax", "jaxlib", "keras", "tensorflow", "torch", "numpy", "optax")


def record(section: str, found: dict[str, Any], into: Path = HERE) -> None:
    """Put entries into a section, in place of those of the same name, with when, where and how they were found."""
    path = into / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results.setdefault(section, {}).update({name: {**entry, **about()} for name, entry in found.items()})
    path.write_text(json.dumps(results, indent=1) + "\n")
    write(into)


def about() -> dict[str, str]:
    """When, where and how something is being measured."""
    return {"date": datetime.date.today().isoformat(), "command": _command(), **_machine()}


def _command() -> str:
    return " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = [f for f in ("avx2", "avx512f", "amx_tile") if f in fields.get("flags", "").split()]
    usable, there = len(os.sched_getaffinity(0)), os.cpu_count()
    cores = f"{there} cores" if usable == there else f"pinned to {usable} of {there} cores"
    said = [fields.get("model name", ""), platform.machine(), cores, *flags]
    versions = {"python": platform.python_version(), "verax": _version("verax")}
    versions |= {name: _version(name) for name in LIBRARIES if _version(name)}
    return {
        "machine": ", ".join(s for s in said if s),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return __import__("verax").__version__ if name == "verax" else ""


# ---- figures ---------------------------------------------------------------------------------------------------------


class Ratio(tuple[float, float, float]):
    """The median, the least and the most of the rounds' own ratios."""

    def __str__(self) -> str:
        return f"{self[0]:.3g} ({self[1]:.3g} to {self[2]:.3g})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Their time / ours, round by round.

    >>> print(ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]))
    3 (2 to 4)
    """
    each = [t / o for t, o in zip(theirs, ours, strict=True)]
    return Ratio((statistics.median(each), min(each), max(each)))


def ratios(entry: dict[str, Any]) -> dict[str, Ratio]:
    """peer -> ratio, for the peers that were timed."""
    seconds = entry["seconds"]
    ours = seconds.get("verax")
    return {p: ratio(seconds[p], ours) for p in PEERS if p in seconds} if ours else {}


def show_seconds(value: float) -> str:
    """Seconds with three digits in a fitting unit.

    >>> show_seconds(0.0213)
    '21.3 ms'
    """
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def row_line(made: Work, entry: dict[str, Any]) -> str:
    """A row in one line, for a person who waits."""
    times = {peer: show_seconds(statistics.median(values)) for peer, values in entry["seconds"].items()}
    found = [f"{peer} {times[peer]} = {value}" for peer, value in ratios(entry).items()]
    return f"{made.title}: verax {times.get('verax', '-')}; " + "; ".join(found)


def short(made: Work, entry: dict[str, Any]) -> list[str]:
    """The peers against which a row falls short of its target."""
    aims = dict(zip(PEERS, made.targets, strict=True))
    return [peer for peer, found in ratios(entry).items() if found[0] < aims[peer]]


# ---- RESULTS.md ------------------------------------------------------------------------------------------------------


def write(into: Path = HERE) -> None:
    """RESULTS.md and the pictures from results.json."""
    results = json.loads((into / "results.json").read_text())
    notes = tomllib.loads((HERE / "notes.toml").read_text())
    rows = {name: results["rows"][name] for name in ROWS if name in results.get("rows", {})}
    lines = ["# Results", "", "Made by `make bench`; results.json has every round.", ""]
    if rows:
        lines += [*_steps(rows, notes), ""]
        pictures.draw_ratios({n: ratios(e) for n, e in rows.items()}, into / "ratios.svg")
    if "processes" in results:
        lines += [*_processes(results["processes"], notes), ""]
    if "growth" in results:
        lines += [*_growth(results["growth"]), ""]
        pictures.draw_growth(results["growth"], into / "growth.svg")
    if "gpu" in results:
        lines += [*_gpu(results["gpu"]), ""]
    lines += [*_origin([e for section in results.values() for e in section.values()])]
    (into / "RESULTS.md").write_text("\n".join(lines), encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _steps(rows: dict[str, Any], notes: dict[str, Any]) -> list[str]:
    times, compared, reasons = [], [], []
    for name, entry in rows.items():
        made, found = work(name), ratios(entry)
        cells = [_time(made, entry, peer) for peer in ("verax", *PEERS)]
        times.append([made.title, *cells, entry["date"]])
        missed = short(made, entry)
        aims = dict(zip(PEERS, made.targets, strict=True))
        bold = {
            p: f"**{r}**, aim {aims[p]:g}: short" if p in missed else f"{r}, aim {aims[p]:g}" for p, r in found.items()
        }
        compared.append([made.title, *(bold.get(p, "-") for p in PEERS), _all(missed, found)])
        if missed:
            against = ", ".join(PEERS[p] for p in missed)
            reasons.append(f"- {made.title} (against {against}): {notes.get(name, 'no reason written down yet')}")
        reasons += [f"- {made.title}: {peer} failed: `{why}`" for peer, why in entry["failed"].items()]
    rounds = min((len(v) for e in rows.values() for v in e["seconds"].values()), default=0)
    return [
        "## A step",
        "",
        "The same model, data, optimizer and metrics through `fit` or `predict` as a person calls them; the second and",
        f"later calls, so compiling is not in them. Medians of at least {rounds} alternating rounds.",
        "",
        *table(["work", "Verax", *PEERS.values(), "date"], times),
        "",
        "Peer's time / Verax's: median (least to most of the rounds), and what is aimed at.",
        "",
        *table(["work", *PEERS.values(), "all met"], compared),
        "",
        "![Ratios with their spread, aims marked](ratios.svg)",
        *(["", "Where it falls short, and why:", "", *reasons] if reasons else []),
    ]


def _all(missed: list[str], found: dict[str, Ratio]) -> str:
    return "no" if missed else "yes" if len(found) == len(PEERS) else "of those timed"


def _time(made: Work, entry: dict[str, Any], peer: str) -> str:
    if peer not in entry["seconds"]:
        return "-"
    seconds = statistics.median(entry["seconds"][peer])
    said = f"{made.batch / seconds:,.0f} rows/s" if made.call == "generator" else show_seconds(seconds)
    note = entry["about"][peer].get("note")
    return f"{said} ({note})" if note else said


def _processes(figures: dict[str, Any], notes: dict[str, Any]) -> list[str]:
    cells = [[e["what"], e["found"], e["aim"] or "-", _met(e["met"])] for e in figures.values()]
    missed = {name: e for name, e in figures.items() if e["met"] is False}
    reasons = [f"- {e['what']}: {notes.get(name, 'no reason written down yet')}" for name, e in missed.items()]
    return [
        "## Whole processes",
        "",
        *table(["figure", "found", "aim", "met"], cells),
        *(["", "Where it falls short, and why:", "", *reasons] if reasons else []),
        "",
        "What explaining a gap costs for other models: [EXPLAIN.md](EXPLAIN.md).",
    ]


def _met(met: bool | None) -> str:
    return "-" if met is None else "yes" if met else "**no**"


def _growth(parts: dict[str, Any]) -> list[str]:
    lines = ["## Growth", ""]
    for entry in parts.values():
        cells = [[f"{size:,}", *(show_seconds(v[i]) for v in entry["series"].values())]
                 for i, size in enumerate(entry["sizes"])]  # fmt: skip
        lines += [entry["what"], "", *table([entry["size"], *entry["series"]], cells), ""]
        if "note" in entry:
            lines += [entry["note"], ""]
    return [*lines, "![Time against rows, width and depth](growth.svg)"]


def _gpu(rows: dict[str, Any]) -> list[str]:
    cells = []
    for entry in rows.values():
        found = ratios(entry)
        medians = {p: show_seconds(statistics.median(v)) for p, v in entry["seconds"].items()}
        cells.append(
            [
                entry["what"],
                medians.get("verax", "-"),
                *(f"{medians[p]}, {found[p]}" if p in found else "-" for p in PEERS),
            ]
        )
    device = next(iter(rows.values()))["device"]
    return [f"## On a GPU: {device}", "", *table(["work", "Verax", *PEERS.values()], cells)]


def _origin(entries: list[dict[str, Any]]) -> list[str]:
    """Where, with what and by which commands: each said once."""
    lines = ["## Where and how", ""]
    for field in ("machine", "versions", "date", "command"):
        said = list(dict.fromkeys(e[field] for e in entries))
        lines += [f"- {field.capitalize()}: " + "; ".join(f"`{s}`" if field == "command" else s for s in said)]
    return [*lines, ""]


if __name__ == "__main__":
    write()
