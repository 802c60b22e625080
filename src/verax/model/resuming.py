"""Where a running fit stands, as arrays, and how another fit goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, StateError
from verax.frame.frame import load_values
from verax.frame.tree import Tree

if TYPE_CHECKING:
    from verax.callbacks import CallbackList
    from verax.ledger.record import EpochRecord
    from verax.model.compile import Compiled
    from verax.model.learner import Learner

__all__ = ["Point", "Run", "capture", "resume"]


#: The form of a state.
_FORM = 2
#: Marks an array in what callbacks keep: the rest of it is text.
_ASIDE = "array beside the text"


@dataclass
class Run:
    """What of a running fit is its own, and not the model's.

    Attributes:
        key: From which draws are made.
        seed: From which the order of rows is made.
        callbacks: Those of the fit, which may keep states of their own.
        epoch, done: The batch that comes next: ``done`` of this epoch were trained.
        rows: How many rows those had.
        record: The epoch's record, in the middle of one.
        point: Where the fit goes on from, when it resumed another one.
    """

    key: Any
    seed: int
    callbacks: CallbackList
    epoch: int = 0
    done: int = 0
    rows: int = 0
    record: EpochRecord | None = None
    point: Point | None = None


@dataclass
class Point:
    """Where a fit goes on from: the epoch, the sums and the rows of its steps before, and what callbacks kept.

    Attributes:
        epoch, done: As a Run's.
        tallies, rows: Of the steps before, in the middle of an epoch.
        states: What the callbacks kept.
        rate: The learning rate, where it is a number.
        stopped: Whether a callback had stopped the training.
    """

    epoch: int
    done: int
    tallies: list[Any] = field(default_factory=list[Any])
    rows: list[Any] = field(default_factory=list[Any])
    states: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rate: float | None = None
    stopped: bool = False

    def complete(self, record: EpochRecord, structure: Any) -> None:
        """Put the steps before at the beginning of a record, whose sums have this structure."""
        if len(self.tallies) == structure.num_leaves:  # else other things are measured now: the epoch's rest counts
            record.tallies.insert(0, jax.tree.unflatten(structure, self.tallies))
            record.rows[:0] = self.rows or [None]

    def settle(self, compiled: Compiled, callbacks: CallbackList) -> None:
        """Give callbacks and the learning rate back what they had; to be called after what would begin them anew."""
        callbacks.set_state(self.states)
        if self.rate is not None:
            compiled.optimizer.learning_rate = self.rate
            compiled.rate = compiled.optimizer.learning_rate


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
        arrays[f"optimizer/{i:06d}"] = leaf
    if run.record is not None and run.done:
        tallies = jax.tree.map(lambda *chunks: np.concatenate(chunks), *run.record.tallies)
        arrays |= {f"tallies/{i:06d}": leaf for i, leaf in enumerate(jax.tree.leaves(tallies))}
        if all(rows is not None for rows in run.record.rows):
            arrays |= {f"rows/{i:06d}": rows for i, rows in enumerate(run.record.rows)}
    rate = compiled.optimizer.learning_rate
    arrays["key"] = jax.random.key_data(run.key)
    said = {
        "form": _FORM,
        "epoch": run.epoch,
        "done": run.done,
        "trained_rows": run.rows,
        "seed": run.seed,
        "steps": compiled.steps,
        "stopped": model.stop_training,
        "trained": sorted(compiled.trained),
        "rate": None if callable(rate) else float(rate),
        "key": str(jax.random.key_impl(run.key)),
        "callbacks": run.callbacks.get_state(),
    }

    def aside(value: Any) -> Any:
        """Of what callbacks keep: an array, which stands beside the text."""
        if not hasattr(value, "__array__"):
            raise InputError(
                "What callbacks count is kept with the state of a training.",
                received=f"{type(value).__name__} in a callback's get_state",
                because="it is neither an array nor a number, text, None, or a list or dict of those",
                do="Keep plain data and arrays.",
            )
        name = f"kept/{len(arrays):06d}"
        arrays[name] = value
        return {_ASIDE: name}

    text = json.dumps(said, default=aside)
    return {**{name: np.array(value) for name, value in arrays.items()}, "run": np.array(text)}


def resume(model: Learner, compiled: Compiled, run: Run | None, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Bring a fit that begins to where ``capture`` was called; nothing is changed if the state is another model's."""
    if run is None:
        raise StateError(
            f"{model.name!r} was to go on from an earlier training.",
            because="no fit is running",
            do="Resume in a callback's on_train_begin.",
        )
    arrays = dict(state)
    said = json.loads(str(arrays.pop("run")), object_hook=lambda d: arrays[d[_ASIDE]] if _ASIDE in d else d)
    if said.get("form") != _FORM:
        raise DataError(
            f"The training of {model.name!r} was to go on.",
            received=f"a state of form {said.get('form', 1)}",
            because=f"this version of Verax writes and reads form {_FORM}",
            do="Go on with the version that began the training, or delete its files to begin anew.",
        )

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
    run.key = jax.random.wrap_key_data(jnp.asarray(arrays["key"]), impl=said["key"])
    run.seed, run.epoch, run.done, run.rows = (int(said[k]) for k in ("seed", "epoch", "done", "trained_rows"))
    sums = list(part("tallies").values()), list(part("rows").values())
    run.point = Point(run.epoch, run.done, *sums, said["callbacks"], said["rate"], bool(said["stopped"]))
