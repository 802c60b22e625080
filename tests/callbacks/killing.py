"""Programs to be killed with SIGKILL, and a nursery that starts them in a hundredth of a second.

Importing JAX takes seconds, so one process imports it once and then forks: a child begins before JAX has started any
thread or device, as a new process would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import verax
from verax import layers, optimizers
from verax.callbacks import BackupAndRestore, Callback, EarlyStopping, OrbaxCheckpoint
from verax.ledger.kept import packed

__all__ = ["DATA", "KEEPERS", "Nursery", "nursery", "to_save"]

ROWS, BATCH, EPOCHS = 92, 8, 4  # 12 batches an epoch, the last one short
KEEPERS = {
    "backup": lambda folder: BackupAndRestore(folder, save_freq=2, double_checkpoint=True),
    "orbax": lambda folder: OrbaxCheckpoint(folder, save_freq=2, max_to_keep=2),
}


def rows() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    return generator.normal(size=(ROWS, 3)).astype("float32"), generator.normal(size=ROWS).astype("float32")


class Batches(verax.utils.PyDataset):
    def __len__(self) -> int:
        return -(-ROWS // BATCH)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = rows()
        return x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH]


def endless() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(6)
    while True:
        yield generator.normal(size=(BATCH, 3)).astype("float32"), generator.normal(size=BATCH).astype("float32")


#: The arguments of ``fit`` that say what it trains on.
DATA = {
    "resident": lambda: {"x": rows()[0], "y": rows()[1], "batch_size": BATCH},
    "sequence": lambda: {"x": Batches()},
    "generator": lambda: {"x": endless(), "steps_per_epoch": 12},
}


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


class Report(Callback):
    """Says when a chunk of steps is done; with ``one_by_one`` each step is a chunk."""

    def __init__(self, one_by_one: bool):
        self.one_by_one = one_by_one

    def hears(self, hook: str) -> bool:
        return hook == "on_chunk_end" or (self.one_by_one and hook == "on_train_batch_end")

    def on_train_begin(self, logs: Any = None) -> None:
        say(f"from {self.model.steps_trained}")  # it stands behind the callback that resumes

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass

    def on_chunk_end(self, done: int, logs: Any = None) -> None:
        say("chunk")


def train(job: dict[str, Any]) -> None:
    """Train, or go on; at the end write weights and history."""
    verax.utils.set_random_seed(3)
    net = [layers.Dense(5, "relu"), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(1)]
    model = verax.Sequential([verax.Input((3,)), *net])
    rate = optimizers.schedules.ExponentialDecay(0.05, 5, 0.9)
    model.compile(optimizers.Adam(rate), "mse", metrics=["mae"])
    callbacks: list[Any] = [EarlyStopping(patience=2, restore_best_weights=True), Report(job["one_by_one"])]
    if job["keeper"]:
        callbacks.insert(0, KEEPERS[job["keeper"]](job["folder"]))
    history = model.fit(
        **DATA[job["data"]](), epochs=EPOCHS, validation_data=rows(), callbacks=callbacks, verbose=0, explain="off"
    )
    told = [history.history, history.epoch, history.when, packed(history.readings)]
    Path(job["result"]).write_text(json.dumps([told, [w.tobytes().hex() for w in model.get_weights()]]))


def to_save() -> verax.Sequential:
    return verax.Sequential([verax.Input((99,)), *(layers.Dense(99, kernel_initializer="zeros") for _ in range(4))])


def save(job: dict[str, Any]) -> None:
    """Save weights that are all 0, and then such that are all 1, again and again; each time to all the files."""
    model = to_save()
    model.compile("adam", "mse")
    for i in range(10**9):
        model.set_weights([np.full(w.shape, i % 2, w.dtype) for w in model.get_weights()])
        for path in job["weights"]:
            say("begin")
            model.save_weights(path, overwrite=True)
        for path in job["whole"]:
            say("begin")
            model.save(path, overwrite=True)


class Nursery:
    """Starts ``train`` and ``save`` in processes of their own, one at a time."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        self.said: list[str] = []

    def start(self, what: str, **job: Any) -> int:
        """Begin; the process's id. ``said`` will have its words."""
        self.said.clear()
        self.stdin.write(json.dumps({"what": what, **job}) + "\n")
        self.stdin.flush()
        return int(self._line())

    def wait_for(self, word: str, times: int = 1) -> bool:
        """Whether the process said ``word`` so often; False where it ended before, in order."""
        while times:
            line = self._line()
            if line == "ended 0":
                return False
            assert not line.startswith("ended"), line
            times -= line == word
        return True

    def kill(self, pid: int) -> bool:
        """Kill it; whether it was still running."""
        os.kill(pid, signal.SIGKILL)
        while not (line := self._line()).startswith("ended"):
            pass
        assert line in ("ended 0", f"ended {signal.SIGKILL}"), line
        return line != "ended 0"

    def _line(self) -> str:
        line = self.stdout.readline()
        assert line, "the nursery is gone"
        self.said.append(line.strip())
        return line.strip()


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A nursery whose processes keep compiled programs in a folder."""
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "VERAX_COMPILATION_CACHE": str(folder), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.callbacks.killing"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=root) as process:
        try:
            yield Nursery(process)
        finally:
            process.kill()


def main() -> None:
    import orbax.checkpoint  # noqa: F401 (for all children at once)

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            try:
                {"train": train, "save": save}[job.pop("what")](job)
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        say(str(child))
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else os.WTERMSIG(status)}")


if __name__ == "__main__":
    main()
