"""The part of the comparison that wants a GPU: Verax beside Keras-JAX and compiled PyTorch, where they see one.

python -m benchmarks.gpu
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from benchmarks import report
from benchmarks.alternate import alternate
from benchmarks.models import work

#: The third: 12 layers of width 832, about 100 million parameters.
WORKS = {
    "convnet": "convnet",
    "resnet50": "resnet50:64:mixed_bfloat16",
    "transformer": "transformer:12:832:13:512:16",
}


def gpu() -> str:
    """The name of the GPU that JAX computes on, or ""."""
    import jax

    device = jax.devices()[0]
    return device.device_kind if device.platform == "gpu" else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--into", type=Path, default=report.HERE)
    arguments = parser.parse_args()
    device = gpu()
    if not device:
        print("JAX sees no GPU here: nothing to compare.")
        return
    for name, sized in WORKS.items():
        found = alternate(sized, ["verax", "keras-jax", "torch"], rounds=arguments.rounds)
        entry = {**found, "what": work(sized).title, "device": device}
        parameters = found["about"].get("verax", {}).get("parameters", 0)
        entry["what"] += f", {work(sized).policy}, {parameters / 1e6:.0f} M parameters"
        print(
            entry["what"], {p: statistics.median(v) for p, v in found["seconds"].items()}, found["failed"], flush=True
        )
        report.record("gpu", {name: entry}, arguments.into)


if __name__ == "__main__":
    main()
