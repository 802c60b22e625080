"""What the explanation of a gap costs, as a share of the fit it explains.

    python benchmarks/explain.py

For each model: the seconds of a fit that explains nothing, of the same fit with ``explain="end"`` (the line it prints
at its end, whatever it could afford), and of ``history.gap()`` on all rows and on 320 of them, compiling included. Each
is measured in a fresh process, in turn, and the median over rounds is shown. The table goes into benchmarks/EXPLAIN.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def mlp() -> tuple[Any, Any, Any, dict[str, Any]]:
    import verax

    layers = verax.layers
    (x, y), (xv, yv) = verax.datasets.digits.load_data()
    x, xv = x.reshape(len(x), -1) / 16.0, xv.reshape(len(xv), -1) / 16.0
    model = verax.Sequential(
        [
            verax.Input((64,)),
            layers.Dense(256, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return model, (x, y), (xv, yv), {"epochs": 60}


def digits_convnet() -> tuple[Any, Any, Any, dict[str, Any]]:
    import verax

    layers = verax.layers
    (x, y), (xv, yv) = verax.datasets.digits.load_data()
    model = verax.Sequential(
        [
            verax.Input((8, 8, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return model, (x[..., None] / 16.0, y), (xv[..., None] / 16.0, yv), {"epochs": 30}


def resnet() -> tuple[Any, Any, Any, dict[str, Any]]:
    """A residual network of 5 million parameters on the digits enlarged to 32x32."""
    import numpy as np

    import verax

    layers = verax.layers

    def block(x: Any, filters: int, stride: int) -> Any:
        y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        if stride != 1 or x.shape[-1] != filters:
            x = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides=stride, use_bias=False)(x))
        return layers.ReLU()(layers.Add()([x, y]))

    start = verax.Input((32, 32, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same", use_bias=False)(start)))
    for filters, stride in ((32, 1), (64, 2), (128, 2), (256, 2), (256, 1), (384, 1)):
        x = block(x, filters, stride)
    end = layers.Dense(10, activation="softmax")(layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x)))
    (x, y), (xv, yv) = verax.datasets.digits.load_data()
    grow = lambda a: np.kron(a[:, :, :, None] / 16.0, np.ones((1, 4, 4, 1)))  # noqa: E731
    return verax.Model(start, end), (grow(x), y), (grow(xv), yv), {"epochs": 1}


MODELS = {
    "MLP, 60 epochs": mlp,
    "digits convnet, 30 epochs": digits_convnet,
    "ResNet, 5 M parameters, 1 epoch": resnet,
}


def one(name: str, explain: str) -> dict[str, float]:
    import contextlib
    import io

    import verax

    verax.utils.set_random_seed(0)
    model, rows, validation, arguments = MODELS[name]()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    out = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stdout(out):
        history = model.fit(*rows, validation_data=validation, verbose=2, explain=explain, **arguments)
    found = {"fit": time.perf_counter() - began, "parameters": float(model.count_params())}
    found["told"] = float("history.gap()" not in out.getvalue().splitlines()[-1])
    if explain == "end":
        began = time.perf_counter()
        history.gap("accuracy", rows=320)
        found["sample"] = time.perf_counter() - began
        began = time.perf_counter()
        history.gap()
        found["all"] = time.perf_counter() - began
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
        return
    lines = [
        '| model | fit, s | explain="end", s | share | the line at the end | gap() on 320 rows, s | gap(), all, s |',
        "|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        runs: dict[str, list[dict[str, float]]] = {"off": [], "end": []}
        for i in range(arguments.rounds):
            for explain in ("off", "end") if i % 2 else ("end", "off"):
                command = [sys.executable, __file__, "--one", name, explain]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs[explain].append(json.loads(done.stdout.splitlines()[-1]))
        off = statistics.median(r["fit"] for r in runs["off"])
        end = statistics.median(r["fit"] for r in runs["end"])
        sample, whole = (statistics.median(r[k] for r in runs["end"]) for k in ("sample", "all"))
        told = "explains" if all(r["told"] for r in runs["end"]) else "too dear: names gap()"
        lines.append(
            f"| {name} ({runs['off'][0]['parameters']:,.0f} parameters) | {off:.2f} | {end:.2f} | "
            f"{(end - off) / off:+.1%} | {told} | {sample:.2f} | {whole:.2f} |"
        )
        print(lines[-1], flush=True)
    head = [
        "# What an explanation costs",
        "",
        "Seconds, compiling included, each fit in a fresh process; medians.",
        "",
        f"- Command: `python benchmarks/explain.py --rounds {arguments.rounds}`",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Machine: {platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}",
        "",
    ]
    (HERE / "EXPLAIN.md").write_text("\n".join([*head, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
