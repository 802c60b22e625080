"""Each trick of docs/performance.md, with and without, in turn in one process: which of them are still needed?

    python -m benchmarks.tricks                 # all, and writes benchmarks/TRICKS.md
    python -m benchmarks.tricks pooling memory  # some, and only prints

A trick whose ratio has come down to 1 with a newer jaxlib can go.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import verax
from benchmarks.models import compiled, work
from benchmarks.report import about
from verax.data import arrays
from verax.engine import compiler
from verax.engine.compiler import compiler_options
from verax.frame.speed import use_fast_kernels
from verax.ops import attention, batch_norm, contraction, convolution, draws, onednn, pooling

HERE = Path(__file__).parent
ROUNDS = 5
#: (what is timed, without the trick and with it: each takes seconds)
Pair = tuple[str, Callable[[], float], Callable[[], float]]


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began


def in_a_loop(step: Callable[..., jax.Array], *arrays: jax.Array, steps: int = 4) -> Callable[[], float]:
    """Seconds a step of a compiled loop, as training runs it; what a step gives flows into the next one."""

    def loop(arrays: tuple[jax.Array, ...], count: jax.Array) -> jax.Array:
        def body(_: Any, nudge: jax.Array) -> jax.Array:
            return step(arrays[0] + nudge, *arrays[1:]).ravel()[0] * 1e-30

        return jax.lax.fori_loop(0, count, body, jnp.zeros(()))

    run = jax.jit(loop, compiler_options=compiler_options()).lower(arrays, np.int32(steps)).compile()
    run(arrays, np.int32(steps))
    return lambda: seconds(lambda: run(arrays, np.int32(steps))) / steps


def gradient(function: Callable[..., jax.Array], over: tuple[int, ...]) -> Callable[..., jax.Array]:
    """A step that needs the gradients of a function's sum of squares over some of its arguments."""

    def step(*arrays: jax.Array) -> jax.Array:
        found = jax.grad(lambda *a: jnp.sum(jnp.square(function(*a))), over)(*arrays)
        return sum((jnp.sum(g) for g in found), jnp.zeros(()))

    return step


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), "float32")


# ---- kernels ---------------------------------------------------------------------------------------------------------


def convolutions() -> list[Pair]:
    shapes = {
        "3x3, (128,13,13,32) -> 64": (normal(128, 13, 13, 32), normal(3, 3, 32, 64), 1, "VALID"),
        "1x1, (8,56,56,64) -> 256": (normal(8, 56, 56, 64), normal(1, 1, 64, 256), 1, "SAME"),
        "3x3 stride 2, (4,28,28,64) -> 64": (normal(4, 28, 28, 64), normal(3, 3, 64, 64), 2, "SAME"),
        "7x7 stride 2, (2,112,112,3) -> 64": (normal(2, 112, 112, 3), normal(7, 7, 3, 64), 2, "SAME"),
    }
    pairs: list[Pair] = []
    for name, (x, kernel, stride, padding) in shapes.items():
        plain, fast = (
            in_a_loop(gradient(partial(f, strides=(stride, stride), padding=padding), (0, 1)), x, kernel)
            for f in (convolution.convolve_plain, convolution.convolve)
        )
        pairs.append((f"convolution and gradients, {name}", plain, fast))
    # The plain forms of the last three take so long that they are measured small.
    x, kernel = normal(4, 24, 24, 72), normal(3, 3, 1, 72)
    plain, fast = (
        in_a_loop(gradient(partial(f, strides=(1, 1), padding="SAME", groups=72), (0, 1)), x, kernel, steps=2)
        for f in (convolution.convolve_plain, convolution.convolve)
    )
    return [*pairs, ("depthwise convolution and gradients, 3x3, (4,24,24,72)", plain, fast)]


def library() -> list[Pair]:
    """oneDNN, and in its place our own forms and XLA's."""
    layers = {
        "convolution, 3x3, (8,56,56,64) -> 64": (normal(8, 56, 56, 64), normal(3, 3, 64, 64), 1),
        "convolution, 7x7 stride 2, (8,224,224,3) -> 64": (normal(8, 224, 224, 3), normal(7, 7, 3, 64), 2),
    }

    def convolved(stride: int) -> Callable[..., jax.Array]:
        return partial(convolution.convolve, strides=(stride, stride), padding="SAME")

    made: dict[str, Callable[[], Callable[[], float]]] = {
        name: partial(in_a_loop, convolved(stride), x, kernel) for name, (x, kernel, stride) in layers.items()
    }
    made["product that sums over rows, (25088,64) and (25088,256)"] = partial(
        in_a_loop, partial(contraction.multiply, turn_a=True), normal(25088, 64), normal(25088, 256)
    )
    made["ResNet50, a step of fit"] = partial(fits, "resnet50", 2)
    made["MobileNetV2, a step of fit"] = partial(fits, "mobilenet")
    available = onednn._available
    pairs: list[Pair] = []
    for name, make in made.items():
        onednn._available = lambda: False  # pyright: ignore[reportAttributeAccessIssue]
        try:
            without = make()
        finally:
            onednn._available = available
        pairs.append((f"oneDNN: {name}", without, make()))
    return pairs


