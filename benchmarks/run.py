"""Time of a step through ``fit`` or ``predict``: Verax beside Keras on its three backends and beside raw PyTorch.

    python -m benchmarks.run                          # every row, every peer, five rounds
    python -m benchmarks.run --rows lstm convnet      # these rows only; the others stay as they were recorded
    python -m benchmarks.run --quick                  # fewer steps and peers, three rounds; recorded only on request

Every library runs in a process of its own, all of one row live together, and they are timed in turn. What is found goes
into benchmarks/results.json, and from there into RESULTS.md and its pictures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks import report
from benchmarks.alternate import alternate
from benchmarks.models import PEERS, ROWS, work

#: Rows whose PyTorch twin is timed in a quick run too.
CHEAP = ("logistic", "wide", "generator")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, help="5; 3 when quick")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--into", type=Path, help="another folder for results.json, RESULTS.md and the pictures")
    arguments = parser.parse_args()
    quick = arguments.quick
    rounds = arguments.rounds or (3 if quick else 5)
    into = arguments.into or (None if quick else report.HERE)
    for row in arguments.rows:
        began = time.perf_counter()
        usual = ["keras-jax", *["torch"] * (row in CHEAP)] if quick else list(PEERS)
        options = ["--quick", "--seconds", "0.3"] if quick else []
        found = alternate(row, ["verax", *(arguments.peers or usual)], *options, rounds=rounds)
        print(report.row_line(work(row), found), f"[{time.perf_counter() - began:.0f} s]", flush=True)
        for peer, why in found["failed"].items():
            print(f"    {peer} failed: {why}", flush=True)
        if into is not None:
            report.record("rows", {row: found}, into)


if __name__ == "__main__":
    main()
