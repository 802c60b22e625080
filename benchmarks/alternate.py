"""Several libraries at one work, timed in turn: a machine that slows down for a while slows them all."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Worker", "WorkerError", "alternate"]

ROOT = Path(__file__).parents[1]
#: Between turns, seconds: the threads of the one before stop spinning.
PAUSE = 0.3


class WorkerError(Exception):
    """A worker ended before it answered."""


class Worker:
    """A process of ``benchmarks.worker``, which starts at once."""

    def __init__(self, peer: str, work: str, *options: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, it lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", peer, work, *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """Wait for its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            said = [text.strip() for text in self.errors if text.strip()]
            raise WorkerError(said[-1] if said else f"exit status {self.process.wait()}")
        return json.loads(line)

    def run(self) -> float:
        """Seconds a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return float(self.answer()["seconds"])

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.errors.close()


def alternate(work: str, peers: Sequence[str], *options: str, rounds: int) -> dict[str, Any]:
    """Seconds a step of every peer in every round, the order changing.

    Returns:
        ``seconds``: peer -> a number a round; ``about``: peer -> what it said of itself; ``failed``: peer -> its last
        words, for one that crashed.
    """
    workers: dict[str, Worker] = {}
    about: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    try:
        # PyTorch times itself while it prepares (eager or compiled), so it starts when the others have compiled.
        for some in ([p for p in peers if p != "torch"], [p for p in peers if p == "torch"]):
            workers.update({peer: Worker(peer, work, *options) for peer in some})
            for peer in some:
                try:
                    about[peer] = workers[peer].answer()
                    seconds[peer] = []
                except WorkerError as error:
                    failed[peer] = str(error)
        sizes = {peer: about[peer]["parameters"] for peer in seconds if peer != "torch"}
        if len(set(sizes.values())) > 1:
            raise WorkerError(f"{work} is not the same model everywhere: {sizes}")
        for i in range(rounds):
            order = list(seconds)
            order = order[i % len(order) :] + order[: i % len(order)] if order else []
            for peer in order if i % 2 else order[::-1]:
                time.sleep(PAUSE)
                try:
                    seconds[peer].append(workers[peer].run())
                except WorkerError as error:
                    failed[peer] = str(error)
                    del seconds[peer]
    finally:
        for worker in workers.values():
            worker.close()
    return {"seconds": seconds, "about": about, "failed": failed}
