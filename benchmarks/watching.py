"""What watching a loop costs: the same loop with the watch and without it, in turn.

    python -m benchmarks.watching                 # PyTorch and Keras on JAX; fifteen rounds

An MNIST-size convolutional network (28x28, two convolutions, batch normalization, dropout, 1.2 million parameters) at
batch 64. A round is an epoch of 75 steps without the watch and one with it, in alternating order, in one process; the
ratio is of the two epochs of a round. What an explanation itself takes is told beside it: it is asked for, once.
The table goes into benchmarks/WATCHING.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
STEPS, BATCH = 75, 64


def rows() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(STEPS * BATCH, 28, 28, 1)).astype("float32"), rng.integers(0, 10, STEPS * BATCH)


def rounds(plain: Callable[[], float], watched: Callable[[], float], count: int) -> list[tuple[float, float]]:
    """Seconds of the plain and of the watched epoch of each round."""
    plain(), watched()
    found: list[tuple[float, float]] = []
    for i in range(count):
        one, two = (plain(), 0.0) if i % 2 else (0.0, watched())
        found.append((one or plain(), two or watched()))
    return found


def pytorch(count: int) -> dict[str, Any]:
    import torch
    from torch import nn

    import verax

    x, y = rows()
    data = torch.utils.data.TensorDataset(torch.from_numpy(x).movedim(-1, 1).contiguous(), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(64),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer, loss_fn = torch.optim.Adam(model.parameters(), 1e-3), nn.CrossEntropyLoss()

    def epoch() -> float:
        began, total = time.perf_counter(), 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return time.perf_counter() - began

    ledger: Any = None

    def watched() -> float:
        nonlocal ledger
        with verax.torch.watch(model, loss_fn, optimizer) as ledger:
            return epoch()

    found = rounds(epoch, watched, count)
    kept = ledger.kept
    began = time.perf_counter()
    ledger.explain(loader)
    return {"name": f"PyTorch {torch.__version__.partition('+')[0]}", "rounds": found, "kept": kept,
            "explain": time.perf_counter() - began}  # fmt: skip


def keras_jax(count: int) -> dict[str, Any]:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    import verax

    x, y = rows()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2), layers.BatchNormalization(), layers.Dropout(0.25), layers.Flatten(),
            layers.Dense(128, activation="relu"), layers.Dropout(0.5), layers.Dense(10, activation="softmax"),
        ]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    some = x[: 4 * BATCH], y[: 4 * BATCH]
    spent: list[float] = []

    class Clock(keras.callbacks.Callback):
        """Times the epoch alone: an explanation comes after it."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            spent.append(time.perf_counter() - self.began)

    def fit(*callbacks: Any) -> float:
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0, validation_data=some, callbacks=[Clock(), *callbacks])
        return spent[-1]

    explain: Any = None

    def watched() -> float:
        nonlocal explain
        explain = verax.keras.Explain(some, explain="end", verbose=0)
        return fit(explain)

    found = rounds(fit, watched, count)
    began = time.perf_counter()
    fit(verax.keras.Explain(some, explain="end", verbose=0))
    explaining = time.perf_counter() - began - spent[-1]
    return {"name": f"Keras {keras.__version__} on JAX", "rounds": found, "kept": explain.kept, "explain": explaining}


def table(results: list[dict[str, Any]], count: int) -> str:
    lines = [
        "# What watching a loop costs",
        "",
        f"- Command: `python -m benchmarks.watching --rounds {count}`",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Machine: {platform.machine()}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}",
        "",
        f"An epoch of {STEPS} steps of an MNIST-size convolutional network, batch {BATCH}; medians of {count} rounds.",
        "",
        "| loop | without, ms a step | watched, ms a step | their ratio (least to most) | kept, MiB | explaining, s |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        ratios = sorted(two / one for one, two in result["rounds"])
        one, two = (statistics.median(r[i] for r in result["rounds"]) / STEPS * 1e3 for i in range(2))
        lines.append(
            f"| {result['name']} | {one:.1f} | {two:.1f} | {statistics.median(ratios):.3f} ({ratios[0]:.3f} to "
            f"{ratios[-1]:.3f}) | {result['kept'] / 2**20:.1f} | {result['explain']:.1f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    results = [work(arguments.rounds) for work in (pytorch, keras_jax)]
    text = table(results, arguments.rounds)
    (HERE / "WATCHING.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