def pools() -> list[Pair]:
    x = normal(128, 26, 26, 64)
    found = {
        f"{kind} pooling and gradient, 2x2, (128,26,26,64)": [
            in_a_loop(gradient(partial(f, window=(2, 2), strides=(2, 2), padding="VALID"), (0,)), x) for f in forms
        ]
        for kind, forms in {
            "max": (pooling.max_pool_plain, pooling.max_pool),
            "average": (pooling.average_pool_plain, pooling.average_pool),
        }.items()
    }
    return [(name, plain, fast) for name, (plain, fast) in found.items()]


def normalization() -> list[Pair]:
    def with_forms(moments: Any, normalize: Any) -> Callable[..., jax.Array]:
        def apply(x: jax.Array, gamma: jax.Array, beta: jax.Array) -> jax.Array:
            mean, variance = moments(x)
            return jax.nn.relu(normalize(x, mean, gamma * jax.lax.rsqrt(variance + 1e-3), beta))

        return apply

    arrays = normal(8, 56, 56, 256), jnp.ones(256), jnp.zeros(256)
    plain = in_a_loop(gradient(with_forms(batch_norm.moments_plain, batch_norm.normalize_plain), (0, 1, 2)), *arrays)
    fast = in_a_loop(gradient(with_forms(batch_norm.moments, batch_norm.normalize), (0, 1, 2)), *arrays)
    return [("batch normalization and gradients, (8,56,56,256)", plain, fast)]


def masks() -> list[Pair]:
    key, x = jax.random.key(0), normal(128, 26, 26, 64)
    plain = in_a_loop(lambda x: x * jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, x.shape), x)
    fast = in_a_loop(lambda x: x * draws.draw_mask(jax.random.fold_in(key, 1), 0.5, x.shape), x)
    return [("dropout mask, 5.5 M elements", plain, fast)]


def attending() -> list[Pair]:
    arrays = [normal(16, 128, 8, 32) for _ in range(3)]
    plain, fast = (
        in_a_loop(gradient(partial(f, keep=None, scale=0.17), (0, 1, 2)), *arrays)
        for f in (attention.attend_plain, attention.attend)
    )
    return [("core of attention and gradients, 8 heads, (16,128,8,32)", plain, fast)]


def gelus() -> list[Pair]:
    def layer(gelu: Callable[[jax.Array], jax.Array]) -> Callable[[], float]:
        arrays = normal(2048, 256), normal(256, 1024), normal(1024, 256)
        return in_a_loop(gradient(lambda x, v, w: gelu(x @ v) @ w, (0, 1, 2)), *arrays)

    plain = layer(partial(jax.nn.gelu, approximate=False))
    return [("gelu between two Dense, with gradients, (2048,1024)", plain, layer(verax.activations.gelu))]


# ---- whole fits ------------------------------------------------------------------------------------------------------


def fits(name: str, steps: int = 4) -> Callable[[], float]:
    """Seconds a step of ``fit``, compiled as the switches stand now."""
    made = work(name)
    model = compiled(verax, made)
    x, y = made.data(made.batch * steps)

    def fit() -> None:
        model.fit(x, y, batch_size=made.batch, epochs=1, verbose=0)

    fit()
    return lambda: seconds(fit) / steps


def recurrence() -> list[Pair]:
    use_fast_kernels(False)
    plain = fits("lstm")
    use_fast_kernels(True)
    return [("LSTM with one matrix product for all weight gradients, a step of fit", plain, fits("lstm"))]


def option() -> list[Pair]:
    accepted = compiler._accepted
    compiler._accepted = lambda attends: {}  # pyright: ignore[reportAttributeAccessIssue]
    try:
        without = fits("convnet")
    finally:
        compiler._accepted = accepted
    return [("YNNPACK for all but convolutions, convnet, a step of fit", without, fits("convnet"))]


