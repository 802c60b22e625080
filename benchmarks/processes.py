"""Figures of whole processes: imports, the first epoch, compilations, memory, and what extras cost.

    python -m benchmarks.processes                     # all
    python -m benchmarks.processes --only imports memory

Each figure comes from fresh processes of this file (``--child``), in turn where libraries are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.models import compiled, work
from benchmarks.worker import library

ROOT = Path(__file__).parents[1]
ROUNDS = 5


def figure(what: str, found: str, aim: str = "", met: bool | None = None) -> dict[str, Any]:
    return {"what": what, "found": found, "aim": aim, "met": met}


def usual() -> dict[str, str]:
    """The environment, in which Python may keep what it compiled of Verax' modules, as pip did of the peers'."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def child(name: str, *arguments: str, **environment: str) -> Any:
    """What the child function ``name`` returns, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.processes", "--child", name, *arguments]
    env = {**usual(), **environment, "BENCH_BEGAN": repr(time.time())}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def silent() -> Iterator[None]:
    """What is printed goes through a pipe's end that nobody reads: the null device."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def built(name: str, peer: str = "verax") -> tuple[Any, tuple[Any, Any], dict[str, Any]]:
    """A compiled model, its data, and the arguments of ``fit``."""
    made = work(name)
    return compiled(library(peer), made), made.data(made.steps * made.batch), {"batch_size": made.batch}


# ---- imports ---------------------------------------------------------------------------------------------------------


def imports() -> dict[str, Any]:
    """Seconds of ``import``, without what starting Python takes."""
    opened = "import verax\nfor name in verax.__all__: getattr(verax, name)"
    codes = {"pass": "pass", "jax": "import jax", "verax": "import verax", "opened": opened, "keras": "import keras"}
    times: dict[str, list[float]] = {name: [] for name in codes}
    env = {**usual(), "KERAS_BACKEND": "jax"}
    for _ in range(ROUNDS + 2):
        for name, code in codes.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=ROOT, capture_output=True)
            times[name].append(time.perf_counter() - began)
    start = min(times["pass"])
    jax, verax, opened, keras = (statistics.median(times[n]) - start for n in ("jax", "verax", "opened", "keras"))
    return {
        "import": figure(
            "`import verax` after `import jax`", f"{verax - jax:+.2f} s", "<= 0.25 s", verax - jax <= 0.25
        ),
        "imports": figure(
            "import of jax / verax / verax with every room opened / Keras-JAX",
            f"{jax:.2f} / {verax:.2f} / {opened:.2f} / {keras:.2f} s",
        ),
    }


# ---- the first epoch -------------------------------------------------------------------------------------------------


def child_first(name: str, peer: str) -> dict[str, float]:
    """Seconds to the end of the first epoch: from the start of the process, and from where the model is built."""
    k, made = library(peer), work(name)
    data = made.data(made.steps * made.batch)
    began = time.time()
    with silent():
        compiled(k, made).fit(*data, batch_size=made.batch)
    ended = time.time()
    return {"process": ended - float(os.environ["BENCH_BEGAN"]), "model": ended - began}


def first() -> dict[str, Any]:
    """The first epoch beside Keras-JAX's, and again with the compilation cache that the first process filled."""
    found = {}
    for name, aim in (("convnet", 1.0), ("resnet50", 0.8)):
        times: dict[str, list[dict[str, float]]] = {"verax": [], "keras-jax": [], "cached": []}
        with tempfile.TemporaryDirectory() as cache:
            child("first", name, "verax", VERAX_COMPILATION_CACHE=cache)
            for i in range(3):
                for who in list(times)[:: 1 if i % 2 else -1]:
                    peer, env = (who, {}) if who != "cached" else ("verax", {"VERAX_COMPILATION_CACHE": cache})
                    times[who].append(child("first", name, peer, **env))
        ours, theirs, cached = (
            {k: statistics.median(t[k] for t in times[who]) for k in ("process", "model")} for who in times
        )
        title = work(name).title
        ratio, again = ours["model"] / theirs["model"], cached["model"] / ours["model"]
        found[f"first_{name}"] = figure(
            f"first epoch of {title}: from building the model (from the process's start); Verax / Keras-JAX",
            f"{ours['model']:.1f} s ({ours['process']:.1f} s) / {theirs['model']:.1f} s ({theirs['process']:.1f} s)"
            f" = {ratio:.2f} ({ours['process'] / theirs['process']:.2f})",
            f"<= {aim}",
            ratio <= aim,
        )
        found[f"cached_{name}"] = figure(
            "... a second process with the compilation cache / one without",
            f"{cached['model']:.1f} s ({cached['process']:.1f} s) = {again:.2f}",
            "<= 0.33",
            again <= 1 / 3,
        )
    return found


