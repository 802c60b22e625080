"""How time grows: a row against the number of rows, a step against width and depth beside Keras-JAX.

python -m benchmarks.growth
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.alternate import alternate
from benchmarks.models import compiled, work
from benchmarks.worker import library

ROWS = (1_000, 10_000, 100_000, 1_000_000)
WIDTHS = (64, 256, 1024, 4096)
DEPTHS = (1, 2, 4, 8, 16, 32)
STREAMED = (1_000_000, 4_000_000)
FEATURES = 20


def rows(rounds: int) -> dict[str, Any]:
    """Seconds a row of logistic regression with batches of 100, for each number of rows."""
    found = [alternate(f"logistic:{n}", ["verax", "keras-jax"], rounds=rounds)["seconds"] for n in ROWS]
    series = {who: [statistics.median(f[peer]) / 100 for f in found] for peer, who in PAIR.items()}
    notes = []
    for count in STREAMED:
        command = [sys.executable, "-m", "benchmarks.growth", "--stream", str(count)]
        done = subprocess.run(command, cwd=report.HERE.parent, check=True, capture_output=True, text=True)
        notes.append(f"{count:,} rows {done.stdout.splitlines()[-1]}")
    return {
        "what": "Logistic regression, batch 100: time a row against the number of rows.",
        "size": "rows",
        "unit": "row",
        "sizes": list(ROWS),
        "series": series,
        "note": "Streamed from a memory map: " + "; ".join(notes) + ".",
    }


def steps(what: str, size: str, sizes: tuple[int, ...], name: str, rounds: int) -> dict[str, Any]:
    """Seconds a step of an MLP, for each width or depth."""
    found = [alternate(name.format(n), ["verax", "keras-jax"], rounds=rounds)["seconds"] for n in sizes]
    series = {who: [statistics.median(f[peer]) for f in found] for peer, who in PAIR.items()}
    return {"what": what, "size": size, "unit": "step", "sizes": list(sizes), "series": series}


PAIR = {"verax": "Verax", "keras-jax": "Keras-JAX"}


def stream(count: int) -> str:
    """Fit rows of a memory map on disk, twice; the time a row of the second, and how much memory was held meanwhile."""
    made = work("logistic")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        kept = np.memmap(f"{folder}/x", np.float32, "w+", shape=(count, FEATURES))
        for start in range(0, count, 100_000):
            kept[start : start + 100_000] = rng.standard_normal((100_000, FEATURES), np.float32)
        kept.flush()
        del kept
        x = np.memmap(f"{folder}/x", np.float32, "r", shape=(count, FEATURES))
        y = (np.arange(count) % 2).astype(np.float32)
        model = compiled(library("verax"), made)
        model.fit(x[:10_000], y[:10_000], batch_size=made.batch, verbose=0)
        with Memory() as memory:
            began = time.perf_counter()
            model.fit(x, y, batch_size=made.batch, verbose=0)
            seconds = time.perf_counter() - began
    held = f"{memory.before:,.0f} MiB held before and {memory.grown:+,.0f} MiB at most while it ran"
    return f"{report.show_seconds(seconds / count)} a row, {held}"


class Memory:
    """The process's own memory (pages of mapped files aside) in MiB: before a block, and its peak growth inside."""

    def __enter__(self) -> Memory:
        self.before = self.peak = self.now()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    @property
    def grown(self) -> float:
        return self.peak - self.before

    @staticmethod
    def now() -> float:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) / 1024

    def _watch(self) -> None:
        while not self.ended.wait(0.02):
            self.peak = max(self.peak, self.now())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=("rows", "width", "depth"), default=["rows", "width", "depth"])
    parser.add_argument("--into", type=Path, default=report.HERE)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stream:
        print(stream(arguments.stream))
        return
    rounds = arguments.rounds
    parts = {
        "rows": lambda: rows(rounds),
        "width": lambda: steps("MLP of two layers: time a step of 32 rows.", "width", WIDTHS, "mlp:{}:2", rounds),
        "depth": lambda: steps("MLP of width 128: time a step of 32 rows.", "depth", DEPTHS, "mlp:128:{}", rounds),
    }
    for name in arguments.only:
        found = parts[name]()
        print(found["what"], found["sizes"], found["series"], found.get("note", ""), flush=True)
        report.record("growth", {name: found}, arguments.into)


if __name__ == "__main__":
    main()
