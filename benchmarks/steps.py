"""Time of a training step through ``fit``, beside Keras on JAX: the same data, model, optimizer and metrics.

    python benchmarks/steps.py            # prints a table and writes it into benchmarks/RESULTS.md
    python benchmarks/steps.py --rounds 9 --print

Both libraries run in one process, in turn, the order changing each round; the first fit of each (which compiles) is not
counted. A row's figure is the median over rounds, and the ratio is the median of the rounds' own ratios, so a machine
that slows down for a while slows both.
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

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

import verax

HERE = Path(__file__).parent


def logistic_regression(library: Any) -> tuple[Any, Any, Any, int]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30_000, 20)).astype("float32")
    y = (x @ rng.normal(size=20) > 0).astype("float32")
    model = library.Sequential([library.Input((20,)), library.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer=library.optimizers.SGD(0.1), loss="binary_crossentropy", metrics=["accuracy"])
    return model, x, y, 100


def wide_dense(library: Any) -> tuple[Any, Any, Any, int]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3_200, 20)).astype("float32"), rng.normal(size=(3_200, 1)).astype("float32")
    layers = library.layers
    model = library.Sequential([library.Input((20,)), layers.Dense(1000, activation="relu"), layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    return model, x, y, 32


def digits_convnet(library: Any) -> tuple[Any, Any, Any, int]:
    (x, y), _ = verax.datasets.digits.load_data()
    x, y = x[..., None].astype("float32") / 16, y.astype("int32")
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((8, 8, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y, 32


ROWS: dict[str, Callable[[Any], tuple[Any, Any, Any, int]]] = {
    "logistic regression, 30,000 rows, batch 100, SGD": logistic_regression,
    "Dense(1000)-Dense(1), batch 32, Adam": wide_dense,
    "digits convnet (2 conv + BN + pool), batch 32, Adam": digits_convnet,
}


def seconds_a_step(model: Any, x: Any, y: Any, batch: int, epochs: int) -> float:
    began = time.perf_counter()
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)
    return (time.perf_counter() - began) / (epochs * -(-len(x) // batch))


def measure(make: Callable[[Any], tuple[Any, Any, Any, int]], rounds: int) -> tuple[float, float, float, float, float]:
    made = {library: make(library) for library in (verax, keras)}
    for each in made.values():  # compile
        seconds_a_step(*each, epochs=2)
    times: dict[Any, list[float]] = {verax: [], keras: []}
    for i in range(rounds):
        for library in (verax, keras) if i % 2 else (keras, verax):
            times[library].append(seconds_a_step(*made[library], epochs=3))
    ratios = [k / v for k, v in zip(times[keras], times[verax], strict=True)]
    return (
        statistics.median(times[verax]),
        statistics.median(times[keras]),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--print", action="store_true", help="print only; leave RESULTS.md as it is")
    arguments = parser.parse_args()
    lines = [
        "| work | Verax, µs a step | Keras-JAX, µs a step | ratio, median (least to most) |",
        "|---|---|---|---|",
    ]
    for name, make in ROWS.items():
        ours, theirs, ratio, least, most = measure(make, arguments.rounds)
        lines.append(f"| {name} | {ours * 1e6:.0f} | {theirs * 1e6:.0f} | {ratio:.1f} ({least:.1f} to {most:.1f}) |")
        print(lines[-1], flush=True)
    head = [
        "# Results",
        "",
        "Time of a training step through `fit` (verbose=0), beside Keras on JAX in the same process, in turn.",
        "",
        f"- Command: `python benchmarks/steps.py --rounds {arguments.rounds}`",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Machine: {platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].platform}; "
        f"Python {platform.python_version()}",
        f"- Versions: verax {verax.__version__}, jax {jax.__version__}, keras {keras.__version__}, "
        f"numpy {np.__version__}",
        "",
    ]
    if not arguments.print:
        (HERE / "RESULTS.md").write_text("\n".join([*head, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
