"""Mutated files by the thousand: each is read whole, or refused with an error of Verax; never a crash, never half.

``python -m tests.formats.fuzz COUNT`` mutates every form of file COUNT times, in processes of limited memory, and
prints what came of it. A mutation is made from the name of the form and its number alone: each can be made again.
"""

from __future__ import annotations

import copy
import faulthandler
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import verax
from verax.errors import VeraxError

__all__ = ["FORMS", "Failure", "attempt", "bases", "run"]

#: Seconds within which a file is read or refused.
PATIENCE = 20


class Failure(AssertionError):  # noqa: N818
    """A file that was neither read nor refused as it should be."""


def network() -> Any:
    """A small model with a bit of everything."""
    layers = verax.layers
    x = inputs = verax.Input((6, 6, 2))
    x = layers.Conv2D(3, 3)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Flatten()(layers.Activation("relu")(x + 1.0))
    model = verax.Model(inputs, layers.Dense(2)(layers.Dropout(0.5)(x)), name="small")
    model.compile(verax.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


# ---- the forms: how a good file is made, and how a file is read ------------------------------------------------------


def _whole(path: Path) -> Any:
    return verax.saving.load_model(path)


def _weights(path: Path) -> Any:
    model = _kept()
    before = model.get_weights()
    try:
        model.load_weights(path)
    except VeraxError:
        for a, b in zip(before, model.get_weights(), strict=True):
            if not np.array_equal(a, b, equal_nan=True):
                raise Failure("the file was refused, and the model was changed") from None
        raise
    finally:
        model.set_weights(before)
    return model


#: form -> (suffix, what writes a good file, what reads one)
FORMS: dict[str, tuple[str, Callable[[Any, Path], None], Callable[[Path], Any]]] = {
    "keras": (".keras", lambda model, path: model.save(path), _whole),
    "keras:config": (".keras", lambda model, path: model.save(path), _whole),
    "keras:weights": (".keras", lambda model, path: model.save(path), _whole),
    "weights.h5": (".weights.h5", lambda model, path: model.save_weights(path), _weights),
    "npz": (".npz", lambda model, path: model.save_weights(path), _weights),
}

_models: list[Any] = []


def _kept() -> Any:
    if not _models:
        _models.append(network())
    return _models[0]


def bases(folder: Path) -> dict[str, bytes]:
    """A good file of every form."""
    model = network()
    model.fit(np.ones((4, 6, 6, 2)), np.ones((4, 2)), verbose=0)
    found: dict[str, bytes] = {}
    for form, (suffix, write, _) in FORMS.items():
        path = folder / f"good{suffix}"
        write(model, path)
        found[form] = path.read_bytes()
    return found


# ---- mutations -------------------------------------------------------------------------------------------------------


def mutated(form: str, good: bytes, number: int) -> bytes:
    """Mutation ``number`` of a good file."""
    rng = random.Random(f"{form} {number}")
    if ":" not in form:
        return _bytes(good, rng)
    member = {"config": "config.json", "weights": "model.weights.h5"}[form.split(":")[1]]
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == member:
                data = _json(data, rng) if member.endswith(".json") else _bytes(data, rng)
            new.writestr(info.filename, data)
    return made.getvalue()


def _bytes(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        if not found:
            break
        at, length = rng.randrange(len(found)), rng.choice([1, 2, 4, 8, 64, 1024])
        match rng.randrange(8):
            case 0 | 1 | 2:
                found[at] ^= 1 << rng.randrange(8)
            case 3:
                found[at : at + 8] = rng.choice([0, 1, 255, 2**31, 2**63 - 1, 2**64 - 1]).to_bytes(8, "little")
            case 4:
                del found[at:]
            case 5:
                del found[at : at + length]
            case 6:
                found[at:at] = found[at : at + length]
            case _:
                found[at : at + length] = rng.randbytes(length)
    return bytes(found)


_VALUES: list[Any] = [None, True, 0, -1, 10**12, 1e400, "", "relu", "os.system", [], {}, [None], "\0", "Dense",
                      {"class_name": "__lambda__", "config": {"code": "4wAAAA=="}},
                      {"module": "os", "class_name": "system", "config": {"command": "true"}}]  # fmt: skip


def _json(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return _bytes(data, rng)
    config = json.loads(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        places: list[tuple[Any, Any]] = []
        _places(config, places)
        holder, key = rng.choice(places)
        match rng.randrange(4):
            case 0:
                del holder[key]
            case 1:
                other, k = rng.choice(places)
                holder[key] = json.loads(json.dumps(other[k]))
            case _:
                holder[key] = copy.deepcopy(rng.choice(_VALUES))
        if not config:
            break
    return json.dumps(config).encode()


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        _places(inner, found)


# ---- the run ---------------------------------------------------------------------------------------------------------


def attempt(form: str, good: bytes, number: int, folder: Path) -> str:
    """Read mutation ``number``: "read", or the class of the error that refused it.

    Raises:
        Failure: Any other exception, or a model that is changed by a file that was refused.
    """
    suffix, _, read = FORMS[form]
    path = folder / f"mutated{suffix}"
    path.write_bytes(mutated(form, good, number))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except VeraxError as error:
        return type(error).__name__
    except Failure:
        raise
    except BaseException as error:
        raise Failure(f"{form} {number}: {type(error).__name__}: {error}") from error
    return "read"


def run(count: int, forms: list[str] | None = None, start: int = 0) -> dict[str, Counter[str]]:
    """Mutate each form ``count`` times, in a child process that is started again where it crashes or hangs."""
    found: dict[str, Counter[str]] = {}
    for form in forms or list(FORMS):
        found[form], number = Counter(), start
        while number < start + count:
            command = [sys.executable, "-m", "tests.formats.fuzz", "--child", form, str(number), str(start + count)]
            child = subprocess.run(command, capture_output=True, text=True, check=False)
            for line in child.stdout.splitlines():
                said = line.split(" ", 1)
                found[form][said[0]] += 1
                number += 1
                if said[0] == "FAILURE":
                    print(line, flush=True)
            if number < start + count:
                print(f"FAILURE {form} {number}: the process ended with {child.returncode}\n{child.stderr[-3000:]}")
                found[form]["FAILURE"] += 1
                number += 1
    return found


def child(form: str, start: int, end: int) -> None:
    """Read mutations ``start`` to ``end``, and print a line for each."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = bases(folder)[form]
        for number in range(start, end):
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            try:
                print(attempt(form, good, number, folder), flush=True)
            except Failure as failure:
                print("FAILURE", " ".join(str(failure).split()), flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        sys.exit()
    began = time.monotonic()
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    outcome = run(asked, sys.argv[3:] or None, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for one, counts in outcome.items():
        print(f"{one:14} {dict(counts.most_common())}")
    print(f"{sum(sum(c.values()) for c in outcome.values()):,} files, {time.monotonic() - began:.0f} s")
    sys.exit(any("FAILURE" in c for c in outcome.values()))
