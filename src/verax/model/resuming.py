"""Where a running fit stands, as arrays, and how another fit goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, StateError
from verax.frame.frame import load_values
from verax.frame.tree import Tree

if TYPE_CHECKING:
    from verax.ledger.record import EpochRecord
    from verax.model.compile import Compiled
    from verax.model.learner import Learner

__all__ = ["Point", "Run", "capture", "resume"]


@dataclass
class Run:
    """What of a running fit is its own, and not the model's.

    Attributes:
        key: From which draws are made.
        seed: From which the order of rows is made.
        epoch, done: The batch that comes next: ``done`` of this epoch were trained.
        record: The epoch's record, in the middle of one.
        point: Where the fit goes on from, when it resumed another one.
    """

    key: Any
    seed: int
    epoch: int = 0
    done: int = 0
    record: EpochRecord | None = None
    point: Point | None = None


@dataclass
class Point:
    """The middle of an epoch that a fit goes on from: the sums and the rows of the steps before."""

    epoch: int
    done: int
    tallies: list[Any] = field(default_factory=list[Any])
    rows: list[Any] = field(default_factory=list[Any])

    def complete(self, record: EpochRecord) -> None:
        """Put the steps before into a record that has its first chunk since."""
        structure = jax.tree.structure(record.tallies[0])
        if len(self.tallies) == structure.num_leaves:  # else other things are measured now: the epoch's rest counts
            record.tallies.insert(0, jax.tree.unflatten(structure, self.tallies))
            record.rows[:0] = self.rows or [None]


def capture(model: Learner, compiled: Compiled, run: Run | None) -> dict[str, np.ndarray[Any, Any]]:
    """All that the rest of a running fit depends on, as arrays of its own memory."""
    if run is None:
        raise StateError(
            f"The state of {model.name!r}'s training was asked for.",
            because="no fit is running",
            do="Ask in a callback: at the end of an epoch, of a chunk of steps, or of a batch it acts after.",
        )
    arrays: dict[str, Any] = {}
    raw = model._model.raw or {}
    for variable, place in Tree.of(model).variables.values():
        arrays[f"weights/{place.path}"] = raw.get(place.path, variable._value)
    for i, leaf in enumerate(jax.tree.leaves(compiled.opt_state)):
        arrays[f"optimizer/{i:04d}"] = leaf
    if run.record is not None and run.done:
        tallies = jax.tree.map(lambda *chunks: np.concatenate(chunks), *run.record.tallies)
        arrays |= {f"tallies/{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(tallies))}
        if all(rows is not None for rows in run.record.rows):
            arrays |= {f"rows/{i:06d}": rows for i, rows in enumerate(run.record.rows)}
    rate = compiled.optimizer.learning_rate
    arrays["key"] = jax.random.key_data(run.key)
    said = {
        "epoch": run.epoch,
        "done": run.done,
        "seed": run.seed,
        "steps": compiled.steps,
        "trained": sorted(compiled.trained),
        "rate": None if callable(rate) else float(rate),
        "key": str(jax.random.key_impl(run.key)),
    }
    copied = {name: np.array(value) for name, value in arrays.items()}
    said["dtypes"] = {name: value.dtype.name for name, value in copied.items() if value.dtype.kind == "V"}
    # A .npz file keeps bits, and forgets dtypes that NumPy does not know.
    copied = {name: v.view(f"u{v.dtype.itemsize}") if v.dtype.kind == "V" else v for name, v in copied.items()}
    return {**copied, "run": np.array(json.dumps(said))}


def resume(model: Learner, compiled: Compiled, run: Run | None, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Bring a fit that begins to where ``capture`` was called; nothing is changed if the state is another model's."""
    if run is None:
        raise StateError(
            f"{model.name!r} was to go on from an earlier training.",
            because="no fit is running",
            do="Resume in a callback's on_train_begin.",
        )
    said = json.loads(str(state["run"]))
    arrays = {
        name: v.view(jnp.dtype(said["dtypes"][name])) if name in said["dtypes"] else v for name, v in state.items()
    }

    def part(kind: str) -> dict[str, Any]:
        return {k.removeprefix(f"{kind}/"): v for k, v in sorted(arrays.items()) if k.startswith(f"{kind}/")}

    tree = Tree.of(model)
    weights, leaves = part("weights"), list(part("optimizer").values())
    shapes = {place.path: variable.shape for variable, place in tree.variables.values()}
    params = {path: variable._value for path, variable in tree.params().items()}
    like, structure = jax.tree.flatten(jax.eval_shape(compiled.optimizer.init, params))
    fits = {path: value.shape for path, value in weights.items()} == shapes and sorted(params) == said["trained"]
    if not fits or [(a.shape, a.dtype) for a in leaves] != [(a.shape, a.dtype) for a in like]:
        wrong = sorted(shapes.keys() ^ weights.keys())
        raise DataError(
            f"The training of {model.name!r} was to go on.",
            received="the state of a training with " + (f"other weights: {wrong[:3]}" if wrong else "other shapes"),
            because="the model, which of its layers are trained, and the optimizer must be those of the state",
            do="Build and compile the model as it was, or delete the backup to begin anew.",
        )
    load_values(model, weights)
    compiled.opt_state = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
    compiled.trained, compiled.steps = frozenset(params), int(said["steps"])
    if said["rate"] is not None:
        compiled.optimizer.learning_rate = said["rate"]
        compiled.rate = compiled.optimizer.learning_rate
    run.key = jax.random.wrap_key_data(jnp.asarray(arrays["key"]), impl=said["key"])
    run.seed, run.epoch, run.done = int(said["seed"]), int(said["epoch"]), int(said["done"])
    run.point = Point(run.epoch, run.done, list(part("tallies").values()), list(part("rows").values()))