# ---- compilations ----------------------------------------------------------------------------------------------------


def child_programs() -> dict[str, list[str]]:
    """Names of the programs that XLA compiled in each act of a session."""
    names: list[str] = []
    model, (x, y), arguments = built("convnet")
    import jax

    def heard(event: str, duration_secs: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about.get("fun_name", "?")))

    jax.monitoring.register_event_duration_secs_listener(heard)
    found: dict[str, list[str]] = {}
    batch = arguments["batch_size"]
    first, second = slice(0, 2 * batch + 40), slice(0, 2 * batch + 24)
    validation = (x[-batch:], y[-batch:])

    def fit(rows: slice) -> None:
        model.fit(x[rows], y[rows], **arguments, epochs=2, validation_data=validation)

    def change_rate() -> None:
        model.optimizer.learning_rate = 1e-4
        fit(first)

    acts: dict[str, Callable[[], Any]] = {
        "first fit": lambda: fit(first),
        "second fit": lambda: fit(first),
        "another learning rate": change_rate,
        "evaluate after fit": lambda: model.evaluate(*validation, **arguments),
        "fit after evaluate": lambda: fit(first),
        "another last batch": lambda: fit(second),
        "a last batch seen before": lambda: fit(first),
    }
    with silent():
        for name, act in acts.items():
            names.clear()
            act()
            found[name] = list(names)
    return found


def programs() -> dict[str, Any]:
    """Compilations in each act; all but the first fit and a new last batch should need none."""
    found = {}
    for act, names in child("programs").items():
        free = act not in ("first fit", "another last batch")
        said = f"{len(names)}" + (f": {', '.join(names)}" if names and free else "")
        found[f"programs_{act.replace(' ', '_')}"] = figure(
            f"programs compiled: {act}", said, "0" if free else "", not names if free else None
        )
    return found


# ---- memory ----------------------------------------------------------------------------------------------------------


def child_memory(kind: str) -> float:
    """The process's peak memory in MiB after an epoch of ResNet50."""
    if kind == "jax":
        raw_jax()
    else:
        model, data, arguments = built("resnet50", kind)
        with silent():
            model.fit(*data, **arguments)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def raw_jax() -> None:
    """ResNet50 trained by a jitted step that donates its buffers, with nothing of ``fit``."""
    import functools

    import jax
    import jax.numpy as jnp
    import optax

    import verax

    made = work("resnet50")
    model, (x, y) = made.model(verax), made.data(made.steps * made.batch)
    params, state = verax.values(model)
    forward, rule = verax.pure(model), optax.sgd(0.01, momentum=0.9)

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, state: Any, opt: Any, x: Any, y: Any) -> Any:
        def loss(params: Any) -> Any:
            out, after = forward(params, state, x, mode=verax.Mode.TRAIN)
            right = jnp.take_along_axis(out, y[:, None], axis=1)
            return -jnp.log(jnp.maximum(right, 1e-7)).mean(), after

        (value, after), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt = rule.update(grads, opt, params)
        return optax.apply_updates(params, updates), after, opt, value

    opt = rule.init(params)
    for start in range(0, len(x), made.batch):
        rows = slice(start, start + made.batch)
        params, state, opt, _ = step(params, state, opt, x[rows], y[rows])
    jax.block_until_ready(params)


def memory() -> dict[str, Any]:
    """Peak memory of ``fit`` beside a raw JAX loop's."""
    ours, raw, theirs = (child("memory", kind) for kind in ("verax", "jax", "keras-jax"))
    return {
        "memory": figure(
            "peak memory of a ResNet50 fit: Verax / raw JAX loop (Keras-JAX)",
            f"{ours:,.0f} / {raw:,.0f} MiB = {ours / raw:.2f} ({theirs:,.0f} MiB)",
            "<= 1.0",
            ours <= raw,
        )
    }


# ---- files -----------------------------------------------------------------------------------------------------------