def packing() -> list[Pair]:
    """Twelve sums a step handed over in one row, and in twelve buffers."""

    def loop(packed: bool) -> Callable[[], float]:
        def run(x: jax.Array, count: jax.Array) -> Any:
            def body(i: jax.Array, both: Any) -> Any:
                x, room = both
                x = jnp.tanh(x)
                sums = [x[n] for n in range(12)]
                if packed:
                    return x, jax.lax.dynamic_update_index_in_dim(room, jnp.stack(sums), i, 0)
                return x, [b.at[i].set(s) for b, s in zip(room, sums, strict=True)]

            room = jnp.zeros((1024, 12)) if packed else [jnp.zeros(1024) for _ in range(12)]
            return jax.lax.fori_loop(0, count, body, (x, room))

        program = jax.jit(run)
        x = normal(64)

        def fetch() -> Any:
            return jax.tree.map(np.asarray, program(x, np.int32(300)))

        fetch()
        return lambda: seconds(fetch) / 300

    return [("twelve sums of each step packed into a row", loop(False), loop(True))]


def steps_at_a_time() -> list[Pair]:
    """A step of logistic regression: one call of a program for each step, and a loop over all of them."""

    class Waits(verax.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            """Heard between batches: fit goes step by step."""

    made = work("logistic")
    x, y = made.data(made.batch * 100)
    model = compiled(verax, made)

    def fit(*callbacks: Any) -> float:
        return seconds(lambda: model.fit(x, y, batch_size=made.batch, verbose=0, callbacks=list(callbacks))) / 100

    fit(Waits()), fit()
    return [("one program for many steps, logistic regression", lambda: fit(Waits()), fit)]


def rows() -> list[Pair]:
    """Batches of logistic regression gathered by index in the steps, and rows laid out ahead in the epoch's order."""
    made = work("logistic")
    x, y = made.data(made.batch * made.steps)

    def times(small: int) -> Callable[[], float]:
        model = compiled(verax, made)

        def fit() -> None:
            arrays._SMALL = small  # pyright: ignore[reportAttributeAccessIssue]
            try:
                model.fit(x, y, batch_size=made.batch, epochs=40, verbose=0)
            finally:
                arrays._SMALL = kept  # pyright: ignore[reportAttributeAccessIssue]

        kept = arrays._SMALL
        fit()
        return lambda: seconds(fit) / 40 / made.steps

    return [("rows laid out ahead, logistic regression, a step of fit", times(0), times(arrays._SMALL))]


def memory() -> list[Pair]:
    """Freed memory kept in the process: it is set for a whole process, so each time is a process of its own."""
    code = "from benchmarks.tricks import fits; run = fits('convnet', 6); run(); print(min(run() for _ in range(3)))"

    def process(keep: str) -> float:
        env = {**os.environ, "VERAX_KEEP_MEMORY": keep}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, cwd=HERE.parent, capture_output=True, text=True, check=True
        )
        return float(done.stdout.split()[-1])

    return [("freed memory kept, convnet, a step of fit", partial(process, "0"), partial(process, "1"))]


TRICKS: dict[str, Callable[[], list[Pair]]] = {
    "convolution": convolutions,
    "onednn": library,
    "pooling": pools,
    "normalization": normalization,
    "masks": masks,
    "attention": attending,
    "gelu": gelus,
    "recurrence": recurrence,
    "option": option,
    "memory": memory,
    "rows": rows,
    "packing": packing,
    "steps": steps_at_a_time,
}


def measure(pair: Pair) -> str:
    """A line of the table: medians over rounds, in turn, and the median of the rounds' ratios."""
    name, without, with_ = pair
    rounds = 3 if "freed" in name else ROUNDS
    times = [(with_(), without())[::-1] if i % 2 else (without(), with_()) for i in range(rounds)]
    ratios = sorted(a / b for a, b in times)
    a, b = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    line = f"| {name} | {a:.4g} | {b:.4g} | {statistics.median(ratios):.3g} ({ratios[0]:.2g} to {ratios[-1]:.2g}) |"
    print(line, flush=True)
    return line


def main(asked: list[str]) -> None:
    head = ["| trick | without, ms | with, ms | ratio, median (least to most) |", "|---|---|---|---|"]
    print("\n".join(head))
    lines = [measure(pair) for name in asked or TRICKS for pair in TRICKS[name]()]
    if not asked:
        said = about()
        text = [
            "# What each trick is worth",
            "",
            "The tricks of docs/performance.md, each with and without, in turn in one process.",
            "",
            *(f"- {name.capitalize()}: {value}" for name, value in said.items()),
            "",
            *head,
            *lines,
        ]
        (HERE / "TRICKS.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
