"""Many convolutions and products by oneDNN at random shapes, inside the fence of ``fence.c``.

    python -m tests.fence [--cases N] [--seed SEED] [--processes N] [--kind convolution | product | beyond]

Where one reads or writes beyond an array its process ends, and what it was is printed. To be run before a version of
jaxlib is added to ``verax.ops.onednn``. ``beyond`` writes beyond an array on purpose, and shows that the fence stands.
Linux on x86 with a C compiler alone.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

EACH = 250  # cases of a process: compiled code keeps arrays, and a process may not have any number of maps
KINDS = ("convolution", "product", "beyond")


def build(folder: Path) -> Path:
    """The fence, compiled."""
    library = folder / "fence.so"
    source = Path(__file__).with_name("fence.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-lpthread"], check=True)
    return library


def inside(library: Path, kind: str, seed: int, cases: int) -> subprocess.Popen[str]:
    """A process that tries so many cases inside the fence."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "VERAX_FAST_KERNELS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.fence", "--inside", str(library), "--kind", kind]
    command += ["--seed", str(seed), "--cases", str(cases)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(kind: str, seed: int, cases: int, processes: int = 1) -> list[str]:
    """What went wrong, a line for each process that ended early."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        library, todo = build(Path(folder)), list(range(0, cases, EACH))
        while todo:
            some, todo = todo[:processes], todo[processes:]
            started = [inside(library, kind, seed + begin, min(EACH, cases - begin)) for begin in some]
            for process in started:
                lines = process.communicate()[0].splitlines()
                tried = [line for line in lines if line.startswith(("case", "fence"))]
                if process.returncode:
                    wrong.append(f"exit {process.returncode}: {' '.join(tried[-2:]) or ' '.join(lines[-5:])}")
            print(f"{kind}: {cases - sum(min(EACH, cases - b) for b in todo)} cases, {len(wrong)} wrong", flush=True)
    return wrong


def cases_of(kind: str, seed: int, cases: int) -> None:
    """Try cases in this process, which must have been started with the fence."""
    import jax
    import numpy as np

    from verax.ops import onednn

    if not onednn._works():
        raise SystemExit("This jaxlib, or this kind of processor, has no oneDNN.")
    onednn._LEAST = 0
    fence = ctypes.CDLL(sys.argv[sys.argv.index("--inside") + 1])
    fence.fence_up.argtypes = [ctypes.c_size_t]
    rng = np.random.default_rng(seed)

    def some(first: int, last: int) -> int:
        return int(rng.integers(first, last + 1))

    def channels() -> int:
        return int(rng.choice([some(1, 40), some(40, 130), 8, 16, 24, 32, 48, 64]))

    def array(*shape: int) -> Any:
        return rng.normal(size=shape).astype("float32")

    def product() -> tuple[str, list[Any], Callable[..., Any], Callable[..., Any]]:
        m, k, n = (int(rng.choice([some(1, 70), some(1, 500), 16 * some(1, 20)])) for _ in "mkn")
        how = {"turn_a": bool(some(0, 1)), "turn_b": bool(some(0, 1))}
        a, b = array(*((k, m) if how["turn_a"] else (m, k))), array(*((n, k) if how["turn_b"] else (k, n)))
        return (
            f"({m}, {k}) x ({k}, {n}), {how}",
            [a, b],
            lambda a, b: onednn.matmul(a, b, **how),
            lambda a, b: onednn._plain_matmul(a, b, **how),
        )

    def convolution() -> tuple[str, list[Any], Callable[..., Any], Callable[..., Any]]:
        rank = int(rng.choice([1, 2, 2, 2, 3]))
        window = [some(1, 7 if rank < 3 else 3) for _ in range(rank)]
        strides = [1] * rank if rng.random() < 0.5 else [some(1, 4) for _ in range(rank)]
        dilation = [1] * rank if rng.random() < 0.7 else [some(1, 3) for _ in range(rank)]
        spans = [(k - 1) * d for k, d in zip(window, dilation, strict=True)]
        largest = int(rng.choice([5, 14, 39])) if rank < 3 else 9
        sizes = [max(some(1, largest), span + some(1, 3)) for span in spans]
        half = rng.random() < 0.4  # "same"
        pads = [(s // 2, s - s // 2) if half else (some(0, s), some(0, s)) for s in spans]
        c, f, how = channels(), channels(), {"turned": bool(some(0, 1))}
        shape = (f, c) if how["turned"] else (c, f)
        arrays = [array(some(1, 8), *sizes, c), array(*window, *shape), *([array(f)] if some(0, 1) else [])]
        name = f"{arrays[0].shape} * {arrays[1].shape}, strides {strides}, pads {pads}, dilation {dilation}, "
        static = {"strides": tuple(strides), "pads": tuple(pads), "dilation": tuple(dilation), **how}
        assert onednn.suits_convolution(arrays[0], arrays[1], strides, pads, dilation, **how), name
        return (
            f"{name}{how}, bias {len(arrays) > 2}",
            arrays,
            lambda x, k, *b: onednn.convolution(x, k, strides, pads, dilation, bias=b[0] if b else None, **how),
            lambda *a: onednn._plain_convolution(*a, **static),
        )

    for number in range(cases):
        name, arrays, call, plain = convolution() if kind == "convolution" else product()
        print(f"case {number} of seed {seed}: {name}", flush=True)
        compiled = jax.jit(call).lower(*arrays).compile()
        want = np.asarray(plain(*arrays))
        fence.fence_up(256)
        there = [jax.device_put(a) for a in arrays]
        found = [np.array(compiled(*there)) for _ in range(2)]
        if kind == "beyond":
            y = compiled(*there)
            ctypes.memset(y.unsafe_buffer_pointer() + y.nbytes, 0, 64)
            del y
        del there
        fence.fence_down()
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_less(np.abs(found[0] - want).max() / (1 + np.abs(want).max()), 1e-5)
    if not cases <= fence.fence_made() or fence.fence_live() >= 8000:
        raise SystemExit("fence: not every array was inside")


def main() -> int:
    """Run from a command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fence")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        cases_of(asked.kind, asked.seed, asked.cases)
        return 0
    kinds = [asked.kind] if asked.kind else KINDS[:2]
    wrong = [line for kind in kinds for line in run(kind, asked.seed, asked.cases, asked.processes)]
    print("\n".join(wrong) or "Nothing was read or written beyond an array.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