def child_file(peer: str, what: str, path: str) -> dict[str, float]:
    """Seconds to write or load ResNet50's file, and by how much the peak of memory grew meanwhile, in MiB."""
    k = library(peer)
    model = None if what == "load" else k.applications.ResNet50(weights=None)
    if model is not None:
        model.compile("adam", "sparse_categorical_crossentropy")
    k.Sequential([k.Input((2,)), k.layers.Dense(1)])  # what the first model of a process loads is not the file's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    if model is None:
        k.models.load_model(path)
    else:
        model.save(path)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def files() -> dict[str, Any]:
    """ResNet50 as a ``.keras`` file: written and loaded by each library, in turn, in fresh processes."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for what, says in (("save", "written"), ("load", "loaded")):
            times: dict[str, list[dict[str, float]]] = {"verax": [], "keras-jax": []}
            for i in range(ROUNDS):
                for peer in list(times)[:: 1 if i % 2 else -1]:
                    # Each loads the file that Keras wrote.
                    name = f"{peer if what == 'save' else 'keras-jax'}.keras"
                    times[peer].append(child("file", peer, what, str(Path(folder) / name)))
            ours, theirs = (
                {key: statistics.median(t[key] for t in times[peer]) for key in ("seconds", "memory")} for peer in times
            )
            size = (Path(folder) / "keras-jax.keras").stat().st_size / 2**20
            found[f"file {what}"] = figure(
                f"ResNet50's `.keras` file ({size:.0f} MiB) {says}: Verax / Keras-JAX",
                f"{ours['seconds']:.2f} / {theirs['seconds']:.2f} s; "
                f"peak memory +{ours['memory']:,.0f} / +{theirs['memory']:,.0f} MiB",
            )
    return found


# ---- what extras cost ------------------------------------------------------------------------------------------------


def child_extras() -> dict[str, list[float]]:
    """Seconds of fits without and with a progress line and callbacks, in turn."""
    import verax

    model, data, arguments = built("convnet")

    def plain() -> None:
        model.fit(*data, **arguments, verbose=0, epochs=2)

    def shown() -> None:
        watch = {"monitor": "loss", "patience": 10**6}
        callbacks = [verax.callbacks.EarlyStopping(**watch), verax.callbacks.ReduceLROnPlateau(**watch)]
        model.fit(*data, **arguments, verbose=1, epochs=2, callbacks=callbacks)

    times: dict[str, list[float]] = {"plain": [], "shown": []}
    with silent():
        plain()
        shown()
        for i in range(2 * ROUNDS + 1):
            for name, act in (("plain", plain), ("shown", shown))[:: 1 if i % 2 else -1]:
                began = time.perf_counter()
                act()
                times[name].append(time.perf_counter() - began)
    return times


def child_explained(explain: str) -> float:
    """Seconds of a first fit, compiling included, that closes with an explanation or not."""
    model, data, arguments = built("convnet")
    rows = len(data[0]) // 4
    began = time.perf_counter()
    with silent():
        held = (data[0][:rows], data[1][:rows])
        model.fit(*data, **arguments, epochs=8, validation_data=held, explain=explain)
    return time.perf_counter() - began


def extras() -> dict[str, Any]:
    """What a progress line with two callbacks, and an explanation, add to the convnet's fit."""
    times = child("extras")
    cost = statistics.median(s / p for s, p in zip(times["shown"], times["plain"], strict=True)) - 1
    spent: dict[str, list[float]] = {"off": [], "end": []}
    for i in range(3):
        for explain in ("off", "end")[:: 1 if i % 2 else -1]:
            spent[explain].append(child("explained", explain))
    explained = statistics.median(e / o for e, o in zip(spent["end"], spent["off"], strict=True)) - 1
    return {
        "progress": figure("convnet: progress line and two callbacks", f"{cost:+.1%}", "< 2 %", cost < 0.02),
        "explain": figure(
            'convnet: explain="end" in a fit of 8 epochs, compiling included',
            f"{explained:+.1%}",
            "< 10 %",
            explained < 0.1,
        ),
    }


SECTIONS = {"imports": imports, "first": first, "programs": programs, "memory": memory, "files": files,
            "extras": extras}  # fmt: skip
CHILDREN: dict[str, Callable[..., Any]] = {
    "first": child_first,
    "programs": child_programs,
    "memory": child_memory,
    "file": child_file,
    "extras": child_extras,
    "explained": child_explained,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--into", type=Path, default=report.HERE)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, *rest = arguments.child
        print(json.dumps(CHILDREN[name](*rest)))
        return
    for name in arguments.only:
        found = SECTIONS[name]()
        for each in found.values():
            print(f"{each['what']}: {each['found']}" + (f" (aim {each['aim']})" if each["aim"] else ""), flush=True)
        report.record("processes", found, arguments.into)


if __name__ == "__main__":
    main()
