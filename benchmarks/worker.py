"""One library with one work in a process of its own: it compiles, then times itself whenever it is asked.

    python -m benchmarks.worker keras-jax convnet

It answers on its standard output, a JSON object a line: first ``{"ready": seconds, ...}``, then for each line ``run``
that it reads ``{"seconds": of a step, "steps": n}``. What ``fit`` prints goes nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.models import Work, batches, compiled, work

__all__ = ["library", "main"]


def library(peer: str) -> Any:
    """The module that ``peer`` names: Verax, or Keras on one of its backends."""
    if peer == "verax":
        import verax

        return verax
    os.environ["KERAS_BACKEND"] = peer.removeprefix("keras-")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    return keras


def prepare(peer: str, name: str, made: Work, steps: int, compiling: bool) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What to time, already called twice, and what to say of it."""
    data = made.data(steps * made.batch)
    if peer == "torch":
        from benchmarks.torch_models import TorchWork

        twin = TorchWork(name, made, data, compiling=compiling)
        return twin.call, {"note": twin.chosen, "parameters": sum(p.numel() for p in twin.model.parameters())}
    model = compiled(library(peer), made)

    def call() -> Any:
        if made.call == "predict":
            return model.predict(data[0], batch_size=made.batch)
        if made.call == "generator":
            return model.fit(batches(data, made.batch), steps_per_epoch=steps, epochs=made.epochs)
        return model.fit(*data, batch_size=made.batch, epochs=made.epochs)

    call()
    call()
    return call, {"parameters": int(model.count_params())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer")
    parser.add_argument("work")
    parser.add_argument("--quick", action="store_true", help="fewer steps; PyTorch eager only")
    parser.add_argument("--steps", type=int, help="batches in an epoch, in place of the work's own number")
    parser.add_argument("--seconds", type=float, default=1.0, help="repeat the call until a turn has taken this long")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    began = time.perf_counter()
    made = work(arguments.work)
    steps = arguments.steps or (made.quick if arguments.quick else made.steps)
    call, about = prepare(arguments.peer, arguments.work, made, steps, not arguments.quick)
    answer(ready=time.perf_counter() - began, **about)
    epochs = 1 if made.call == "predict" else made.epochs
    for line in sys.stdin:
        if line.strip() != "run":
            break
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - began < arguments.seconds:
            call()
            calls += 1
        done = calls * epochs * steps
        answer(seconds=(time.perf_counter() - began) / done, steps=done)


if __name__ == "__main__":
    main()
